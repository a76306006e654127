"""A domain from its creation to its end, whatever the driver, and what cleans up after it.

A domain of ours is transient where the driver can: it is made and started by one call, and
libvirt forgets it when it ends. It is on the inventory before it is made, by the connection's
URI and its own UUID; so whoever finds the entry can ask the same daemon for it, and look for
the processes of this host that serve it.
"""

from __future__ import annotations

import contextlib
import functools
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from harness.channel import Agent, Listener
from harness.cpuid import patience
from harness.errors import DeadlineExceeded, LaunchFailed, RuntimeUnavailable
from harness.model import Ledger, Mark, Marks
from runtimes.daemon_parts import all_pids, argv_of, end_process
from runtimes.domain_parts import kill_machine, machines_by_uuid
from runtimes.libvirt_connection import EMBEDDED, Connection

KIND = "domain"
_GONE_TIMEOUT_S = 30.0
_FORGETS_WITHIN_S = 2.0
_UUID_VARIABLE = "LIBVIRT_LXC_UUID"


class Start:
    """One domain. As a context manager it ends whatever is left of it."""

    def __init__(self, connection: Connection, ledger: Ledger, name: str, uuid: str) -> None:
        self._connection = connection
        self._ledger = ledger
        self._name, self._uuid = name, uuid
        self._stack = ExitStack()
        self.handle: Any = None

    def __enter__(self) -> Start:
        self._ledger.will_make(KIND, self._name, uuid=self._uuid, uri=self._connection.uri)
        self._stack.callback(self._strike_out)
        self._wait = self._stack.enter_context(self._connection.watched(self._uuid))
        self._stack.callback(self._destroy)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def create(
        self, xml: str, marks: Marks, *, paused: bool = False, persistent: bool = False
    ) -> None:
        """The timed call. Raises LaunchFailed with what libvirt says.

        One that is made paused is only made: `resume` lets it run. Some drivers know persistent
        domains only, which take two calls, and are undefined at the end.
        """
        if persistent:
            self._create_persistent(xml, marks)
            return
        libvirt = self._connection.libvirt
        flags = self._connection.start_flags | (libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)
        marks.stamp(Mark.REQUEST)
        with self._explained():
            self.handle = self._connection.handle.createXML(xml, flags)
        marks.stamp(Mark.CREATED if paused else Mark.STARTED)

    def _create_persistent(self, xml: str, marks: Marks) -> None:
        marks.stamp(Mark.REQUEST)
        with self._explained():
            self.handle = self._connection.handle.defineXML(xml)
            marks.stamp(Mark.CREATED)
            self.handle.create()
        marks.stamp(Mark.STARTED)

    def resume(self, marks: Marks) -> None:
        """Let a paused one run. Raises LaunchFailed."""
        with self._explained():
            self.handle.resume()
        marks.stamp(Mark.STARTED)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except self._connection.libvirt.libvirtError as error:
            raise LaunchFailed(f"libvirt could not start the domain: {error}") from error

    def wait_ready(self, listener: Listener, timeout_s: float, marks: Marks) -> None:
        """Raises LaunchFailed when it ended before it was ready, and DeadlineExceeded."""
        alive = functools.partial(self._connection.is_active, self.handle)
        marks.at(Mark.READY, listener.wait_ready(timeout_s, alive))

    def end(self, agent: Agent, marks: Marks) -> None:
        """Ask the box to end and wait for libvirt to tell that it has. Raises DeadlineExceeded.

        For boxes without a process of this host whose end could be awaited itself.
        """
        marks.stamp(Mark.STOP)
        agent.ask_to_exit()
        self.wait_gone()
        marks.stamp(Mark.EXITED)

    def wait_gone(self) -> None:
        """Until libvirt says that the domain has ended. Raises DeadlineExceeded."""
        self._wait(_GONE_TIMEOUT_S * patience())

    def wait_forgotten(self) -> None:
        """For a domain whose processes have ended: have it destroyed if libvirt still knows it.

        On a busy host the daemon of libvirt 9.0 was seen to close its connection to a
        container's controller without noticing that it had ended: seven of 500 containers stood
        there as running for ever, without a process. The two seconds then stand in the time
        that the removal took.
        """
        try:
            self._wait(_FORGETS_WITHIN_S * patience())
        except DeadlineExceeded:
            _end_domain(self._connection, self._uuid)
            self.wait_gone()

    def _strike_out(self) -> None:
        """A host that does not answer may still have the domain: the inventory keeps it then."""
        with contextlib.suppress(RuntimeUnavailable):
            if not self._connection.knows(self._uuid):
                self._ledger.removed(KIND, self._name)

    def _destroy(self) -> None:
        """End a domain that has not ended by itself; that it has is no error."""
        _end_domain(self._connection, self._uuid)
        kill_container(self._name, self._uuid)


def _end_domain(connection: Connection, uuid: str) -> None:
    error = connection.libvirt.libvirtError
    with contextlib.suppress(error):
        domain = connection.handle.lookupByUUIDString(uuid)
        with contextlib.suppress(error):
            domain.destroy()
        if domain.isPersistent():
            domain.undefine()


def container_processes(name: str, uuid: str) -> Iterator[int]:
    """A container's init, which bears the UUID in its environment, and then its controller."""
    for pid in all_pids():
        if _is_init(pid, uuid):
            yield pid
    for pid in all_pids():
        if _is_controller(pid, name):
            yield pid


def _is_init(pid: int, uuid: str) -> bool:
    try:
        told = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"{_UUID_VARIABLE}={uuid}".encode() in told


def _is_controller(pid: int, name: str) -> bool:
    argv = argv_of(pid)
    return argv[1:3] == ["--name", name] and argv[0].endswith("/libvirt_lxc")


def kill_container(name: str, uuid: str) -> None:
    """Kill what is left of a container of the LXC driver, its init first: nothing else does."""
    for pid in (*container_processes(name, uuid),):
        end_process(pid, functools.partial(_serves, pid, name, uuid), signal.SIGKILL)


def _serves(pid: int, name: str, uuid: str) -> bool:
    return _is_init(pid, uuid) or _is_controller(pid, name)


class DomainCleaner:
    """Finds and removes what a dead run left of a domain, by its UUID.

    An embedded driver died with its process, and nobody but the QEMU itself is left. Others
    are asked, and told, so that they forget the domain. A host that does not answer may
    still have it, which is an error; a daemon of this host that has gone has not.
    """

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        uuid = details["uuid"]
        for pids in (machines_by_uuid(uuid), container_processes(name, uuid)):
            if any(True for _ in pids):
                return True
        with _daemon(details["uri"]) as connection:
            return connection is not None and connection.knows(uuid)

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        with _daemon(details["uri"]) as connection:
            if connection is not None:
                _end_domain(connection, details["uuid"])
        kill_machine(details["uuid"])
        kill_container(name, details["uuid"])


@contextlib.contextmanager
def _daemon(uri: str) -> Iterator[Connection | None]:
    """A connection to ask; None where nobody of this host is left to be asked."""
    if uri == EMBEDDED:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            connection = Connection(uri, Path(folder), Path(folder), groups=False)
        except RuntimeUnavailable:
            if urlsplit(uri).hostname is not None:
                raise
            yield None
            return
        try:
            yield connection
        finally:
            connection.close()


domains = DomainCleaner()
"""What the group `tarebench.cleaners` names for the kind `domain`."""
