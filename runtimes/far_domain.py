"""Machines on another host: what an adapter of machines does when its URI leads away.

The machine is described as one of this host is; then its files are those that were carried
there, its disk and its channel lie in a folder of its own there, and the emulator is the one
that is there. No process of it is on this host: its end is told by libvirt, and what it costs
there is not counted here. A host that has gone is found out by ssh and by libvirt, each within
a quarter of a minute; it is looked for again at the next launch.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from harness.channel import Agent
from harness.errors import CommandFailed, LaunchFailed, RuntimeUnavailable
from harness.image.forms import overlay_command, raw_command
from harness.model import Context, InstanceSpec, Mark, Marks
from runtimes.box import SOCKET, ElsewhereBox, listen
from runtimes.domain_xml import Domain, domain_xml
from runtimes.far_host import KIND, FarHost
from runtimes.guest_kernel_options import mitigations_by
from runtimes.guest_start import ask_accelerator
from runtimes.libvirt_connection import Connection
from runtimes.libvirt_start import Start
from runtimes.storage import guest_storage

log = logging.getLogger(__name__)


class FarMachines:
    """The far host of one runtime: connected when it is first asked for, and again when lost."""

    def __init__(self, uri: str, context: Context) -> None:
        self.uri = uri
        self._context = context
        self._host: FarHost | None = None
        self._connection: Connection | None = None
        self._carried: dict[Path, Path] = {}

    def host(self) -> FarHost:
        """Raises RuntimeUnavailable, in bounded time."""
        if self._host is None or not self._host.is_alive:
            self.close()
            self._host = FarHost(self.uri, self._context.state)
        return self._host

    def connection(self) -> Connection:
        """Raises RuntimeUnavailable, in bounded time."""
        host = self.host()  # first: it is the quicker to tell why not
        if self._connection is not None and not self._connection.is_alive:
            self._connection.close()
            self._connection = None
        if self._connection is None:
            _require_tools(host)
            state = self._context.state / "libvirt"
            hint = f"see that libvirtd runs there: virsh -c '{self.uri}' version"
            self._connection = Connection(self.uri, state, state, groups=False, hint=hint)
        return self._connection

    def notes(self) -> list[str]:
        """What stands beside every figure from there."""
        host = self.host()
        return [
            f"far host: {host.name}, {host.round_trip_ns / 1e6:.2f} ms away and back by ssh; "
            "READY is stamped where it arrives, on this host"
        ]

    def mitigations(self) -> str:
        """The far kernel's, as its guests' own are to be."""
        script = "cat /proc/cmdline; cat /sys/devices/system/cpu/vulnerabilities/* 2>/dev/null || :"
        line, *states = self.host().run("sh", "-c", script).splitlines()
        return mitigations_by(line, states)

    def conditions(self, machine: str) -> dict[str, str]:
        """What a verdict on KVM there holds for."""
        told = self.host().run("cat", "/proc/sys/kernel/random/boot_id", "/proc/version")
        return {"far": told, "machine": machine, "uri": self.uri, **self.connection().versions()}

    def carry(self, files: Sequence[Path]) -> None:
        """Bring what machines boot from, unless it is there."""
        host = self.host()
        try:
            self._carried |= {file: host.carry(file) for file in files}
        except CommandFailed as error:
            raise RuntimeUnavailable(
                f"the image cannot be carried to {host.name}: {error.message}",
                f"see that there is room below /var/tmp on {host.name}",
            ) from error

    @contextlib.contextmanager
    def launch(
        self, here: Domain, base: Path, accel: str, spec: InstanceSpec, marks: Marks
    ) -> Iterator[ElsewhereBox]:
        """Start over there the machine that is described for this host, on a disk over `base`."""
        connection, host = self.connection(), self.host()
        with ExitStack() as stack:
            listener = stack.enter_context(listen(spec))
            folder = stack.enter_context(self._folder(host, spec.name))
            there = self._moved(here, folder)
            host.run(*_disk_command(self._carried[base], there))
            stack.enter_context(host.channel(there.channel, listener.path))
            start = stack.enter_context(
                Start(connection, self._context.inventory, spec.name, there.uuid)
            )
            start.create(domain_xml(there), marks)
            start.wait_ready(listener, spec.ready_timeout_s, marks)
            if listener.connected_ns is not None:
                marks.at(Mark.VMM, listener.connected_ns)
            if (found := ask_accelerator(start.handle)) != accel:
                raise LaunchFailed(f"QEMU runs the guest under {found}, not {accel}")
            agent = Agent(listener, shares_clock=False)
            yield ElsewhereBox(agent, spec.image, replace(guest_storage(there), host=None))
            start.end(agent, marks)
            stack.close()
            marks.stamp(Mark.REMOVED)

    @contextlib.contextmanager
    def _folder(self, host: FarHost, name: str) -> Iterator[Path]:
        """An instance's folder there. A host that has gone keeps it, and so does the inventory."""
        folder = Path(host.folder) / name
        self._context.inventory.will_make(KIND, str(folder), uri=self.uri)
        host.make_folder(folder)
        try:
            yield folder
        finally:
            try:
                host.remove_folder(folder)
                self._context.inventory.removed(KIND, str(folder))
            except CommandFailed as error:
                log.warning("%s is left on %s: %s", folder, host.name, error.message)

    def _moved(self, here: Domain, folder: Path) -> Domain:
        def there(file: Path | None) -> Path | None:
            return None if file is None else self._carried[file]

        return replace(
            here,
            kernel=there(here.kernel),
            initramfs=there(here.initramfs),
            backing=there(here.backing),
            disk=folder / "disk",
            nvram=None if here.nvram is None else folder / "nvram",
            channel=folder / SOCKET,
        )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._host is not None:
            self._host.close()
            self._host = None


def _require_tools(host: FarHost) -> None:
    if not host.run("sh", "-c", "command -v qemu-img || :"):
        raise RuntimeUnavailable(
            f"qemu-img is not installed on {host.name}", "apt-get install qemu-utils, there"
        )


def _disk_command(base: Path, domain: Domain) -> list[str]:
    if domain.backing is None:
        return raw_command(base, domain.disk)
    return overlay_command(base, domain.disk, domain.backing_format)
