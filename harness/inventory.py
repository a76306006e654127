"""What a run makes on the host, written down before it is made, so that it can be found.

One append-only JSONL file a run, in a place that every later `tarebench clean` knows. The
living harness holds a lock on it; the kernel drops the lock when the harness dies, however it
dies, so whoever can take the lock knows that the run is dead and may be cleaned.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import paths, registry
from harness.clock import boot_id
from harness.errors import EnvironmentRefused, HarnessError
from harness.model import Cleaner
from harness.probes.cgroups import Group, Layout

log = logging.getLogger(__name__)

SETTING = "setting"
"""The kind of a kernel setting: its name is a path, its detail `value` what it was in the boot
of the host that `boot` tells."""

_ENDS_WITH_BOOT = frozenset({"cgroup", "container", "mount", SETTING})
"""What a host that is started anew has not any more. The line of everything else waits for the
disk, so that it outlives a loss of power; these are many, and some are made just before something
is timed."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One thing on the host that a run made, or was about to make."""

    kind: str
    name: str
    details: Mapping[str, str]


class Inventory:
    """The living run's own list; as a context manager it holds the lock.

    At its end the file is removed when nothing is left on it.
    """

    def __init__(self, run_id: str, folder: Path | None = None) -> None:
        self._folder = folder or paths.inventories()
        self.path = self._folder / f"{run_id}.jsonl"
        self._lock = threading.Lock()
        self._closed = False
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = self._open()
        except OSError as error:
            raise self._refused(error) from error

    def _open(self) -> int:
        """Open and lock the file; once more when a clean removed it in between."""
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            file = os.open(self.path, flags, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(self.path, file):
                sync_folder(self._folder)
                return file
            os.close(file)

    def _refused(self, error: OSError) -> EnvironmentRefused:
        return EnvironmentRefused(
            f"the inventory {self.path} cannot be written: {error.strerror}",
            "free some space, or set TAREBENCH_STATE to a folder of yours",
        )

    def will_make(self, kind: str, name: str, **details: str) -> None:
        """Write a thing down; it may be made once this has returned."""
        line = {"op": "make", "kind": kind, "name": name, "details": details}
        self._write(line, durable=kind not in _ENDS_WITH_BOOT)

    def removed(self, kind: str, name: str) -> None:
        """Strike a thing out: it is gone.

        On a disk that is full the line stays: whoever looks for the thing then does not find it.
        """
        try:
            self._write({"op": "gone", "kind": kind, "name": name})
        except EnvironmentRefused:
            log.exception("striking out %s %s", kind, name)

    def _write(self, line: Mapping[str, object], durable: bool = False) -> None:
        data = json.dumps(line).encode() + b"\n"
        with self._lock:
            if self._closed:  # a probe that was given up may come here long after
                raise EnvironmentRefused(
                    f"the run of the inventory {self.path} is over", "nothing more may be made"
                )
            size = os.fstat(self._file).st_size
            try:
                if os.write(self._file, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                os.ftruncate(self._file, size)  # half a line would spoil the next one too
                raise self._refused(error) from error
            if durable:
                os.fdatasync(self._file)

    def entries(self) -> Sequence[Entry]:
        """What is on the list now, newest first."""
        return read(self.path)

    def __enter__(self) -> Inventory:
        return self

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            if not read(self.path):
                self.path.unlink(missing_ok=True)
            os.close(self._file)
            self._closed = True


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk: those of new files are not before."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _is_at(path: Path, file: int) -> bool:
    """Whether a path still names the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file))
    except FileNotFoundError:
        return False


def read(path: Path) -> Sequence[Entry]:
    """What an inventory still lists, newest first; a torn last line is left out."""
    left: dict[tuple[str, str], Entry] = {}
    with path.open("rb") as lines:  # those of a long run are many, and most are struck out
        for line in lines:
            try:
                said = json.loads(line)
                key = (str(said["kind"]), str(said["name"]))
                if said["op"] == "make":
                    left[key] = Entry(*key, {k: str(v) for k, v in said["details"].items()})
                else:
                    left.pop(key, None)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                log.warning("a line of %s is torn", path)
    return list(reversed(left.values()))


@contextlib.contextmanager
def dead_inventories(folder: Path | None = None) -> Iterator[Sequence[Path]]:
    """The files of runs whose harness is gone, locked for as long as we look at them."""
    held: list[tuple[Path, int]] = []
    for path in sorted((folder or paths.inventories()).glob("*.jsonl")):
        with contextlib.suppress(FileNotFoundError):
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                continue
            if _is_at(path, file):
                held.append((path, file))
            else:  # its run has just ended, and removed it
                os.close(file)
    try:
        yield [path for path, _ in held]
    finally:
        for _, file in held:
            os.close(file)


def left_over(path: Path) -> Sequence[Entry]:
    """What a dead run's inventory lists and the host still has."""
    known = cleaners()
    return [
        entry
        for entry in read(path)
        if entry.kind not in known or _may_exist(known[entry.kind], entry)
    ]


def _may_exist(cleaner: Cleaner, entry: Entry) -> bool:
    """What cannot be found out, as with a far host that is down, is taken to be there still."""
    try:
        return cleaner.exists(entry.name, entry.details)
    except HarnessError:
        log.exception("looking for %s %s", entry.kind, entry.name)
        return True


def clean(path: Path) -> Sequence[tuple[Entry, str]]:
    """Remove what a dead run left behind; returns what could not be removed, with why.

    The file goes when nothing is left.
    """
    failed = _remove(read(path))
    if not failed:
        path.unlink(missing_ok=True)
    return failed


def sweep(inventory: Inventory) -> Sequence[tuple[Entry, str]]:
    """The living run's own last look: whatever it still lists and the host still has goes.

    Teardown has removed nearly everything by then; what is left is the run's own folders, and
    what an interruption in an unlucky instant has left.
    """
    failed = _remove(inventory.entries())
    kept = {(entry.kind, entry.name) for entry, _ in failed}
    for entry in inventory.entries():
        if (entry.kind, entry.name) not in kept:
            inventory.removed(entry.kind, entry.name)
    return failed


def _remove(entries: Sequence[Entry]) -> Sequence[tuple[Entry, str]]:
    """Remove each thing that still exists; returns what stayed, with why."""
    known = cleaners()
    failed: list[tuple[Entry, str]] = []
    for entry in entries:
        cleaner = known.get(entry.kind)
        if cleaner is None:
            failed.append((entry, f"nothing here knows how to remove a {entry.kind}"))
            continue
        try:
            if cleaner.exists(entry.name, entry.details):
                cleaner.remove(entry.name, entry.details)
            if cleaner.exists(entry.name, entry.details):
                failed.append((entry, "it is still there"))
        except Exception as error:  # one stubborn thing must not keep the rest
            log.exception("cleaning %s %s", entry.kind, entry.name)
            failed.append((entry, str(error)))
    return failed


class _Directories:
    """Folders of ours: the state and the scratch of a run.

    With `only` as `empty` others may use the folder too: it counts, and goes, if it is empty.
    """

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        folder = Path(name)
        return folder.is_dir() and ("only" not in details or not any(folder.iterdir()))

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        if "only" in details:
            Path(name).rmdir()
        else:
            remove_folder(Path(name))


class _Files:
    """Single files that another program leaves because we have called it."""

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        return Path(name).is_file()

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        Path(name).unlink()


class _Groups:
    """Control groups, by their name below every hierarchy."""

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        return any((mount / name).is_dir() for mount in Layout.detect().mounts)

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        group = Group(Layout.detect(), name)
        group.kill()
        group.remove()


class _Settings:
    """Settings of the kernel that a run has changed for a while; removing one puts it back."""

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        """A host that was started anew has its own values again, which are none of ours."""
        path, now = Path(name), boot_id()
        if details.get("boot", now) != now:
            return False
        return path.exists() and path.read_text().strip() != details["value"]

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        Path(name).write_text(details["value"])


def cleaners() -> Mapping[str, Cleaner]:
    """Our own cleaners, and those of the runtimes."""
    return {
        "directory": _Directories(),
        "file": _Files(),
        "cgroup": _Groups(),
        SETTING: _Settings(),
        **registry.cleaners(),
    }


def remove_folder(folder: Path) -> None:
    """Remove a folder of ours and then its parent when that is empty and ours alone."""
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()
