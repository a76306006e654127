"""The run folder: a manifest, and a journal that is on disk before the next trial begins.

`journal.jsonl` is append-only, one TrialRecord a line, each followed by fsync: what is
finished survives `kill -9` and power loss. A torn last line is cut off when the run is opened
again. This is the runner's side; readers are in harness/analysis and need no journal.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from harness.errors import HarnessError, UsageError
from harness.inventory import sync_folder
from harness.model import TrialRecord
from harness.paths import JOURNAL, MANIFEST

log = logging.getLogger(__name__)


class Journal:
    """Appends records; a context manager. A lock keeps a second process from the same run.

    Raises HarnessError when the folder cannot be written, UsageError when the run goes on
    elsewhere.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL
        self._encode = msgspec.json.Encoder().encode
        try:
            self._file = self._open()
        except BlockingIOError:
            raise UsageError(
                f"the run {folder.name} is still going on in another process", "wait for its end"
            ) from None
        except OSError as error:
            raise HarnessError(
                f"the journal {self._path} cannot be written: {error.strerror}",
                "give --out another folder",
            ) from error

    def _open(self) -> int:
        """The file, locked, whole, and with its name on the disk. Raises OSError."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        with ExitStack() as undone:
            file = os.open(self._path, flags, 0o644)
            undone.callback(os.close, file)
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _cut_torn_line(self._path)
            sync_folder(self._path.parent)
            undone.pop_all()
        return file

    def append(self, record: TrialRecord) -> None:
        """Write one record and wait until it is on the disk. Raises HarnessError."""
        line = self._encode(record) + b"\n"
        size = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, size)
            raise HarnessError(
                f"the trial {record.trial} could not be stored: {error.strerror}",
                f"free some space on the disk of {self._path.parent}; finished trials are safe",
            ) from error

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._file)


def _cut_torn_line(path: Path) -> None:
    if path.exists():
        text = path.read_bytes()
        whole = text.rfind(b"\n") + 1
        if whole != len(text):
            os.truncate(path, whole)


def records(folder: Path) -> Sequence[TrialRecord]:
    """All that `stored` gives, at once."""
    return list(stored(folder))


def stored(folder: Path) -> Iterator[TrialRecord]:
    """Every whole record of a run folder, one after another; a torn last line is left out.

    So is a line that is damaged: its trial counts as not done. Raises UsageError for records
    of another version, which must not be misread.
    """
    path = folder / JOURNAL
    if not path.exists():
        return
    decode = msgspec.json.Decoder(TrialRecord).decode
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.endswith(b"\n"):
                return
            try:
                record = decode(line)
            except msgspec.ValidationError as error:
                raise UsageError(
                    f"line {number} of {path} is no record of this version: {error}",
                    "start a new run; a report leaves the line out",
                ) from error
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                log.warning("line %d of %s is no record", number, path)
                continue
            yield record


def write_manifest(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Replace the manifest in one step, so that a reader never sees half of it."""
    data = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    partial = folder / f".{MANIFEST}.partial"
    try:
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / MANIFEST)
        sync_folder(folder)
    except OSError as error:
        raise HarnessError(
            f"the manifest in {folder} could not be written: {error.strerror}",
            "free some space, or give --out another folder",
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def create_folder(folder: Path) -> None:
    """Make a new run folder; raises UsageError when it exists and is not empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"the folder {folder} is not empty", "give --out a new folder")
    except OSError as error:
        raise UsageError(
            f"the run folder {folder} cannot be made: {error.strerror}", "give --out another folder"
        ) from error
