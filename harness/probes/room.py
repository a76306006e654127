"""What room a host has left for one more instance: memory, disk, process numbers, descriptors."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.model import MIB
from harness.probes import cgroups, memory, pressure

_STAYS_BYTES = 1024 * MIB


@dataclass(frozen=True)
class Room:
    """One look at the host. None where it does not tell.

    `swapped_out` counts pages since boot; `stalled_s` is by resource (probes/pressure.py). The
    disk is the one with the least room beyond what is to stay of it, `disk_stays_bytes`.
    """

    available_bytes: int
    swapped_out: int | None
    stalled_s: Mapping[str, float]
    disk_free_bytes: int
    disk_stays_bytes: int
    pids_free: int | None
    descriptors_free: int


def look(folders: Sequence[Path]) -> Room:
    """Look at the host; `folders` are where instances keep their things."""
    found = memory.host_memory()
    disks = [shutil.disk_usage(folder) for folder in folders]
    tightest = min(disks, key=lambda disk: disk.free - stays(disk.total))
    return Room(
        available_bytes=found.get("MemAvailable", memory.available(found)),
        swapped_out=_swapped_out(),
        stalled_s=pressure.stalled_s(),
        disk_free_bytes=tightest.free,
        disk_stays_bytes=stays(tightest.total),
        pids_free=_pids_free(),
        descriptors_free=_descriptors_free(),
    )


def stays(disk_bytes: int) -> int:
    """What is to stay free of a file system: a quarter of a small one, such as /run, which lies in
    memory and has a tenth of it on Debian."""
    return min(_STAYS_BYTES, disk_bytes // 4)


def _swapped_out(vmstat: Path = Path("/proc/vmstat")) -> int | None:
    for line in vmstat.read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "pswpout":
            return int(value)
    return None


def _pids_free() -> int | None:
    """How many processes and threads may still be made, by the tightest limit that is told."""
    found: list[int] = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        kernel = Path("/proc/sys/kernel")
        most = min(int((kernel / name).read_text()) for name in ("pid_max", "threads-max"))
        found.append(most - int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2]))
    for group in cgroups.Layout.detect().groups_of(os.getpid()):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number, and no limit
            most = int((group / "pids.max").read_text())
            found.append(most - int((group / "pids.current").read_text()))
    return min(found, default=None)


def _descriptors_free() -> int:
    """How many files this process may still open."""
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return most - sum(1 for _ in Path("/proc/self/fd").iterdir())
