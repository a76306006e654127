"""What every reader promises of any input, held while it reads.

It reads, or refuses in a sentence with a hint: there is no other exception. It takes little
time, and it writes nothing outside the folder that it was given. The last is held by an audit
hook of the interpreter, which sees each file that Python opens, makes, renames or removes.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, UsageError

MOST_CPU_S = 10.0
"""Of one input: each is a few kilobytes, and takes milliseconds on an idle machine."""

_LONGEST_SENTENCE = 4100
_CHANGES = {
    "os.mkdir": (0,), "os.rmdir": (0,), "os.remove": (0,), "os.rename": (0, 1), "os.link": (1,),
    "os.symlink": (1,), "os.chmod": (0,), "os.truncate": (0,), "shutil.rmtree": (0,),
}  # fmt: skip
"""Audit events that change the file system, and which of their arguments are paths."""


class Broken(AssertionError):
    """A promise that did not hold."""


@dataclass(frozen=True)
class Target:
    """One reader: inputs to begin with, and how it is fed. `feed` gets an empty folder."""

    name: str
    seeds: tuple[bytes, ...]
    feed: Callable[[bytes, Path], None]
    few: int = 40
    """Inputs of a bounded test: fewer where a whole run is read each time."""
    own: tuple[Path, ...] = ()
    """Folders that it may write to besides: the root of a jail, its control groups."""


def hold(target: Target, data: bytes) -> bool:
    """Feed one input; returns whether it was read, and not refused. Raises Broken."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name).resolve()
        begin = time.process_time()
        with _confined([folder, *target.own]):
            read = _fed(target, data, folder)
        took_s = time.process_time() - begin
    if took_s > MOST_CPU_S:
        raise Broken(f"{target.name} took {took_s:.1f} s of CPU time")
    return read


def _fed(target: Target, data: bytes, folder: Path) -> bool:
    try:
        target.feed(data, folder)
    except HarnessError as error:
        if not error.message or (isinstance(error, UsageError) and not error.hint):
            raise Broken(f"{target.name} refuses without a sentence or a hint") from error
        if len(error.message) > _LONGEST_SENTENCE:
            raise Broken(f"a sentence of {len(error.message)} characters") from error
        return False
    except Broken:
        raise
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise Broken(f"{target.name}: {type(error).__name__}: {error}") from error
    return True


# --- what is written, and where. A hook cannot be taken off, so it asks whether it is wanted.

_allowed: list[Path] = []
_outside: list[str] = []


@contextmanager
def _confined(folders: Sequence[Path]) -> Iterator[None]:
    """Raises Broken at the end where something outside was written."""
    _install()
    _allowed.extend(folders)
    _outside.clear()
    try:
        yield
    finally:
        _allowed.clear()
    if _outside:
        raise Broken(f"written outside the folder: {_outside[0]}")


def _install() -> None:
    if not getattr(sys, "_tarebench_fuzz_hook", False):
        sys.addaudithook(_hear)
        sys._tarebench_fuzz_hook = True  # type: ignore[attr-defined]


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if not _allowed:
        return
    if event == "open":
        path, _, flags = arguments
        writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        changed: tuple[object, ...] = (path,) if writes else ()
    else:
        changed = tuple(arguments[i] for i in _CHANGES.get(event, ()))
    for path in changed:
        if isinstance(path, (str, bytes, os.PathLike)) and not _harmless(Path(os.fsdecode(path))):
            _outside.append(f"{event} {path!r}")


def _harmless(path: Path) -> bool:
    """Below a folder, whatever its links and dots say; or a null device."""
    real = Path(os.path.realpath(path.parent)) / path.name
    return real == Path(os.devnull) or any(real.is_relative_to(each) for each in _allowed)
