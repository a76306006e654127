"""Paths inside the image, as a program that has the image as its root would see them.

An absolute symbolic link inside the image (Debian's /lib64/ld-linux-x86-64.so.2 is one) means
a place inside the image; followed from outside it would silently lead to the host's file.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

LOADER = "/lib64/ld-linux-x86-64.so.2"
LIBRARIES = "/usr/lib/x86_64-linux-gnu"
_MAX_LINKS = 40


def resolve_inside(root: Path, path: str) -> str:
    """The path with every symbolic link followed inside `root`; it need not exist.

    Raises OSError (ELOOP) for a circle of links.
    """
    todo = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop()
        if part == "..":
            del done[-1:]
            continue
        at = root.joinpath(*done, part)
        if not at.is_symlink():
            done.append(part)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(40, os.strerror(40), str(at))
        target = str(at.readlink())
        if target.startswith("/"):
            done.clear()
        todo += [each for each in reversed(target.split("/")) if each not in ("", ".")]
    return "/" + "/".join(done)


@functools.cache
def library_path(root: Path) -> str:
    """What the image's loader is to search, as the host names it, joined by colons.

    A library may name a folder of its own in its RUNPATH (Debian's librbd, which fio needs,
    names `…/ceph`), and from outside that would mean the host's folder. So the folders below
    `LIBRARIES` that hold libraries follow it; a name that it has itself is never taken there.
    """
    main = outside_view(root, LIBRARIES)
    below = sorted({path.parent for path in main.glob("*/lib*.so*")})
    return ":".join(map(str, [main, *below]))


def outside_view(root: Path, path: str) -> Path:
    """Where the host finds the file that a path inside the image means."""
    return root / resolve_inside(root, path).lstrip("/")
