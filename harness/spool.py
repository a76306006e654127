"""What a job wrote, kept in memory while it is small."""

from __future__ import annotations

import io
import tempfile
import weakref
from pathlib import Path
from typing import IO

_MEMORY_BYTES = 4 * 1024 * 1024


class SpooledOutput:
    """What a job wrote; more than a few MiB go to an unnamed file, not to memory.

    The file is closed when the output is no longer referred to.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = io.BytesIO()
        self.size = 0

    def add(self, data: bytes) -> None:
        if isinstance(self._file, io.BytesIO) and self.size + len(data) > _MEMORY_BYTES:
            spool = tempfile.TemporaryFile()  # noqa: SIM115
            weakref.finalize(self, spool.close)
            spool.write(self._file.getvalue())
            self._file = spool
        self._file.write(data)
        self.size += len(data)

    def read(self) -> bytes:
        with self.open() as file:
            return file.read()

    def open(self) -> IO[bytes]:
        """A reader of its own, from the beginning; what is added later is not in it."""
        if isinstance(self._file, io.BytesIO):
            return io.BytesIO(self._file.getvalue())
        self._file.flush()
        return Path(f"/proc/self/fd/{self._file.fileno()}").open("rb")
