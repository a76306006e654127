"""The checkout as the lab gets it: the files that git knows, as an archive."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from harness import process
from harness.errors import EnvironmentRefused

_SET_UP_INPUTS = (
    "pyproject.toml", "constraints.txt", "setup/bootstrap.py", "setup/host.py",
    "harness/__init__.py",
)  # fmt: skip
"""What decides about the environment that our own set-up makes."""


def checkout() -> Path:
    """The checkout that this package runs from. Raises EnvironmentRefused for a wheel's."""
    top = Path(__file__).resolve().parents[2]
    if not all((top / name).is_file() for name in _SET_UP_INPUTS):
        raise EnvironmentRefused(
            "the lab takes the checkout into its machine, and this tarebench is installed "
            "without one",
            "git clone the project, and run the lab from there",
        )
    return top


def set_up_digest() -> str:
    """A digest of what the environment inside is made from."""
    digest = hashlib.sha256()
    for name in _SET_UP_INPUTS:
        digest.update((checkout() / name).read_bytes())
    return digest.hexdigest()


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
    return held.getvalue()


def archive_of(texts: Mapping[str, tuple[str, int]]) -> bytes:
    """Files of our own, by absolute path, as a tar archive owned by root."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        for name, (text, mode) in sorted(texts.items()):
            member = tarfile.TarInfo(name.lstrip("/"))
            member.mode, member.size = mode, len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return held.getvalue()


def _as_root(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return member
