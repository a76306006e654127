"""Memory of processes, of boxes and of the host, from /proc and the control groups.

Two independent totals are read here for the ledger: what is charged to a box, and what the
host has less of. They overlap by nature and are never added (DESIGN: memory ledger).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from harness.model import Frozen
from harness.probes import cgroups

_READ_BYTES = 16384
_LISTED = re.compile(r" count: +(\d+)")


class ProcessMemory(Frozen, frozen=True):
    """One process: PSS shares each page among those who map it, RSS counts it for each."""

    pss_bytes: int
    rss_bytes: int


def parse_kib(text: str) -> dict[str, int]:
    """`Name:  123 kB` lines as bytes by name; other lines are passed over."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    return found


def sizes(text: str, names: Iterable[str]) -> dict[str, int]:
    """The same of some names only, in a quarter of the time; one that is not there is left out."""
    words = text.split()
    return {
        name: int(words[words.index(f"{name}:") + 1]) * 1024
        for name in names
        if f"{name}:" in words
    }


def parse_rollup(text: str) -> ProcessMemory | None:
    """PSS and RSS from /proc/PID/smaps_rollup; None for a process without memory (a zombie)."""
    found = sizes(text, ("Pss", "Rss"))
    if len(found) < 2:
        return None
    return ProcessMemory(pss_bytes=found["Pss"], rss_bytes=found["Rss"])


def whole(file: int) -> bytes:
    """All that an open file of the kernel says now; it gives a page a read."""
    found = b""
    while page := os.pread(file, _READ_BYTES, len(found)):
        found += page
    return found


def kernel_text(path: str) -> bytes:
    """The same of one that is not open, in a quarter of the time that pathlib takes."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return whole(file)
    finally:
        os.close(file)


def process_memory(pid: int) -> ProcessMemory | None:
    """PSS and RSS of a process; None when it has ended. Raises PermissionError where this user
    may not look into it.

    Costs about 0.15 ms a process, and holds its memory lock meanwhile: not for fast sampling.
    """
    try:
        return parse_rollup(kernel_text(f"/proc/{pid}/smaps_rollup").decode())
    except FileNotFoundError:
        with suppress(ProcessLookupError):
            os.kill(pid, 0)  # refused where it lives and is hidden (the mount option hidepid)
        return None
    except ProcessLookupError:
        return None


def together(processes: Iterable[int]) -> ProcessMemory | None:
    """PSS and RSS of several processes, of which those that have ended cost nothing.

    None where this user may not look into one of them: a total with a hole in it is no total.
    """
    try:
        sizes = [size for size in map(process_memory, processes) if size is not None]
    except PermissionError:
        return None
    return ProcessMemory(
        pss_bytes=sum(size.pss_bytes for size in sizes),
        rss_bytes=sum(size.rss_bytes for size in sizes),
    )


def available(found: dict[str, int]) -> int:
    """MemFree + Cached + SReclaimable: what a box's start takes away from (DESIGN: ledger)."""
    return found["MemFree"] + found["Cached"] + found.get("SReclaimable", 0)


def host_memory() -> dict[str, int]:
    """/proc/meminfo in bytes by name."""
    return parse_kib(Path("/proc/meminfo").read_text())


def free_lists_bytes(zoneinfo: str) -> int:
    """Free pages that each CPU keeps at hand, from /proc/zoneinfo: MemFree leaves them out.

    Since Linux 6.7 these lists grow by themselves to hundreds of MiB, and what is freed goes
    there first ("mm, pcp: auto-tuning", mm/page_alloc.c).
    """
    pages = sum(map(int, _LISTED.findall(zoneinfo)))
    return pages * os.sysconf("SC_PAGE_SIZE")


def host_free_bytes() -> int:
    """What the host uses for nothing at all, not even to keep files at hand."""
    return host_memory()["MemFree"] + free_lists_bytes(Path("/proc/zoneinfo").read_text())


def host_available_bytes() -> int:
    """`available` of this host now, with the free pages that MemFree leaves out."""
    lists = free_lists_bytes(Path("/proc/zoneinfo").read_text())
    return available(host_memory()) + lists


def charged(processes: Iterable[int], groups: Sequence[Path]) -> int | None:
    """What a box is charged: its group's memory, and the PSS of its processes outside of it.

    `groups` are those of the box's own processes, memory's first, as `Instance.cgroups` gives
    them. None where the group is not counted, or a process outside may not be read.
    """
    held = cgroups.charge(groups[0]) if groups else None
    if held is None:
        return None
    layout = cgroups.Layout.detect()
    beside = together(pid for pid in processes if not _is_inside(layout, pid, groups[0]))
    return None if beside is None else held.total + beside.pss_bytes


def _is_inside(layout: cgroups.Layout, pid: int, group: Path) -> bool:
    """Whether a process is in a group or below it; one that has ended is nowhere."""
    try:
        return any(path.is_relative_to(group) for path in layout.groups_of(pid))
    except OSError:
        return False


def swapped_pages() -> int:
    """Pages that this host has swapped in and out since boot; 0 where it does not count them."""
    try:
        pairs = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except OSError:
        return 0
    return int(pairs.get("pswpin", 0)) + int(pairs.get("pswpout", 0))
