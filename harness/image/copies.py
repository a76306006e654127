"""Copies of an image that are other files to the host: what boxes share, they share no more.

Instances on one image have its pages in the host's cache once. On copies of it, which hold the
same bytes and so have the same digest, each brings its own.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

from harness import process
from harness.model import Image

_COPY = ("cp", "--archive", "--reflink=never")
_ROOM = "free some space; the folder of the cache is named by TAREBENCH_CACHE"


def copy_root(image: Image, target: Path) -> None:
    """The image's tree as a folder that is not there yet. Raises CommandFailed."""
    process.run([*_COPY, "--no-target-directory", image.root, target], hint=_ROOM)


def copied(image: Image, directory: Path) -> Image:
    """The image's tree and manifest in a folder of their own, out of the cache.

    A copy that is there already is used again. Raises CommandFailed when it cannot be made.
    """
    if not directory.exists():
        partial = directory.with_name(f".{directory.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        process.run([*_COPY, image.root, image.manifest, partial], hint=_ROOM)
        drop_cache(partial)
        partial.rename(directory)
    return replace(image, directory=directory)


def drop_cache(tree: Path) -> None:
    """Have the kernel forget the pages of a tree's files, once they are on the disk."""
    os.sync()  # a page that is not on the disk yet cannot be dropped
    for folder, _, names in os.walk(tree):
        for name in names:
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                descriptor = os.open(path, os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
