"""What one running instance uses up: counters that can be read ten times a second.

A box with control groups of its own is read from their files, v1 or v2; one that shares the
harness's groups (bare metal without a limit) from its processes. Files stay open and are read
in place, which costs a microsecond or two each. An open file of a control group does not keep
the group from being removed; reading it then fails, and so does that of an ended process: the
instance has gone.

All counters only grow, but for the sizes `memory_bytes` and `rss_bytes`. Names and meanings:
harness/series.py and results/README.md.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import psutil

from harness.probes import cpu, memory
from harness.probes.cgroups import UNIFIED, Layout, counting

_ALWAYS = ("cpu_ns", "memory_bytes")
_DISK = ("read_bytes", "write_bytes")
_NETWORK = ("receive_bytes", "transmit_bytes")
BLKIO = "blkio.throttle.io_service_bytes_recursive"
_SHORT, _SHORT_LIST, _LONG = 64, 256, 16384

Parse = Callable[[bytes], Sequence[int]]


@dataclass(frozen=True)
class Source:
    """A file, what it tells, and how to read it.

    `always` says that it is read each time: CPU time, which tells whether the box has run, and
    what changes also while it does not, as memory that is taken back from it.
    """

    path: Path
    counters: tuple[str, ...]
    parse: Parse
    always: bool = False


class Gone(Exception):
    """The instance has ended: what was read of it is no more."""


class Gauge(Protocol):
    """Something that can be read of an instance: how, and what it tells; None for: ask again in
    the next round, nothing new can be seen yet."""

    names: tuple[str, ...]

    def read(self) -> Sequence[int] | None: ...
    def close(self) -> None: ...


@dataclass(slots=True)
class _Part:
    """One thing to look at: what it said last, and where that stands among the other values."""

    look: Callable[[], Any]
    parse: Callable[[Any], Sequence[int]]
    place: slice
    always: bool
    due: bool = True
    said: Any = None


class Counters:
    """Everything that is read of one instance. Close it when the instance goes.

    Files of one number that are read each time are read in one tight loop: with fifty boxes
    the caches are cold at each reading, and every object that is touched costs. Where CPU time
    is counted by group and stood still, the box has not run: it has read, written and sent
    nothing, and only what changes `always` is looked at. Of the others only a new text is
    parsed.
    """

    def __init__(self, sources: Sequence[Source], gauges: Sequence[Gauge] = ()) -> None:
        self._gauges = tuple(gauges)
        opened: list[tuple[Source, int]] = []
        for source in sources:
            with contextlib.suppress(FileNotFoundError, PermissionError):  # not on this host
                opened.append((source, _opened(source.path)))
        self._files = [file for _, file in opened]
        told = any("cpu_ns" in source.counters for source, _ in opened)
        numbers = [each for each in opened if each[0].always and each[0].parse is number]
        self._numbers = [file for _, file in numbers]
        self.names = tuple(name for source, _ in numbers for name in source.counters)
        self._cpu_is_first, self._ran_at = self.names[:1] == ("cpu_ns",), -1
        self._parts: list[_Part] = []
        self._others: list[int] = []
        for source, file in opened:
            if file not in self._numbers:
                look = partial(os.pread, file, _LONG, 0)
                self._add(source.counters, look, source.parse, source.always or not told)
        for gauge in gauges:
            self._add(gauge.names, gauge.read, tuple, not told)

    def _add(
        self, names: tuple[str, ...], look: Callable[[], Any],
        parse: Callable[[Any], Sequence[int]], always: bool,
    ) -> None:  # fmt: skip
        begin = len(self._others)
        self._others += [0] * len(names)
        self._parts.append(_Part(look, parse, slice(begin, len(self._others)), always))
        self.names += names

    def read(self) -> list[int]:
        """One value a name. Raises Gone."""
        try:
            values = [int(os.pread(file, _SHORT, 0)) for file in self._numbers]
            ran = self._cpu_is_first and values[0] != self._ran_at
            if ran:
                self._ran_at = values[0]
            for part in self._parts:
                if ran or part.due:
                    said = part.look()
                    part.due = part.always or said is None
                    if said is not None and said != part.said:
                        ran = True
                        self._others[part.place] = part.parse(said)
                        part.said = said
        except (OSError, ValueError, LookupError, psutil.Error) as error:
            raise Gone from error
        return values + self._others

    def close(self) -> None:
        for file in self._files:
            os.close(file)
        self._files.clear()
        for gauge in self._gauges:
            gauge.close()
        self._gauges, self._parts = (), []


class ProcessTree:
    """CPU time and resident size of processes and of those that they have started.

    An ended child's CPU time passes to its parent when that waits for it, so the sum only
    grows. It comes in ticks of the kernel, 10 ms as a rule.
    """

    def __init__(self, pids: Sequence[int], names: Sequence[str]) -> None:
        self.names = tuple(names)
        self._roots = [psutil.Process(pid) for pid in pids]

    def read(self) -> Sequence[int]:
        """Raises psutil.Error when a root has ended."""
        sums = dict.fromkeys(self.names, 0)
        for process in self._roots:
            self._add(process, sums)
            for pid in descendants(process.pid):
                with contextlib.suppress(psutil.Error):  # it has just ended
                    self._add(psutil.Process(pid), sums)
        return list(sums.values())

    def _add(self, process: psutil.Process, sums: dict[str, int]) -> None:
        with process.oneshot():
            if "cpu_ns" in sums:
                sums["cpu_ns"] += int(sum(process.cpu_times()[:4]) * 1e9)
            if "rss_bytes" in sums:
                sums["rss_bytes"] += process.memory_info().rss

    def close(self) -> None:
        """Nothing is held."""


class HostIo:
    """Whether any process of the host has moved data since: one look for all instances.

    What passes between memory and a disk and is counted in `/proc/PID/io` is counted in
    /proc/vmstat by the same function (`submit_bio`, block/blk-core.c). Not so what is written
    into the page cache or to a network's files, so that after a second the answer is always
    yes: such bytes are seen that much later.
    """

    _FIELDS = (b"\npgpgin ", b"\npgpgout ")

    def __init__(self) -> None:
        self._file: int | None = None
        with contextlib.suppress(OSError):
            self._file = _opened("/proc/vmstat")
        self._said: object = None
        self._looked = False
        self._times = 0

    def begin_round(self) -> None:
        """What is asked from now on is looked up anew, once."""
        self._looked = False

    def times(self) -> int:
        """How often it was seen that data had moved; the same number again: none has."""
        if self._looked:
            return self._times
        self._looked, said = True, self._look()
        if said is None or said != self._said:
            self._said = said
            self._times += 1
        return self._times

    def _look(self) -> object:
        """None where the kernel does not tell."""
        if self._file is None:
            return None
        page = os.pread(self._file, _LONG, 0)
        begins = [page.find(field) for field in self._FIELDS]
        if min(begins) < 0:
            return None
        counts = [page[begin : page.find(b"\n", begin + 1)] for begin in begins]
        return time.monotonic_ns() // 1_000_000_000, counts

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


class TreeIo:
    """Bytes that a process and its descendants have moved from and to block devices.

    The kernel adds an ended child's to its parent's when that waits for it (and not before: in
    between they are in neither, so the sum is kept from falling). Nothing is read while no
    process of the `host` has moved any.
    """

    names: tuple[str, ...] = _DISK

    def __init__(self, pid: int, host: HostIo) -> None:
        self._pid = pid
        self._host, self._times = host, 0
        self._io = _opened(f"/proc/{pid}/io")
        self._children: int | None = None
        with contextlib.suppress(OSError):  # a kernel that does not list children
            self._children = _opened(f"/proc/{pid}/task/{pid}/children")
        self._said, self._last = b"", (0, 0)

    def read(self) -> Sequence[int] | None:
        """Raises OSError when the root has ended."""
        times = self._host.times()
        if times == self._times:
            return None
        self._times = times
        said = os.pread(self._io, _SHORT_LIST, 0)
        said = said[said.index(b"read_bytes:") :]  # what changes with every message stands before
        has_children = self._children is not None and os.pread(self._children, 1, 0)
        if said == self._said and not has_children:
            return self._last
        self._said = said
        read, written = moved(said)
        for pid in descendants(self._pid) if has_children else ():
            with contextlib.suppress(OSError):  # it has just ended
                more = moved(memory.kernel_text(f"/proc/{pid}/io"))
                read, written = read + more[0], written + more[1]
        self._last = (max(read, self._last[0]), max(written, self._last[1]))
        return self._last

    def close(self) -> None:
        os.close(self._io)
        if self._children is not None:
            os.close(self._children)


class Listed:
    """Files in which the kernel lists things, a page a read: they stay open, and each is read to
    its end."""

    def __init__(
        self, names: tuple[str, ...], parse: Callable[..., Sequence[int]], *paths: Path
    ) -> None:
        self.names = names
        self._parse = parse
        self._files = [_opened(path) for path in paths]
        self._said: list[bytes] = []
        self._values: Sequence[int] = ()

    def read(self) -> Sequence[int]:
        said = [memory.whole(file) for file in self._files]
        if said != self._said:
            self._said, self._values = said, self._parse(*said)
        return self._values

    def close(self) -> None:
        for file in self._files:
            os.close(file)
        self._files.clear()


def _opened(path: Path | str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def moved(data: bytes) -> tuple[int, int]:
    """`/proc/PID/io`: bytes read from and written to storage."""
    words = data.split()
    return (
        int(words[words.index(b"read_bytes:") + 1]),
        int(words[words.index(b"write_bytes:") + 1]),
    )


def descendants(pid: int) -> Iterator[int]:
    """Living children of all generations, where the kernel lists them (CONFIG_PROC_CHILDREN)."""
    try:
        words = memory.kernel_text(f"/proc/{pid}/task/{pid}/children").split()
    except OSError:
        return
    for word in words:
        yield int(word)
        yield from descendants(int(word))


def of_instance(pids: Sequence[int], layout: Layout, harness: int, host: HostIo) -> Counters:
    """The counters of a box, given its processes, its init or VMM first. Raises Gone.

    `harness` is the process whose groups a box without groups of its own shares; `host` tells
    all instances when there is something to be read of their disks.
    """
    try:
        shared, init = layout.memberships(harness), pids[0]
        groups = {
            controller: counting(path) if controller == UNIFIED else path
            for controller, path in layout.memberships(init).items()
            if shared.get(controller) != path and (controller != "blkio" or counts_blkio(layout))
        }
        sources = list(_group_sources(groups))
        interfaces = Path(f"/proc/{init}/net/dev")
        if _has_own_network(init) and has_interfaces(interfaces.read_bytes()):
            sources.append(Source(interfaces, _NETWORK, network))
        known = {name for source in sources for name in source.counters}
        missing = [] if "cpu_ns" in known else ["cpu_ns"]
        missing += [] if "memory_bytes" in known else ["rss_bytes"]
        gauges: list[Gauge] = [ProcessTree(pids, missing)] if missing else []
        if "read_bytes" not in known:
            with contextlib.suppress(PermissionError):  # an ordinary user may not look
                gauges.append(TreeIo(init, host))
        return Counters(sources, gauges)
    except (OSError, psutil.Error, LookupError) as error:
        raise Gone from error


def _group_sources(groups: Mapping[str, Path]) -> Iterator[Source]:
    """The files that exist of a box's own groups, by controller."""
    candidates = (
        ("cpuacct", "cpuacct.usage", ("cpu_ns",), number),
        ("cpu", "cpu.stat", ("throttled_ns",), throttled_v1),
        ("memory", "memory.usage_in_bytes", ("memory_bytes",), number),
        ("blkio", BLKIO, _DISK, blkio),
        (UNIFIED, "cpu.stat", ("cpu_ns", "throttled_ns"), cpu_v2),
        (UNIFIED, "memory.current", ("memory_bytes",), number),
        (UNIFIED, "io.stat", _DISK, io_stat),
    )
    for controller, name, counters, parse in candidates:
        path = groups.get(controller)
        if (
            path is not None
            and (path / name).is_file()
            and not (
                controller == "cpu" and (path / "cpu.cfs_quota_us").read_text().startswith("-")
            )
        ):  # without a quota nothing holds the box back, and every file read costs
            yield Source(path / name, counters, parse, always=counters[0] in _ALWAYS)


def number(data: bytes) -> Sequence[int]:
    """A file of one number."""
    return (int(data),)


def throttled_v1(data: bytes) -> Sequence[int]:
    """`cpu.stat` of v1: nanoseconds for which the group's quota held it back."""
    words = data.split()
    return (int(words[words.index(b"throttled_time") + 1]),)


def cpu_v2(data: bytes) -> Sequence[int]:
    """`cpu.stat` of v2, in microseconds; a group without a quota is never held back."""
    words = data.split()
    said = dict(zip(words[::2], words[1::2], strict=True))
    return int(said[b"usage_usec"]) * 1000, int(said.get(b"throttled_usec", 0)) * 1000


def blkio(data: bytes) -> Sequence[int]:
    """`blkio.throttle.io_service_bytes` of v1: bytes read and written, over all devices."""
    words = data.split()
    read = sum(int(words[i + 1]) for i, word in enumerate(words) if word == b"Read")
    return read, sum(int(words[i + 1]) for i, word in enumerate(words) if word == b"Write")


def io_stat(data: bytes) -> Sequence[int]:
    """`io.stat` of v2: the same."""
    words = data.split()
    read = sum(int(word[7:]) for word in words if word.startswith(b"rbytes="))
    return read, sum(int(word[7:]) for word in words if word.startswith(b"wbytes="))


def network(data: bytes, only: frozenset[str] | None = None) -> Sequence[int]:
    """`/proc/PID/net/dev`: bytes received and sent by these interfaces, by default by all; the
    loopback never counts."""
    received = sent = 0
    for line in data.splitlines()[2:]:
        head, _, rest = line.partition(b":")
        name = os.fsdecode(head.strip())
        if name != "lo" and (only is None or name in only):
            words = rest.split()
            received += int(words[0])
            sent += int(words[8])
    return received, sent


def counts_blkio(layout: Layout) -> bool:
    """Whether this kernel counts in v1's `blkio` at all: newer ones have the file, and leave it
    at 0 for the whole host, which would be a lie of every box."""
    root = layout.v1.get("blkio")
    try:
        return root is not None and any(blkio((root / BLKIO).read_bytes()))
    except OSError:
        return False


def has_interfaces(data: bytes) -> bool:
    """Whether `/proc/PID/net/dev` lists any but the loopback."""
    return any(not line.lstrip().startswith(b"lo:") for line in data.splitlines()[2:])


def _has_own_network(pid: int) -> bool:
    """Whether a process is in another network namespace than we are."""
    ours, its = (Path(f"/proc/{each}/ns/net").stat().st_ino for each in ("self", pid))
    return ours != its


def of_host() -> Counters:
    """The same of the whole host. `memory_bytes` is what is neither free nor reclaimable."""
    disks, interfaces = hardware(Path("/sys/block")), hardware(Path("/sys/class/net"))
    return Counters(
        (),
        [
            *_of_proc(("cpu_ns",), host_cpu, "stat"),
            *_of_proc(("memory_bytes",), host_memory, "meminfo", "zoneinfo"),
            *_of_proc(_DISK, lambda data: host_disks(data, disks), "diskstats"),
            *_of_proc(_NETWORK, lambda data: network(data, interfaces), "net/dev"),
        ],
    )


def _of_proc(
    names: tuple[str, ...], parse: Callable[..., Sequence[int]], *files: str
) -> Iterator[Listed]:
    """What some files of /proc tell together, where all of them may be read."""
    paths = [Path("/proc", file) for file in files]
    if all(os.access(path, os.R_OK) for path in paths):
        yield Listed(names, parse, *paths)


def hardware(folder: Path) -> frozenset[str]:
    """The devices of a class that no other lies below, so that no byte is counted twice and no
    sum falls because a box has gone; where none is seen, as in a container, all that are there.
    """
    known = frozenset(path.name for path in folder.iterdir()) if folder.is_dir() else frozenset()
    return frozenset(name for name in known if (folder / name / "device").exists()) or known


def host_cpu(data: bytes) -> Sequence[int]:
    """`/proc/stat`: busy nanoseconds of all CPUs, in ticks of the kernel."""
    return (int(cpu.busy(cpu.parse_stat(data.decode())) * 1e9),)


def host_memory(meminfo: bytes, zoneinfo: bytes) -> Sequence[int]:
    """`/proc/meminfo` and `/proc/zoneinfo`: bytes in use, as the ledger counts them."""
    found = memory.sizes(meminfo.decode(), ("MemTotal", "MemFree", "Cached", "SReclaimable"))
    lists = memory.free_lists_bytes(zoneinfo.decode())
    return (found["MemTotal"] - memory.available(found) - lists,)


def host_disks(data: bytes, disks: frozenset[str]) -> Sequence[int]:
    """`/proc/diskstats`: bytes read and written by these disks; a sector has 512 bytes."""
    read = written = 0
    for line in data.decode().splitlines():
        words = line.split()
        if words[2] in disks:
            read += int(words[5]) * 512
            written += int(words[9]) * 512
    return read, written
