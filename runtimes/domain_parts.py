"""Parts around a guest: its control group, its serial line, its RAM, its process.

None of them knows libvirt. They answer what an adapter of machines needs of the host: how a
VMM that somebody else forks comes to lie in a group of ours, when the guest's kernel first
spoke, how much of its RAM is resident, and whether it is still there after we have died.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from harness.clock import now_ns
from harness.errors import DeadlineExceeded, HarnessError
from harness.model import Limits, Mark, Marks
from harness.probes.cgroups import Group, Layout
from harness.process import wait_pidfd

T = TypeVar("T")

_KILL_TIMEOUT_S = 5.0
WHOLE_CPUS = "a fraction of a CPU cannot be limited: vCPUs are rounded up"
"""What is noted of machines that no control group of ours holds."""
INIT_SIGN, LOADER_SIGN = b"\x01", b"\x02"
"""What the agent as init, and GRUB before it, write to the debug port; no firmware's text
holds them."""

KERNEL_SIGN = b"Linux version"
"""What every kernel says first of all. On a serial port it need not be the first word: UEFI and
what it starts take that for their console."""

_MAPPING = re.compile(rb"([0-9a-f]+)-([0-9a-f]+) [-rwxsp]{4} ")


def joins_groups(layout: Layout) -> bool:
    """Whether one thread of a process can lie in another group: v1 only."""
    return bool(layout.v1) and layout.writable()


class GroupedThread:
    """A thread that has joined a group of its own, so that what it forks is born there.

    libvirt in our process forks QEMU from the thread that calls it. On v1 a thread can be in
    another group than its process, so nothing needs to be moved after it has used memory.
    Without v1 it is a thread like any other, and there is no group.
    """

    def __init__(self, name: str, cpus: float | None) -> None:
        """`cpus` is the quota of the whole VMM."""
        self._layout = Layout.detect()
        self._group = Group(self._layout, name) if joins_groups(self._layout) else None
        self._thread = ThreadPoolExecutor(1, "launcher")
        if self._group is not None:
            self._group.create(Limits(cpus=cpus))
            self._thread.submit(self._join, self._group).result()

    @staticmethod
    def _join(group: Group) -> None:
        for path in group.paths():
            (path / "tasks").write_text(str(threading.get_native_id()))

    def call(self, function: Callable[[], T]) -> T:
        """Call in the thread and return what it returns."""
        return self._thread.submit(function).result()

    def finish(self) -> None:
        """Wait for the call under way, end the thread, and bring home what it began.

        libvirt begins threads of its own when it is called; they lie where ours lay, and a
        group that holds a thread of the harness cannot be told from the harness.
        """
        self._thread.shutdown()
        if self._group is None:
            return
        homes = self._layout.groups_of(os.getpid())
        for path in self._group.paths():
            home = next((group for group in homes if _same_hierarchy(group, path)), path.parent)
            for task in (path / "tasks").read_text().split():
                if Path(f"/proc/self/task/{task}").exists():
                    with contextlib.suppress(OSError):
                        (home / "tasks").write_text(task)

    def close(self) -> None:
        """Also remove the group, which must be empty by now."""
        self.finish()
        if self._group is not None:
            self._group.remove()

    def __enter__(self) -> GroupedThread:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def in_group(name: str, cpus: float | None, function: Callable[[], T]) -> T:
    """Call a function so that what it forks is born in a group that somebody else removes."""
    thread = GroupedThread(name, cpus)
    try:
        return thread.call(function)
    finally:
        thread.finish()


def _same_hierarchy(one: Path, other: Path) -> bool:
    return one.exists() and one.stat().st_dev == other.stat().st_dev


class SignPort:
    """Stamps the first of each sign that comes over a guest's port, and the first byte that is
    none, `first_ns`.

    The VMM connects to a socket on which we listen. One thread receives and does nothing
    else, until the VMM ends or `close` is called.
    """

    def __init__(self, path: Path, *signs: bytes) -> None:
        self.path = path
        self.first_ns: int | None = None
        self.seen_ns: dict[bytes, int] = {}
        self._signs = signs
        self._connection: socket.socket | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(1)
        self._thread = threading.Thread(target=self._receive, name="signs", daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        before = b""
        longest = max(map(len, self._signs))
        bytes_that_are_signs = b"".join(sign for sign in self._signs if len(sign) == 1)
        with contextlib.suppress(OSError):
            connection, _ = self._socket.accept()
            self._connection = connection
            while received := connection.recv(65536):
                now = now_ns()
                if received.translate(None, bytes_that_are_signs):
                    self.first_ns = self.first_ns or now
                heard = before + received  # a sign may come in two parts
                for sign in self._signs:
                    if sign in heard:
                        self.seen_ns.setdefault(sign, now)
                before = heard[-(longest - 1) :] if longest > 1 else b""

    def wait(self) -> None:
        """Until the VMM has closed its end: what it wrote has been heard then."""
        self._thread.join()

    def __enter__(self) -> SignPort:
        return self

    def __exit__(self, *exc: object) -> None:
        for end in (self._socket, self._connection):
            if end is not None:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        for end in (self._socket, self._connection):
            if end is not None:
                end.close()
        self.path.unlink(missing_ok=True)


def mark_signs(marks: Marks, serial: SignPort | None, debug: SignPort | None) -> None:
    """The marks of an instrumented boot, as far as its guest gave signs.

    A firmware may write nothing (a microvm's, UEFI's); the debug port then has signs alone.
    """
    found = (serial.seen_ns if serial else {}) | (debug.seen_ns if debug else {})
    signs = {Mark.LOADER: LOADER_SIGN, Mark.KERNEL: KERNEL_SIGN, Mark.INIT: INIT_SIGN}
    for mark, sign in signs.items():
        if sign in found:
            marks.at(mark, found[sign])
    if debug and debug.first_ns is not None:
        marks.at(Mark.FIRMWARE, debug.first_ns)


def resident_guest_memory(pid: int, memory_bytes: int) -> int:
    """Resident bytes of the mapping that backs a guest's RAM: the one that has its size.

    Raises HarnessError when there is not exactly one such mapping.
    """
    found = []
    with Path(f"/proc/{pid}/smaps").open("rb") as file:
        wanted = False
        for line in file:
            mapping = _MAPPING.match(line)
            if mapping:
                wanted = int(mapping[2], 16) - int(mapping[1], 16) == memory_bytes
            elif wanted and line.startswith(b"Rss:"):
                found.append(int(line.split()[1]) * 1024)
    if len(found) != 1:
        raise HarnessError(f"{len(found)} mappings of process {pid} have the size of guest RAM")
    return found[0]


def machines_by_uuid(uuid: str) -> Iterator[int]:
    """Pids of QEMU processes that were started for this very machine.

    A command line can be anybody's, so the whole argument behind `-uuid` must be equal.
    """
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            pairs = itertools.pairwise(arguments)
            if b"qemu" in arguments[0] and (b"-uuid", uuid.encode()) in pairs:
                yield int(entry.name)


@contextlib.contextmanager
def bounded(uuid: str, limit_s: float) -> Iterator[None]:
    """Bounds what is asked of a machine: libvirt waits without end for a QEMU that hangs.

    So a machine that has not answered in time is killed, which makes libvirt's call fail. Raises
    DeadlineExceeded in its place.
    """
    late = threading.Event()

    def give_up() -> None:
        late.set()
        with contextlib.suppress(HarnessError):  # its teardown will say so again
            kill_machine(uuid)

    timer = threading.Timer(limit_s, give_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    except Exception as error:
        if late.is_set() and not isinstance(error, DeadlineExceeded):
            raise DeadlineExceeded(
                f"QEMU did not answer within {limit_s:g} s, and was killed"
            ) from error
        raise
    finally:
        timer.cancel()
        timer.join()


def kill_machine(uuid: str) -> None:
    """Kill what is left of a machine. By pidfd, and looked at again once that is held: a pid
    can have become another process's. Raises HarnessError if it does not end."""
    for pid in machines_by_uuid(uuid):
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            if pid in machines_by_uuid(uuid):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                if not wait_pidfd(pidfd, _KILL_TIMEOUT_S):
                    raise HarnessError(f"QEMU (pid {pid}) cannot be killed")
        finally:
            os.close(pidfd)
