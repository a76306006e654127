"""The page cache of this kernel: dropping it, and seeing what is left of single files.

What is resident is asked of the kernel page by page (mincore(2) on a mapping that is never
touched, which for root tells of the cache and not of the mapping). Pages that a running
process has mapped cannot be dropped, so dropping is one thing and looking is another.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

DROP = Path("/proc/sys/vm/drop_caches")
_ALL = "3"
_TRIES = 3

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
)  # fmt: skip
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p)
_MAP_FAILED = ctypes.c_void_p(-1).value


def can_drop() -> bool:
    """Whether this process may drop the page cache; only root may, where /proc is writable."""
    return os.geteuid() == 0 and os.access(DROP, os.W_OK)


def drop(files: Sequence[Path]) -> None:
    """Write out what is dirty, then drop clean pages, entries and inodes, and these files'.

    Raises OSError where the kernel refuses.
    """
    os.sync()
    DROP.write_text(_ALL)
    for path in files:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def evict(files: Sequence[Path]) -> dict[Path, int]:
    """Drop the caches until no page of the files is left; what will not go, by its bytes.

    A page under write-back or just being read stays for an instant, so a few tries are made.
    """
    left: dict[Path, int] = {}
    for _ in range(_TRIES):
        drop(files)
        left = {path: size for path in files if (size := resident_bytes(path))}
        if not left:
            break
    return left


def resident_bytes(path: Path) -> int:
    """How much of a file is in the page cache, in whole pages. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if size == 0:
            return 0
        place = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
        if place == _MAP_FAILED:
            raise OSError(ctypes.get_errno(), f"mmap {path}")
    finally:
        os.close(descriptor)
    pages = -(-size // mmap.PAGESIZE)
    found = (ctypes.c_ubyte * pages)()
    try:
        if _libc.mincore(place, size, found):
            raise OSError(ctypes.get_errno(), f"mincore {path}")
    finally:
        _libc.munmap(place, size)
    return sum(byte & 1 for byte in found) * mmap.PAGESIZE
