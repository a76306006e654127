"""A start from a cold cache: dropped just before the request, and proven dropped.

*Cold* means this kernel's page cache. Three things prove it for each trial: just before the
request no page of a listed set of files is resident (the programs that the launch executes,
and the image's files where this runtime finds them); after READY some of them are; and bytes
were read in between from the block devices that hold them. A trial in which one of the three
does not hold has failed.

What cannot be made cold is said: a daemon that runs keeps its own pages, the host below a
virtual machine may have a cache of its own, and so may a disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.errors import EnvironmentRefused, HarnessError
from harness.experiments import identity
from harness.experiments.bench import Bench, Conditions
from harness.model import AGENT_PATH, HasDaemon, HasStorage, Image, Instance
from harness.probes import disk, host, pagecache

DIMENSION = {"regime": "cold"}
"""What every sample of a cold trial carries; warm ones carry nothing."""

_SHOWN = 3

_DISK = {
    "none": ", and its disk goes past the host's (cache=none), so that it is cold for the host by "
    "construction; compared only with cold rows",
    "writeback": ", and its disk goes through the host's (cache=writeback), which was dropped",
}
"""How a guest's disk is read, by QEMU's word for it."""


@runtime_checkable
class ReadsFiles(Protocol):
    """Runtimes that can tell which files of this host a launch reads, for cold starts."""

    def launch_files(self, image: Image, inside: Sequence[str]) -> Sequence[Path]:
        """The programs that a launch executes, and where it finds paths inside the image."""
        ...


class NotCold(HarnessError):
    """The cache was not cold, or the launch cannot have been a cold one."""


def require() -> None:
    """Raises EnvironmentRefused where this process may not drop the page cache."""
    if not pagecache.can_drop():
        raise EnvironmentRefused(
            "cold starts need to drop the page cache, which only root may",
            f"run the same command with sudo, where {pagecache.DROP} can be written",
        )


@dataclass(frozen=True)
class Cold:
    """The cold files of one trial, and what their devices had read when it began."""

    files: Sequence[Path]
    devices: Sequence[disk.Device]
    read_bytes: int


def files(bench: Bench) -> Sequence[Path]:
    """What a launch and its first job read: the runtime's programs, and files of the image."""
    if not isinstance(bench.runtime, ReadsFiles):
        raise NotCold(f"{bench.runtime.name} does not tell which files its launches read")
    inside = [AGENT_PATH, *identity.executed_files(bench.image, bench.workload.argv[0])]
    found = bench.runtime.launch_files(bench.image, inside)
    return list(dict.fromkeys(path.resolve() for path in found))


def chill(listed: Sequence[Path]) -> Cold:
    """Drop the caches, and prove it of these files. Raises NotCold."""
    devices = list(
        dict.fromkeys(found for path in listed if (found := disk.device_under(path)) is not None)
    )
    if not devices:
        raise NotCold("the files that a launch reads lie on no block device that can be told")
    if left := pagecache.evict(listed):
        shown = ", ".join(f"{path} ({size} bytes)" for path, size in list(left.items())[:_SHOWN])
        raise NotCold(f"still in the page cache, because a running process holds it: {shown}")
    return Cold(listed, devices, _read(devices))


def warmed(cold: Cold, bench: Bench, instance: Instance) -> Conditions:
    """What the launch brought in, read right after READY. Raises NotCold if that is nothing."""
    read = _read(cold.devices) - cold.read_bytes
    resident = sum(map(pagecache.resident_bytes, cold.files))
    if read == 0:
        names = ", ".join(map(str, cold.devices))
        raise NotCold(f"not a byte was read from {names} during the launch")
    if resident == 0:
        raise NotCold("the launch read none of the files that were dropped before it")
    return {
        "regime": "cold",
        "cold_files": len(cold.files),
        "cold_bytes": sum(path.stat().st_size for path in cold.files),
        "device": ", ".join(map(str, cold.devices)),
        "device_read_bytes": read,
        "cold_resident_bytes": resident,
        "cache_host": "dropped; no page of the listed files was resident before the request",
        "cache_backing": _backing(),
        "cache_box": _box(bench, instance),
    }


def _read(devices: Sequence[disk.Device]) -> int:
    return sum(disk.traffic(device).read_bytes for device in devices)


def _backing() -> str:
    virtual = host.is_virtual()
    if virtual is False:
        return "the disk's own cache is not emptied"
    why = "this host is itself a virtual machine" if virtual else (
        "this host does not tell whether it is a virtual machine"
    )  # fmt: skip
    return f"backing cache unknown: {why}, whose disk may be a warm file elsewhere"


def _box(bench: Bench, instance: Instance) -> str:
    """What stays warm, or is cold without our doing, by the kind of the box."""
    if bench.runtime.runtime_class.is_machine:
        cache = instance.storage().cache if isinstance(instance, HasStorage) else ""
        return f"the guest's cache is empty at boot{_DISK.get(cache, '')}"
    if isinstance(bench.runtime, HasDaemon):
        return "the daemons run on and keep the pages of theirs that they have mapped"
    return ""
