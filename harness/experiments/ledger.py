"""The memory ledger: what boxes are charged, and what the host has less of.

Two totals that are counted independently of each other. *Charged*: what each box's control
group is charged, and the PSS of those of its processes that live outside of it (shim, VMM, the
growth of a private daemon), each page once. *Host*: by how much the host's free and
reclaimable memory fell. What a box frees goes to a list of its CPU first, and MemFree does not
count what is there, so those lists are added (harness/probes/memory.py). A point is one reading
of both; the cost of one instance is the slope of points over the number of instances. The host
moves by itself too, and its side counts only where it was moved ten times as much (DESIGN:
memory ledger).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.experiments.bench import Bench
from harness.model import GuestMemory, HasDaemon, Instance
from harness.probes import memory as probe
from harness.probes.cgroups import Layout

SIGNAL_TO_IDLE = 10.0
"""How many times the idle variation the host's side must have moved to count."""

_IDLE_READINGS = 5
_IDLE_PAUSE_S = 0.04
_STAT_THRESHOLD_PAGES = 125

Point = Mapping[str, float]
"""One reading, in bytes over all instances: `host_delta` (rising as the host's memory falls; only
differences mean anything), `pss`, `rss` and `charged` unless part of them cannot be counted, and
for machines `guest_ram` and `vmm_overhead`."""


def read_point(bench: Bench, boxes: Sequence[Instance]) -> Point:
    """Both sides of the ledger, and what stands beside it, at this size of the ramp.

    What could not be counted is absent: a total with a hole in it is no total.
    """
    processes = [pid for box in boxes for pid in box.processes()]
    point = {"host_delta": -float(probe.host_available_bytes())}
    held = probe.together(processes)
    if held is not None:
        point |= {"pss": float(held.pss_bytes), "rss": float(held.rss_bytes)}
    charges = [charged(box) for box in boxes]
    if isinstance(bench.runtime, HasDaemon) and not bench.runtime.shared_daemon:
        charges.append(_pss(bench.runtime.daemon_processes()))
    if None not in charges:
        point["charged"] = float(sum(charge or 0 for charge in charges))
    try:
        guests = [box.guest_memory_bytes() for box in boxes if isinstance(box, GuestMemory)]
    except PermissionError:  # the machine of a daemon, into which this user may not look
        guests = []
    if guests or (not boxes and bench.runtime.runtime_class.is_machine):
        point["guest_ram"] = float(sum(guests))
        if held is not None:
            point["vmm_overhead"] = point["pss"] - point["guest_ram"]
    return point


@runtime_checkable
class JoinsLate(Protocol):
    """Boxes with helpers that used memory before they joined the box's group: another group
    was charged for it, and stays so."""

    def joined_late(self) -> Sequence[int]: ...


@runtime_checkable
class OutsideMemory(Protocol):
    """Boxes with memory that a hypervisor gives: no process and no group of this host has it."""

    def outside_memory_bytes(self) -> int: ...


def charged(box: Instance) -> int | None:
    """One box's side of the ledger: its own group, and the PSS of its processes outside of it.

    A helper that joined late counts as one outside. What little it has used since is then
    counted in the group too, which is nearer than to miss all that it brought along. A box of
    which nothing is on this host is not counted at all.
    """
    here = _charged_here(box)
    if here is None or not isinstance(box, OutsideMemory):
        return here
    return here + box.outside_memory_bytes()


def _charged_here(box: Instance) -> int | None:
    if not box.processes():
        return None
    group = _own_group(box)
    if group is None:
        return _pss(box.processes())
    early = _pss(box.joined_late()) if isinstance(box, JoinsLate) else 0
    inside = probe.charged(box.processes(), [group])
    return None if early is None or inside is None else early + inside


def cache_charged(bench: Bench, box: Instance) -> int | None:
    """`charged`, where the page cache that a box fills is part of it: in a group of its own,
    or in a guest's RAM. Else None."""
    if _own_group(box) is None and not bench.runtime.runtime_class.is_machine:
        return None
    return charged(box)


def _pss(processes: Sequence[int]) -> int | None:
    held = probe.together(processes)
    return None if held is None else held.pss_bytes


def _own_group(box: Instance) -> Path | None:
    """The memory group that holds this box alone, or None when it shares one with others.

    A box without a group of its own is in the group of whoever started it: the harness's.
    """
    shared = Layout.detect().groups_of(os.getpid())
    for path in box.cgroups():
        if (path / "memory.stat").is_file():
            return None if path in shared else path
    return None


def idle_variation(reading: Callable[[], int] = probe.host_available_bytes) -> float:
    """Range of a reading of the host's memory, by default of what is free and reclaimable,
    over a moment without our doing.

    An idle control period is waiting by its nature: there is no event to wait for.
    """
    readings = []
    for _ in range(_IDLE_READINGS):
        readings.append(reading())
        time.sleep(_IDLE_PAUSE_S)
    return float(max(readings) - min(readings))


def counter_drift_bytes() -> float:
    """By how much /proc/meminfo may be off: each CPU keeps up to 125 pages a counter to itself
    (`stat_threshold` in the kernel's mm/vmstat.c), so a smaller change means nothing."""
    return float(_STAT_THRESHOLD_PAGES * os.sysconf("SC_PAGE_SIZE") * (os.cpu_count() or 1))


def slope(points: Sequence[tuple[int, float]]) -> float:
    """Least-squares slope of value over n; at least two different n are needed."""
    mean_n = sum(n for n, _ in points) / len(points)
    mean_v = sum(v for _, v in points) / len(points)
    spread = sum((n - mean_n) ** 2 for n, _ in points)
    return sum((n - mean_n) * (v - mean_v) for n, v in points) / spread
