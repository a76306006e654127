"""A running guest as an instance, with a balloon where its machine has one."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from harness.channel import Agent, Listener
from harness.cpuid import patience
from harness.errors import DeadlineExceeded, HarnessError
from harness.model import Image, Marks
from harness.probes.cgroups import counting
from runtimes.box import AgentBox, Ending
from runtimes.domain_parts import bounded, machines_by_uuid, resident_guest_memory
from runtimes.domain_xml import Domain
from runtimes.libvirt_connection import Connection, Reaping
from runtimes.storage import guest_storage

_KIB = 1024
_BALLOON_TIMEOUT_S = 60.0
_BACK_TIMEOUT_S = 30.0
_CALL_TIMEOUT_S = 120.0
_SLOW_S = 2.0
_CHANNEL_MODE = 0o666


@dataclass(frozen=True)
class Held:
    """What a guest hangs on: libvirt's connection and handle, our end of its channel, and what
    calls a function so that a VMM which it forks is born in the guest's control group."""

    connection: Connection
    handle: Any
    listener: Listener
    start: Callable[[Callable[[], object]], object]


class Returning(Listener):
    """Listens for the VMM of a guest that comes back, which has said READY in its earlier life."""

    def __init__(self, path: Path, mode: int) -> None:
        self.back = threading.Event()
        super().__init__(path, mode)

    def _connected(self) -> socket.socket:
        self._connection = super()._connected()
        self.back.set()
        return self._connection


class GuestBox(AgentBox):
    """A guest; `pid` is its QEMU, and `accel` what that QEMU says it runs under.

    As a context manager it holds a pidfd of each QEMU that it has had. `wait_gone` waits until
    libvirt has forgotten the domain.
    """

    wait_gone: Callable[[], None]

    def __init__(self, agent: Agent, image: Image, domain: Domain, accel: str, held: Held) -> None:
        assert held.listener.peer_pid is not None
        super().__init__(agent, image, held.listener.peer_pid, guest_storage(domain))
        self.accel = accel
        self.domain = domain
        self.memory_bytes = domain.memory_bytes
        self._held = held
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._ending = self._stack.enter_context(Ending(self.pid))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def end(self, marks: Marks) -> None:
        """Ask the guest to end, and wait for it. Raises DeadlineExceeded."""
        self._ending.exit(self.agent, marks)
        self.wait_gone()

    def pause(self) -> None:
        with self._asking("pausing"):
            self._held.handle.suspend()

    def resume(self) -> None:
        with self._asking("resuming"):
            self._held.handle.resume()

    def save(self, file: Path) -> None:
        """QEMU ends with it, so the domain is gone, as it is after an end of any other kind."""
        with self._asking("saving"), Reaping():
            self._held.handle.save(str(file))
            self.wait_gone()

    def restore(self, file: Path) -> None:
        """A new QEMU reads the state, and its end of the channel connects anew."""
        listener, connection = self._held.listener, self._held.connection
        listener.__exit__()
        returning = self._stack.enter_context(Returning(listener.path, _CHANNEL_MODE))
        connection.expect(self.domain.uuid)
        with self._asking("restoring"), Reaping(after_s=_SLOW_S):
            self._held.start(lambda: connection.handle.restore(str(file)))
            handle = connection.handle.lookupByUUIDString(self.domain.uuid)
        if not returning.back.wait(_BACK_TIMEOUT_S * patience()):
            raise DeadlineExceeded("the restored guest did not connect to its channel")
        self._held = replace(self._held, handle=handle, listener=returning)
        self.agent = self.agent.over(returning)
        self.pid = next(machines_by_uuid(self.domain.uuid))
        self._ending = self._stack.enter_context(Ending(self.pid))

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[None]:
        try:
            with bounded(self.domain.uuid, _CALL_TIMEOUT_S):
                yield
        except self._held.connection.libvirt.libvirtError as error:
            raise HarnessError(f"{what} the guest: libvirt says: {error}") from error

    def guest_memory_bytes(self) -> int:
        return resident_guest_memory(self.pid, self.memory_bytes)

    def cgroups(self) -> Sequence[Path]:
        """libvirt on v2 puts QEMU into a threaded leaf; memory is counted above it."""
        return tuple(dict.fromkeys(map(counting, super().cgroups())))


class BalloonBox(GuestBox):
    """A guest with a virtio balloon: what the balloon takes in the guest, the host gets back."""

    def inflate(self, taken_bytes: int) -> None:
        """Have the balloon take so much, and wait for the event that tells that it has.

        Raises DeadlineExceeded when the guest does not give it in time.
        """
        libvirt, handle = self._held.connection.libvirt, self._held.handle
        connection = self._held.connection.handle
        left_kib = (self.memory_bytes - taken_bytes) // _KIB
        reached = threading.Event()

        def changed(_connection: object, _domain: object, actual_kib: int, _data: object) -> None:
            if actual_kib <= left_kib:
                reached.set()

        kind = libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE
        try:
            callback = connection.domainEventRegisterAny(handle, kind, changed, None)
            try:
                with bounded(self.domain.uuid, _BALLOON_TIMEOUT_S):
                    handle.setMemoryFlags(left_kib, libvirt.VIR_DOMAIN_AFFECT_LIVE)
                if not reached.wait(_BALLOON_TIMEOUT_S):
                    raise DeadlineExceeded(
                        f"the guest's balloon did not take {taken_bytes} bytes in time"
                    )
            finally:
                connection.domainEventDeregisterAny(callback)
        except libvirt.libvirtError as error:
            raise HarnessError(f"libvirt could not inflate the balloon: {error}") from error
