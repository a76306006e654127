"""One run at a time on a host: each measures what the other disturbs.

A living run holds two names in the kernel's table of abstract Unix sockets: a fixed one that only
one process can hold, and its own, which says who it is. The table is the host's (its network
namespace's), whoever the user and whatever the folders of state; needs no file and no right; and
the kernel strikes a name out when its process dies, however it dies. Whoever finds the fixed name
taken is refused with the names of those that run.

`--force` runs all the same. Such a run tells the others that it is there, by a datagram to each
that nobody has to wait for, so that both say in their guards that they were not alone.

TAREBENCH_APART is for tests: runs under different words neither refuse nor tell each other.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import EnvironmentRefused, HarnessError, UsageError

VARIABLE = "TAREBENCH_APART"
_TABLE = Path("/proc/net/unix")
_PLAIN, _FORCED = "run", "forced"
_MOST_BYTES = 107
"""What Linux has room for in a socket's name, without the first byte."""
_DOT = "…"
_WORD = re.compile(r"[A-Za-z0-9._-]{1,24}")
_MOST_SAID, _MOST_TOLD = 128, 100


@dataclass(frozen=True)
class Other:
    """Another run on this host, as its name in the kernel's table tells it."""

    address: str
    kind: str
    process: str
    folder: str
    name: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.process.partition('.')[0]})"


class Claim:
    """A living run's hold on the host; a context manager, which lets go."""

    def __init__(self, folder: Path, *, force: bool = False) -> None:
        """Raises EnvironmentRefused where another run goes on, unless `force`.

        Another process with the same run `folder` is not refused here: the journal's lock does
        that, and says so better.
        """
        self._prefix = f"tarebench/{_word()}/"
        self._ends: list[socket.socket] = []
        self._others: list[str] = []
        try:
            self._take(folder, force)
        except BaseException:
            self.close()
            raise

    def _take(self, folder: Path, force: bool) -> None:
        own = _own_name(self._prefix, _FORCED if force else _PLAIN, folder)
        end = self._bind(own)
        if end is None:
            raise HarnessError("the kernel has no room for this run's name", "try again")
        holds = self._bind(f"{self._prefix}one") is not None
        others = [other for other in _listed(self._prefix) if other.address != own]
        if not force:
            # Who holds the one name may see another that is just about to be refused.
            others = [o for o in others if o.kind == _FORCED] if holds else others
            others = [other for other in others if other.folder != _digest(folder)]
            if others:
                raise _refused(others)
        said = f"{own.rpartition('/')[2]} (pid {os.getpid()})"
        for other in others:
            with contextlib.suppress(OSError):  # it has just ended, or is told already
                end.sendto(said.encode(), socket.MSG_DONTWAIT, f"\0{other.address}")
        self._others = [str(other) for other in others]

    def _bind(self, name: str) -> socket.socket | None:
        """None where somebody holds the name already."""
        end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            end.bind(f"\0{name}")
        except OSError:
            end.close()
            return None
        self._ends.append(end)
        return end

    def others(self) -> Sequence[str]:
        """Runs that were there when this one began, or came since, each once."""
        with contextlib.suppress(OSError):  # that nothing more has come is one
            for _ in range(_MOST_TOLD):
                self._others.append(_printable(self._ends[0].recv(_MOST_SAID, socket.MSG_DONTWAIT)))
        return list(dict.fromkeys(self._others))

    def close(self) -> None:
        for end in self._ends:
            end.close()
        self._ends.clear()

    def __enter__(self) -> Claim:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _refused(others: Sequence[Other]) -> EnvironmentRefused:
    names = ", ".join(map(str, others))
    return EnvironmentRefused(
        f"another run goes on on this host: {names}",
        "wait for its end, or run with --force: each then disturbs the other, and guards say so",
    )


def _word() -> str:
    word = os.environ.get(VARIABLE, "host")
    if not _WORD.fullmatch(word):
        raise UsageError(f"{VARIABLE}={word!r} is not a word", "unset it: it is for tests")
    return word


def _own_name(prefix: str, kind: str, folder: Path) -> str:
    """`tarebench/WORD/KIND/PROCESS/FOLDER/NAME`, no longer than the kernel allows."""
    begin = f"{prefix}{kind}/{os.getpid()}.{secrets.token_hex(2)}/{_digest(folder)}/"
    name = "".join(c if c.isprintable() and c not in " /" else "_" for c in folder.name)
    room = _MOST_BYTES - len(begin.encode())
    while len(name.encode()) > room:
        name = f"{name.rstrip(_DOT)[:-1]}{_DOT}"
    return begin + name


def _digest(folder: Path) -> str:
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]


def _listed(prefix: str) -> Iterator[Other]:
    """The runs in the kernel's table, under one word."""
    try:
        text = _TABLE.read_text(errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        _, at, address = line.partition(f" @{prefix}")
        parts = address.split("/")
        if at and len(parts) == 4 and parts[0] in (_PLAIN, _FORCED):
            yield Other(prefix + address, *parts)


def _printable(said: bytes) -> str:
    """Anybody may send here: what is kept is one line of ordinary letters."""
    return "".join(c if c.isprintable() else "_" for c in said.decode(errors="replace"))
