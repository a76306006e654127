"""The checkout as the lab gets it: the files that git knows, as an archive."""

from __future__ import annotations

import hashlib
import io
import tarfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness import process
from harness.errors import EnvironmentRefused

_SET_UP_INPUTS = ("constraints.txt", "setup/bootstrap.py", "setup/host.py")
_PROJECT = "pyproject.toml"
ENTRY_POINTS = ".entry_points.txt"
"""A file of the archive: what an installation would tell of the checkout's entry points."""


def checkout() -> Path:
    """The checkout that this package runs from. Raises EnvironmentRefused for a wheel's."""
    top = Path(__file__).resolve().parents[2]
    if not all((top / name).is_file() for name in (*_SET_UP_INPUTS, _PROJECT)):
        raise EnvironmentRefused(
            "the lab takes the checkout into its machine, and this tarebench is installed "
            "without one",
            "git clone the project, and run the lab from there",
        )
    return top


def set_up_digest() -> str:
    """A digest of what the environment inside is made from: its packages and who installs them.

    Entry points are not in it: they change often, and are told anew at each use.
    """
    told = _declared()
    wanted = (told["dependencies"], told["optional-dependencies"]["machines"])
    digest = hashlib.sha256(repr(wanted).encode())
    for name in _SET_UP_INPUTS:
        digest.update((checkout() / name).read_bytes())
    return digest.hexdigest()


def _declared() -> dict[str, Any]:
    told: dict[str, Any] = tomllib.loads((checkout() / _PROJECT).read_text())["project"]
    return told


def entry_points() -> str:
    """The entry points as an installation's metadata tells them (entry_points.txt)."""
    told = _declared()
    groups = {"console_scripts": told["scripts"], **told["entry-points"]}
    lines = []
    for group, entries in groups.items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()), ""]
    return "\n".join(lines)


def archive() -> bytes:
    """The checkout's files that git tracks or would add, as a tar archive owned by root."""
    top = checkout()
    told = process.run(
        ["git", "-C", top, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        hint="the lab asks git which files are the checkout's: apt-get install git",
    ).stdout
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name in sorted(set(told.decode().split("\0")) - {""}):
            if (top / name).exists():  # one that was removed is still in the index
                tar.add(top / name, name, recursive=False, filter=_as_root)
        _add_text(tar, ENTRY_POINTS, entry_points(), 0o644)
    return held.getvalue()


def archive_of(texts: Mapping[str, tuple[str, int]]) -> bytes:
    """Files of our own, by absolute path, as a tar archive owned by root."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, (text, mode) in sorted(texts.items()):
            _add_text(tar, name.lstrip("/"), text, mode)
    return held.getvalue()


def _add_text(tar: tarfile.TarFile, name: str, text: str, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.mode, member.size = mode, len(text.encode())
    tar.addfile(member, io.BytesIO(text.encode()))


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
