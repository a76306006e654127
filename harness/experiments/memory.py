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

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from harness.clock import Marks
from harness.experiments import ledger
from harness.experiments.bench import Bench, Measurement
from harness.experiments.identity import combined
from harness.model import HasDaemon, Identity, Instance, Sample
from harness.probes import memory as probe
from harness.settings import Memory


def measure(bench: Bench, settings: Memory) -> Measurement:
    """One ramp; every value is bytes an instance."""
    target = _target(bench, settings)
    begin, variation = probe.host_available_bytes(), ledger.idle_variation()
    boxes: list[Instance] = []
    with ExitStack() as stack:
        points = [(0, ledger.read_point(bench, boxes))]
        for size in _steps(target, bench.runtime.runtime_class.is_machine):
            _grow(bench, settings, boxes, size, stack)
            points.append((size, ledger.read_point(bench, boxes)))
        proof = _prove(bench, boxes)
    drift = float(abs(probe.host_available_bytes() - begin))
    variation = max(variation, drift, ledger.counter_drift_bytes())
    slopes = {
        key: ledger.slope([(n, p[key]) for n, p in points if key in p]) for key in points[-1][1]
    }
    fell = points[-1][1]["host_delta"] - points[0][1]["host_delta"]
    if fell < ledger.SIGNAL_TO_IDLE * variation:
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


def _prove(bench: Bench, boxes: Sequence[Instance]) -> Identity:
    """An idle instance has executed the agent and nothing else; each one hashes it."""
    return combined([bench.prove(box) for box in boxes])
