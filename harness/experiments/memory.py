"""How much memory one instance holds: a short ramp, and two totals that must agree.

The ledger of an instance has two independent sides. *Charged*: what its control group is
charged, and the PSS of those of its processes that live outside of it (shim, VMM, the growth
of a daemon). *Host*: by how much the host's free and reclaimable memory fell. Instances are
added one after another, each point is read on both sides, and the cost of one is the slope.
The remainder is printed. The host's side moves by itself: by how much is seen in an idle
moment before the ramp, and in what has not come back after it. Its slope counts only when the
ramp moved it ten times as much; otherwise it is absent.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from harness.clock import Marks
from harness.experiments.bench import Bench, Measurement
from harness.model import (
    GuestMemory,
    HasDaemon,
    Identity,
    Instance,
    Sample,
)
from harness.probes import memory as probe
from harness.probes.cgroups import Layout
from harness.settings import Memory

_SIGNAL_TO_IDLE = 10.0
_IDLE_READINGS = 5
_IDLE_PAUSE_S = 0.04
_STAT_THRESHOLD_PAGES = 125

Point = Mapping[str, float]


def measure(bench: Bench, settings: Memory) -> Measurement:
    """One ramp; every value is bytes an instance."""
    target = _target(bench, settings)
    begin, variation = probe.host_available_bytes(), idle_variation()
    boxes: list[Instance] = []
    with ExitStack() as stack:
        points = [(0, _point(bench, boxes))]
        for size in _steps(target, bench.runtime.runtime_class.is_machine):
            _grow(bench, settings, boxes, size, stack)
            points.append((size, _point(bench, boxes)))
        proof = _prove(bench, boxes)
    drift = float(abs(probe.host_available_bytes() - begin))
    variation = max(variation, drift, _counter_drift_bytes())
    slopes = {key: slope([(n, p[key]) for n, p in points if key in p]) for key in points[-1][1]}
    fell = points[-1][1]["host_delta"] - points[0][1]["host_delta"]
    if fell < _SIGNAL_TO_IDLE * variation:
        slopes.pop("host_delta")
    elif "charged" in slopes:
        slopes["remainder"] = slopes["host_delta"] - slopes["charged"]
    dimensions = {"state": settings.state, "n": str(target)}
    samples = tuple(
        Sample(metric=f"memory.{key}", value=value, unit="bytes", dimensions=dimensions)
        for key, value in slopes.items()
    )
    return Measurement(
        samples=samples,
        identity=proof,
        conditions={
            "idle_variation_bytes": variation,
            "host_fell_bytes": fell,
            "instances": target,
        },
    )


def _target(bench: Bench, settings: Memory) -> int:
    if bench.runtime.runtime_class.is_machine:
        return settings.machine_instances
    return settings.engine_instances if isinstance(bench.runtime, HasDaemon) else settings.instances


def _steps(target: int, machines: bool) -> Sequence[int]:
    """Machines go up in one step, several booting at once; the rest in two."""
    return [target] if machines else [target // 2, target]


def _grow(
    bench: Bench, settings: Memory, boxes: list[Instance], size: int, stack: ExitStack
) -> None:
    """Launch until there are `size` instances; machines boot side by side."""
    missing = size - len(boxes)
    launches = [bench.instance(Marks(), settings.ready_timeout_s) for _ in range(missing)]
    if not bench.runtime.runtime_class.is_machine:
        boxes.extend(stack.enter_context(launch) for launch in launches)
        return
    with ThreadPoolExecutor(missing) as pool:
        entered = [(launch, pool.submit(launch.__enter__)) for launch in launches]
        for launch, future in entered:
            if future.exception() is None:
                stack.push(launch)
        boxes.extend(future.result() for _, future in entered)


def _point(bench: Bench, boxes: Sequence[Instance]) -> Point:
    """Both sides of the ledger, and what stands beside it, at this size of the ramp.

    What could not be counted is absent: a total with a hole in it is no total.
    """
    processes = [pid for box in boxes for pid in box.processes()]
    sizes = [size for size in map(probe.process_memory, processes) if size is not None]
    pss = float(sum(size.pss_bytes for size in sizes))
    point = {"pss": pss, "rss": float(sum(size.rss_bytes for size in sizes)),
             "host_delta": -float(probe.host_available_bytes())}  # fmt: skip
    charges = [_charged(box) for box in boxes]
    if isinstance(bench.runtime, HasDaemon) and not bench.runtime.shared_daemon:
        charges.append(_pss(bench.runtime.daemon_processes()))
    if None not in charges:
        point["charged"] = float(sum(charge or 0 for charge in charges))
    guests = [box.guest_memory_bytes() for box in boxes if isinstance(box, GuestMemory)]
    if guests or (not boxes and bench.runtime.runtime_class.is_machine):
        point["guest_ram"] = float(sum(guests))
        point["vmm_overhead"] = pss - sum(guests)
    return point


def _prove(bench: Bench, boxes: Sequence[Instance]) -> Identity:
    """An idle instance has executed the agent and nothing else; each one hashes it."""
    proofs = [bench.prove(box) for box in boxes]
    return Identity(
        identical=all(proof.identical for proof in proofs), files=dict(proofs[-1].files)
    )


def _charged(box: Instance) -> int | None:
    """One box's side of the ledger: its own group, and the PSS of its processes outside of it."""
    group = _own_group(box)
    return _pss(box.processes()) if group is None else probe.charged(box.processes(), [group])


def _pss(processes: Sequence[int]) -> int | None:
    sizes = [probe.process_memory(pid) for pid in processes]
    return None if None in sizes else sum(size.pss_bytes for size in sizes if size is not None)


def _own_group(box: Instance) -> Path | None:
    """The memory group that holds this box alone, or None when it shares one with others.

    A box without a group of its own is in the group of whoever started it: the harness's.
    """
    shared = Layout.detect().groups_of(os.getpid())
    for path in box.cgroups():
        if (path / "memory.stat").is_file():
            return None if path in shared else path
    return None


def idle_variation() -> float:
    """Range of the host's free and reclaimable memory over a moment without our doing.

    An idle control period is waiting by its nature: there is no event to wait for.
    """
    readings = []
    for _ in range(_IDLE_READINGS):
        readings.append(probe.host_available_bytes())
        time.sleep(_IDLE_PAUSE_S)
    return float(max(readings) - min(readings))


def _counter_drift_bytes() -> float:
    """By how much /proc/meminfo may be off: each CPU keeps up to 125 pages a counter to itself
    (`stat_threshold` in the kernel's mm/vmstat.c), so a smaller change means nothing."""
    return float(_STAT_THRESHOLD_PAGES * os.sysconf("SC_PAGE_SIZE") * (os.cpu_count() or 1))


def slope(points: Sequence[tuple[int, float]]) -> float:
    """Least-squares slope of value over n; at least two different n are needed."""
    mean_n = sum(n for n, _ in points) / len(points)
    mean_v = sum(v for _, v in points) / len(points)
    spread = sum((n - mean_n) ** 2 for n, _ in points)
    return sum((n - mean_n) * (v - mean_v) for n, v in points) / spread
