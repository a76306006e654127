"""Block devices under a filesystem, and what the kernel has moved to and from them.

The counters are those of /sys/dev/block/MAJOR:MINOR/stat (Documentation/block/stat.rst): they
are of the whole device, whoever used it, and count sectors of 512 bytes at completion. So a
difference over a span is at least what one job in it moved, and may be more.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.probes.host import mount_of

IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs", "hugetlbfs"})
"""Filesystems that have no device at all."""

_SECTOR_BYTES = 512
_BLOCK = Path("/sys/dev/block")


@dataclass(frozen=True)
class Device:
    """A block device: `number` is MAJOR:MINOR, `name` the kernel's."""

    number: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.number})"

    @property
    def caches_writes(self) -> bool:
        """Whether the kernel sends it flush requests: it has a volatile write cache.

        A partition has no queue of its own; its disk's counts.
        """
        place = (_BLOCK / self.number).resolve()
        for queue in (place / "queue", place.parent / "queue"):
            if queue.is_dir():
                return (queue / "write_cache").read_text().strip() == "write back"
        return False


@dataclass(frozen=True)
class Traffic:
    """What has been moved since the device is there; `flushes` is None before Linux 5.5."""

    read_bytes: int
    written_bytes: int
    flushes: int | None

    def since(self, earlier: Traffic) -> Traffic:
        """The difference."""
        known = self.flushes is not None and earlier.flushes is not None
        return Traffic(
            self.read_bytes - earlier.read_bytes,
            self.written_bytes - earlier.written_bytes,
            self.flushes - earlier.flushes if known else None,  # type: ignore[operator]
        )


def parse_stat(text: str) -> Traffic:
    """The line of a device's `stat` file."""
    fields = [int(word) for word in text.split()]
    return Traffic(
        read_bytes=fields[2] * _SECTOR_BYTES,
        written_bytes=fields[6] * _SECTOR_BYTES,
        flushes=fields[15] if len(fields) > 15 else None,
    )


def traffic(device: Device) -> Traffic:
    """The counters now."""
    return parse_stat((_BLOCK / device.number / "stat").read_text())


def own_traffic(pids: Iterable[int]) -> Traffic | None:
    """What processes, and the children that they waited for, had a block device fetch or take.

    From /proc/PID/io, which the kernel counts where requests are made (direct I/O) or pages
    dirtied (the rest): nobody else's requests are in it. It does not say to which device. None
    where a process is not ours to read or has just ended, or the kernel does not count.
    """
    read = written = 0
    for pid in pids:
        try:
            found = dict(
                line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines()
            )
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None
        read += int(found["read_bytes"])
        written += int(found["write_bytes"])
    return Traffic(read, written, None)


def device_under(path: Path, mountinfo: str | None = None) -> Device | None:
    """The block device that holds a file or folder; None where there is not one.

    btrfs and others give their files device numbers of no device; then the mount's source
    counts, if that is a device. An overlay, a network or a memory filesystem has none.
    """
    number = path.stat().st_dev
    if (found := _named(number)) is not None:
        return found
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    mount = mount_of(path.resolve(), text)
    source = None if mount is None else Path(mount.source)
    if source is None or not source.is_absolute() or not source.is_block_device():
        return None
    return _named(source.stat().st_rdev)


def _named(number: int) -> Device | None:
    name = f"{os.major(number)}:{os.minor(number)}"
    place = _BLOCK / name
    return Device(name, place.resolve().name) if (place / "stat").is_file() else None
