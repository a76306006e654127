"""A running guest as an instance, with a balloon where its machine has one."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.channel import Agent
from harness.errors import DeadlineExceeded, HarnessError
from harness.model import Image
from harness.probes.cgroups import counting
from runtimes.box import AgentBox
from runtimes.domain_parts import bounded, resident_guest_memory
from runtimes.domain_xml import Domain
from runtimes.libvirt_connection import Connection
from runtimes.storage import guest_storage

_KIB = 1024
_BALLOON_TIMEOUT_S = 60.0


class GuestBox(AgentBox):
    """A guest; `pid` is its QEMU, and `accel` what that QEMU says it runs under."""

    def __init__(self, agent: Agent, image: Image, pid: int, domain: Domain, accel: str) -> None:
        super().__init__(agent, image, pid, guest_storage(domain))
        self.accel = accel
        self.domain = domain
        self.memory_bytes = domain.memory_bytes

    def guest_memory_bytes(self) -> int:
        return resident_guest_memory(self.pid, self.memory_bytes)

    def cgroups(self) -> Sequence[Path]:
        """libvirt on v2 puts QEMU into a threaded leaf; memory is counted above it."""
        return tuple(dict.fromkeys(map(counting, super().cgroups())))


class BalloonBox(GuestBox):
    """A guest with a virtio balloon: what the balloon takes in the guest, the host gets back."""

    def __init__(self, box: GuestBox, connection: Connection, handle: Any) -> None:
        """`handle` is libvirt's of the domain."""
        super().__init__(box.agent, box.image, box.pid, box.domain, box.accel)
        self._libvirt = connection.libvirt
        self._connection = connection.handle
        self._handle = handle

    def inflate(self, taken_bytes: int) -> None:
        """Have the balloon take so much, and wait for the event that tells that it has.

        Raises DeadlineExceeded when the guest does not give it in time.
        """
        left_kib = (self.memory_bytes - taken_bytes) // _KIB
        reached = threading.Event()

        def changed(_connection: object, _domain: object, actual_kib: int, _data: object) -> None:
            if actual_kib <= left_kib:
                reached.set()

        kind = self._libvirt.VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE
        try:
            callback = self._connection.domainEventRegisterAny(self._handle, kind, changed, None)
            try:
                with bounded(self.domain.uuid, _BALLOON_TIMEOUT_S):
                    self._handle.setMemoryFlags(left_kib, self._libvirt.VIR_DOMAIN_AFFECT_LIVE)
                if not reached.wait(_BALLOON_TIMEOUT_S):
                    raise DeadlineExceeded(
                        f"the guest's balloon did not take {taken_bytes} bytes in time"
                    )
            finally:
                self._connection.domainEventDeregisterAny(callback)
        except self._libvirt.libvirtError as error:
            raise HarnessError(f"libvirt could not inflate the balloon: {error}") from error
