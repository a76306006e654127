"""What of ours is on the host: taken before and after, and compared.

A test that says "nothing is left" must look at the host and not at what the code believes. A
host has other tenants, who come and go meanwhile, so things are told by whose they are: a
process by its ancestors, its command line and its groups; a file, a mount, a group by a token
in its name or by the folders that are ours alone. A network interface tells no owner; those of
other runs' bridges are left out, and the rest must not grow.

Descriptors are compared by kind and number, because the same connection, opened anew, has
another number.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import paths
from harness.clock import Deadline
from harness.errors import HarnessError
from harness.place import Place
from harness.probes.cgroups import Layout
from runtimes import bridge, docker_api

KINDS = (
    "process", "thread", "descriptor", "mount", "interface", "control group", "loop device", "file",
)  # fmt: skip
_SYSTEM = ("/run", "/tmp", "/dev/shm", "/var/lib", "/var/tmp", "/var/log", "/var/cache", "/etc")
"""Where a runtime may keep what names one of its boxes."""
_DEPTH, _DEPTH_ELSEWHERE = 5, 4
_BRIDGES = re.compile(r"tb-")
"""As runtimes/bridge.py names them."""
_SETTLE_S = 20.0
_LOOK_EVERY_S = 0.05


def all_groups() -> Iterator[Path]:
    """Every control group of the host, of every hierarchy."""
    for root in Layout.detect().mounts:
        for folder, _, _ in os.walk(root):
            yield Path(folder)


@dataclass(frozen=True)
class Process:
    """A process: its number alone may be given to another."""

    pid: int
    started: int
    parent: int
    command: str


@dataclass(frozen=True)
class HostState:
    """What there is of each of `KINDS`, each in words that tell it from others."""

    found: Mapping[str, Counter[str]]

    def since(self, before: HostState, but: Sequence[str] = ()) -> list[str]:
        """What there is more of than before, of all kinds but some."""
        return [
            f"{kind}: {what}"
            for kind in KINDS
            if kind not in but
            for what in sorted((self.found[kind] - before.found[kind]).elements())
        ]


@dataclass(frozen=True)
class Ours:
    """By what our things are told: words in their names, and folders that are ours alone."""

    tokens: Sequence[str]
    folders: Sequence[Path]

    @classmethod
    def of(cls, place: Place) -> Ours:
        """What belongs to a lab or a run, with the cache but for its images, which stay.

        What a private daemon keeps in the run's state is its own to tidy up, as it does now and
        then, and goes with the run: of that folder only what lies at its top is looked at.
        """
        kept = [path for path in paths.cache().iterdir() if path.name not in ("images", "scratch")]
        return cls((place.run_id, bridge.name_of(place.run_id)), (place.scratch, *kept))

    def look(self) -> HostState:
        """The state of the host now."""
        return HostState({
            "process": Counter(f"{each.pid} {each.command}" for each in self.processes()),
            "thread": Counter(thread.name for thread in threading.enumerate()),
            "descriptor": Counter(_descriptors()),
            "mount": Counter(line for line in _mounts() if self._names(line)),
            "interface": Counter(self._interfaces()),
            "control group": Counter(map(str, self.groups())),
            "loop device": Counter(self._loops()),
            "file": Counter(self._files()),
        })  # fmt: skip

    def leaked(self, before: HostState, but: Sequence[str] = ()) -> list[str]:
        """What is left that was not there before.

        Nobody tells when a daemon's helper has ended, or when the kernel has taken down the
        last of a namespace, so what still goes away is given some time to do so.
        """
        return settled(lambda: self.look().since(before, but))

    def processes(self) -> Sequence[Process]:
        """Our descendants, and whoever names us; without ourselves, and without the dead."""
        every = {each.pid: each for each in _processes()}
        return [
            each
            for each in every.values()
            if each.pid != os.getpid() and (_descends(each, every) or self._names(_told(each)))
        ]

    def groups(self) -> Iterator[Path]:
        """Control groups that name us, of every hierarchy."""
        return (group for group in all_groups() if any(t in str(group) for t in self.tokens))

    def _names(self, text: str) -> bool:
        return any(word in text for word in (*self.tokens, *map(str, self.folders)))

    def _interfaces(self) -> Iterator[str]:
        for link in Path("/sys/class/net").iterdir():
            master = (link / "master").resolve().name if (link / "master").exists() else ""
            owner = next((name for name in (link.name, master) if _BRIDGES.match(name)), "")
            if not owner or self._names(owner):
                yield link.name

    def _loops(self) -> Iterator[str]:
        for path in Path("/sys/block").glob("loop*/loop/backing_file"):
            with contextlib.suppress(OSError):
                if self._names(text := path.read_text().strip()):
                    yield text

    def _files(self) -> Iterator[str]:
        for folder in self.folders:
            yield from _listed(str(folder), _DEPTH)
        for place in _SYSTEM:
            for path in _listed(place, _DEPTH_ELSEWHERE):
                if self._is_named(path) and not self._within(path):
                    yield path

    def _is_named(self, path: str) -> bool:
        """Itself, or what lies in a folder that is: the rest of such a folder is its own."""
        *_, above, last = path.split("/")
        return any(token in last or token in above for token in self.tokens)

    def _within(self, path: str) -> bool:
        return any(folder in Path(path).parents for folder in self.folders)


def settled(look: Callable[[], list[str]]) -> list[str]:
    """What `look` still finds after some time: a launch has helpers that end by themselves."""
    deadline = Deadline(_SETTLE_S)
    while (found := look()) and not deadline.over:
        time.sleep(_LOOK_EVERY_S)
    return found


def _listed(folder: str, depth: int) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:  # gone, or another user's
        return
    for entry in entries:
        yield entry.path
        if depth > 1 and entry.is_dir(follow_symlinks=False):
            yield from _listed(entry.path, depth - 1)


def _processes() -> Iterator[Process]:
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            rest = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ")
            if rest[0] not in "ZX" and command:  # neither dead nor the kernel's own
                text = os.fsdecode(command)
                yield Process(int(folder.name), int(rest[19]), int(rest[1]), text)


def _told(process: Process) -> str:
    try:
        return process.command + Path(f"/proc/{process.pid}/cgroup").read_text()
    except OSError:
        return process.command


def _descends(process: Process, every: Mapping[int, Process]) -> bool:
    seen: Process | None = process
    while seen is not None and seen.parent != os.getpid():
        seen = every.get(seen.parent)
    return seen is not None


def _descriptors() -> Iterator[str]:
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            yield re.sub(r"\d+", "N", str(link.readlink()))


def _mounts() -> Iterator[str]:
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        words = line.split()
        yield " ".join([words[3], words[4], *words[words.index("-") + 1 :]])


_OF_A_RUN = re.compile(r"(?:tarebench\.|/tarebench/|/scratch/|tb-)[0-9a-f]{8}")
"""Whatever a run names bears its token: groups, folders, sockets, bridges."""
_INVENTORY = re.compile(r"/inventory/(.*)-([0-9a-f]{8})\.jsonl$")


def of_any_run() -> set[str]:
    """What there is on this host of any run at all, but for living runs that are none of ours."""
    every = {each.pid: each for each in _processes()}
    others = {
        word
        for pid in every
        if pid != os.getpid() and not _descends(every[pid], every)
        for word in _words_of(pid)
    }
    told = [
        *(f"process: {each.pid} {_told(each)}" for each in every.values()),
        *(f"mount: {line}" for line in _mounts()),
        *(f"interface: {link.name}" for link in Path("/sys/class/net").iterdir()),
        *(f"control group: {group}" for group in _top_groups()),
        *(f"folder: {path}" for path in Path("/run/tarebench").glob("*")),
        *(f"container: {name}" for name in _containers()),
    ]
    return {
        line for line in told if _OF_A_RUN.search(line) and not any(word in line for word in others)
    }


def _words_of(pid: int) -> Iterator[str]:
    """What names the things of a living run: its harness holds its inventory open."""
    try:
        links = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return
    for link in links:
        with contextlib.suppress(OSError):
            if found := _INVENTORY.search(str(link.readlink())):
                run, token = found.groups()
                yield from (token, bridge.name_of(run), bridge.name_of(token))


def _top_groups() -> Iterator[Path]:
    for root in Layout.detect().mounts:
        yield from root.glob("tarebench.*")


def _containers() -> Iterator[str]:
    """Containers of ours in an engine of this host that others use too, if there is one."""
    with contextlib.suppress(HarnessError):
        host = docker_api.find() if Path("/var/run/docker.sock").is_socket() else None
        if host is not None:
            api = docker_api.connect(host)
            yield from (name for each in api.containers(all=True) for name in each["Names"])
            api.close()
