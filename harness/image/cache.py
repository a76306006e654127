"""Cache entries that are either finished or absent.

A build can be killed at any instant, and two processes can want the same thing at once. So
whatever is made here is made beside its place under a name that says who makes it
(`.partial-<pid>-<token>-<name>`), and gets its own name by one rename. It is on an inventory of
its own before it is made, which tells the living from the dead without a pid, so that
`tarebench clean` finds what a killed maker left. A lock file keeps a second maker waiting, not
working.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shlex
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import ImageError
from harness.inventory import Inventory

PARTIAL = "partial"
_PARTIAL = re.compile(r"\.partial-(\d+)-")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock, over processes, on a lock file that stays where it is.

    The file is never removed: a lock on a removed file would keep nobody out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Closing is not enough: a forked child that inherited the file would keep the lock.
            fcntl.flock(file, fcntl.LOCK_UN)


@contextmanager
def partial_directory(final: Path) -> Iterator[Path]:
    """A new folder beside `final`, removed at the end unless `finish` has renamed it."""
    with _listed(final) as partial:
        partial.mkdir(parents=True)
        try:
            yield partial
        finally:
            remove_tree(partial)


@contextmanager
def partial_file(final: Path) -> Iterator[Path]:
    """A name beside `final` to write to; it becomes `final` if the block ends without error."""
    final.parent.mkdir(parents=True, exist_ok=True)
    with _listed(final) as partial:
        try:
            yield partial
            partial.rename(final)
        finally:
            partial.unlink(missing_ok=True)


@contextmanager
def _listed(final: Path) -> Iterator[Path]:
    """The name to make something under; it is on an inventory for as long as it may be there."""
    partial = _partial_name(final)
    with Inventory(f"partial-{secrets.token_hex(8)}") as inventory:
        inventory.will_make(PARTIAL, str(partial))
        try:
            yield partial
        finally:
            if not partial.exists():
                inventory.removed(PARTIAL, str(partial))


def finish(partial: Path, final: Path) -> bool:
    """Give a finished folder its name; False when an equal one already had it."""
    if final.exists():
        return False
    try:
        partial.rename(final)
    except OSError:
        if final.exists():
            return False
        raise
    return True


def remove_stale_partials(directory: Path) -> list[Path]:
    """Remove what makers that no longer live have left in a folder; returns what it was."""
    stale = [
        entry
        for entry in (directory.iterdir() if directory.is_dir() else ())
        if (found := _PARTIAL.match(entry.name)) and not _lives(int(found[1]))
    ]
    for entry in stale:
        remove_tree(entry)
    return stale


def remove_tree(path: Path) -> None:
    """Remove a file or a folder, also where its folders are not writable by their owner.

    Raises ImageError, and removes nothing, while anything is mounted below: what is mounted
    there (a bind of /dev, for one) is not ours to empty.
    """
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    if mounts := mounts_below(path):
        raise ImageError(
            f"{path} cannot be removed: {mounts[0]} is mounted in it",
            f"umount {shlex.join(mounts)}",
        )
    if os.geteuid() != 0:
        for parent, folders, _ in os.walk(path):
            for name in folders:
                folder = Path(parent, name)
                if not folder.is_symlink():
                    with suppress(OSError):
                        folder.chmod(0o700)
    shutil.rmtree(path)


class PartialCleaner:
    """Removes what a killed maker left; the name is its path."""

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        del details
        return Path(name).exists()

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        """Raises ImageError while anything is mounted below it."""
        del details
        remove_tree(Path(name))


partials = PartialCleaner()
"""What the group `tarebench.cleaners` names for the kind `partial`."""


def mounts_below(path: Path) -> list[str]:
    """The mount points at or below a folder, the innermost first (proc(5), mountinfo)."""
    top = os.fsencode(path.resolve())
    table = Path("/proc/self/mountinfo")
    if not table.exists():
        return []
    points = [
        re.sub(rb"\\([0-7]{3})", lambda found: bytes((int(found[1], 8),)), line.split(b" ")[4])
        for line in table.read_bytes().splitlines()
    ]
    return [
        os.fsdecode(point)
        for point in reversed(points)
        if point == top or point.startswith(top + b"/")
    ]


def disk_bytes(*paths: Path) -> int:
    """Bytes that files or trees take on the disk; what several of them hold counts once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for entry in (entry for path in paths for entry in (path, *_walk(path))):
        try:
            status = entry.lstat()
        except FileNotFoundError:
            continue
        identity = (status.st_dev, status.st_ino)
        if identity not in seen:
            seen.add(identity)
            total += status.st_blocks * 512
    return total


def _walk(path: Path) -> Iterator[Path]:
    try:
        is_directory = stat.S_ISDIR(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if is_directory:
        for parent, folders, files in os.walk(path):
            for name in (*folders, *files):
                yield Path(parent, name)


def _partial_name(final: Path) -> Path:
    """Never a name that there is: in containers that share a cache, pids come again."""
    return final.with_name(f".partial-{os.getpid()}-{secrets.token_hex(4)}-{final.name}")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
