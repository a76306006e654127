"""Parts of a private daemon: what it covers of the host, who uses it, and how it is ended.

A run that finds no daemon of a kind starts one of its own, which lives in a mount namespace
of its own: its mounts end with its last process, and what it would write outside its folders
is covered there by folders of the run. What is left to be told by name are its processes, and
the few empty folders of the host that had to be made to be covered.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.process import reap, wait_pidfd
from runtimes.mounts import PrivateMounts

_MARKER = ".tarebench-"
_STOP_TIMEOUT_S = 20.0
_POINTS, _MARK = "mount_points", "marker"
_RECORD = "details.json"


def cover_details(covered: Sequence[str], token: str) -> Mapping[str, str]:
    """What an inventory entry must tell of the folders that a daemon covers.

    Those that are there only for daemons of ours are removed by the last of them. Each leaves
    a marker in it, because removing a folder takes away what any other mount namespace has
    mounted on it.
    """
    points = ":".join(path for path in covered if _made_to_be_covered(Path(path)))
    return {_POINTS: points, _MARK: f"{_MARKER}{token}"}


def cover(
    mounts: PrivateMounts, covered: Sequence[str], below: Path, details: Mapping[str, str]
) -> None:
    """Put folders of the run, named alike and made here, over folders of the host."""
    for point in _mount_points(details):
        point.mkdir(exist_ok=True)
        (point / details[_MARK]).touch()
    for path in covered:
        cover = cover_of(below, path)
        cover.mkdir(parents=True, exist_ok=True, mode=0o700)
        mounts.bind(cover, Path(path))


def cover_of(below: Path, path: str) -> Path:
    """The run's folder that lies over one of the host."""
    return below / path.lstrip("/").replace("/", "-")


def uncovered(details: Mapping[str, str]) -> bool:
    """Whether nothing is left of the folders that were made to be covered."""
    return not any((p / details.get(_MARK, _MARKER)).exists() for p in _mount_points(details))


def uncover(details: Mapping[str, str]) -> None:
    """Remove the folders that were made to be covered, unless another daemon uses them."""
    for point in _mount_points(details):
        (point / details.get(_MARK, _MARKER)).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            point.rmdir()


def _made_to_be_covered(path: Path) -> bool:
    if not path.exists():
        return True
    found = [entry.name for entry in path.iterdir()]
    return bool(found) and all(name.startswith(_MARKER) for name in found)


def _mount_points(details: Mapping[str, str]) -> Sequence[Path]:
    return [Path(path) for path in details.get(_POINTS, "").split(":") if path]


def remember(folder: Path, details: Mapping[str, str]) -> None:
    """Keep what the inventory was told in the daemon's folder: who stops it may be another."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / _RECORD).write_text(json.dumps(dict(details)))


def recall(folder: Path, otherwise: Mapping[str, str]) -> Mapping[str, str]:
    """What was remembered in a daemon's folder."""
    try:
        told = json.loads((folder / _RECORD).read_text())
    except FileNotFoundError:
        return otherwise
    return {key: str(value) for key, value in told.items()}


class Hold:
    """One user's hold on a shared daemon, kept as a file in the daemon's folder.

    So runtime objects that know nothing of each other share one daemon, and the last one to
    go stops it.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "users" / uuid.uuid4().hex

    def take(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file.touch()

    def give_back(self) -> bool:
        """Whether it was the last one."""
        self._file.unlink(missing_ok=True)
        users = self._file.parent
        return users.is_dir() and not any(users.iterdir())


def end_process(pid: int, still_meant: Callable[[], bool], number: signal.Signals) -> None:
    """Signal a process and wait for its end.

    The pidfd is opened first and the identity checked after, so that a number that was given
    to another process meanwhile is never hit.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if still_meant():
            signal.pidfd_send_signal(pidfd, number)
            wait_pidfd(pidfd, _STOP_TIMEOUT_S)
            reap(pid)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def all_pids() -> Iterator[int]:
    """Every process of this host, by number."""
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def argv_of(pid: int) -> list[str]:
    """The command line of a process; empty for one that has gone."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return os.fsdecode(text).rstrip("\0").split("\0") if text else []


def children_of(pid: int) -> Sequence[int]:
    """Children by the kernel's process table: the shorter list of a task is not always built in."""
    return [child for child in all_pids() if parent_of(child) == pid]


def parent_of(pid: int) -> int:
    """The parent's number; 0 for a process that has gone."""
    return _stat(pid, 1)


def collect_orphans() -> None:
    """Collect children that have ended and that nobody holds: whoever started them ended first.

    What we start leads a process group of its own, or is in ours; an orphan does neither. It is
    our first thread's to collect; where the kernel lists no children, it stays until we end.
    """
    ours, us = os.getpgrp(), os.getpid()
    listed = Path(f"/proc/{us}/task/{us}/children")
    for pid in map(int, listed.read_text().split() if listed.exists() else ()):
        with contextlib.suppress(ProcessLookupError):  # another thread has just collected it
            if os.getpgid(pid) not in (pid, ours):
                reap(pid)


def session_of(pid: int) -> int:
    """The session's number, which a zombie keeps; 0 for a process that has gone."""
    return _stat(pid, 3)


def _stat(pid: int, field: int) -> int:
    """A field of /proc/PID/stat, counted from the one behind the program's name."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(stat.rpartition(")")[2].split()[field])
