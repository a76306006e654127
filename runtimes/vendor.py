"""Boxes of vendors' systems, by libvirt's drivers for them: ESXi, VMware on a desktop, Virtuozzo.

Whether one is there is found out from the host, or from whoever answers at the URI, within
seconds; what is missing is told with what to do. These drivers load no kernel and carry no
disk: the box's root is a disk that its owner has made of the image and put where the system
finds it, named by the parameter `disk`, for one instance at a time.

None of these systems was at hand. What is told to libvirt is held against its schema, and how
each answers until the connection is open; what comes after waits for its first host.
"""

from __future__ import annotations

import contextlib
import math
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from harness.channel import Agent, Listener, TcpListener
from harness.errors import RuntimeUnavailable
from harness.model import (
    CHANNEL_DIRECTORY,
    MIB,
    Context,
    Image,
    InstanceSpec,
    LimitSupport,
    Mark,
    Marks,
    Parameter,
    RuntimeClass,
    RuntimeFacts,
    Storage,
    StorageKind,
    Support,
)
from harness.process import find_program
from runtimes.box import SOCKET, ElsewhereBox, check_parameters, listen
from runtimes.libvirt_connection import Connection
from runtimes.libvirt_start import Start
from runtimes.storage import LAYER_PATH
from runtimes.vendor_xml import VendorContainer, VendorMachine, openvz_xml, vmware_xml

_DEFAULT_MEMORY_BYTES = 256 * MIB
_DISK = Parameter("", (), "a disk made of the image, where that system finds it")


class Vendor:
    """What they share; each says where it is, and describes one box in XML."""

    runtime_class = RuntimeClass.MACHINE
    title = ""
    accel = "none"
    persistent = False
    elsewhere = True
    hint = ""
    parameters: Mapping[str, Parameter]

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        self.name = name
        self._context = context
        self._given = check_parameters(name, parameters, self.parameters)
        self._connection: Connection | None = None

    def _uri(self) -> str:
        return self._given["uri"]

    def _look(self) -> None:
        """Raise RuntimeUnavailable for what can be seen without a connection."""

    def _notes(self) -> list[str]:
        return [f"nobody has run {self.title} with this version: please tell how it went"]

    def probe(self) -> RuntimeFacts:
        """Connects, in bounded time."""
        self._look()
        versions = self._connect().versions()
        if not self._given["disk"]:
            raise RuntimeUnavailable(
                f"{self.title} answers, but no disk of the image was named",
                f"{self.name},disk=PATH: a disk made of the image, where {self.title} finds it",
            )
        limits = LimitSupport(cpus=Support.SUPPORTED, memory=Support.SUPPORTED)
        return RuntimeFacts(versions, self.accel, limits, self._notes())

    def prepare(self, image: Image) -> None:
        """The disk is its owner's to make; that it is the image's is proven from inside."""
        self._connect()

    def _connect(self) -> Connection:
        if self._connection is None:
            state = self._context.state / "libvirt"
            self._connection = Connection(self._uri(), state, state, groups=False, hint=self.hint)
        return self._connection

    def _listener(self, spec: InstanceSpec) -> Listener:
        return listen(spec)

    def _xml(self, spec: InstanceSpec, identity: str, listener: Listener) -> str:
        raise NotImplementedError

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[ElsewhereBox]:
        connection, identity = self._connect(), str(uuid.uuid4())
        shares_clock = not self.runtime_class.is_machine
        with (
            self._listener(spec) as listener,
            Start(connection, self._context.inventory, spec.name, identity) as start,
        ):
            xml = self._xml(spec, identity, listener)
            start.create(xml, marks, persistent=self.persistent)
            start.wait_ready(listener, spec.ready_timeout_s, marks)
            agent = Agent(listener, shares_clock=shares_clock)
            storage = Storage(LAYER_PATH, StorageKind.RAW, None)
            yield ElsewhereBox(agent, spec.image, storage)
            start.end(agent, marks)
        marks.stamp(Mark.REMOVED)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class Esxi(Vendor):
    """ESXi, on a host of its own."""

    title = "ESXi"
    accel = "vmware"
    persistent = True
    hint = "see that the host is up and its web service is on (esx://root@HOST/?no_verify=1)"
    parameters: Mapping[str, Parameter] = {
        "uri": Parameter("", (), "esx://USER@HOST/, with ?no_verify=1 for its own certificate"),
        "disk": _DISK,
        "listen": Parameter("", (), "an address of this host at which the machine finds us"),
    }

    def _look(self) -> None:
        uri = self._uri()
        if not uri:
            raise RuntimeUnavailable(
                "no ESXi host was named",
                f"{self.name},uri=esx://root@HOST/?no_verify=1 (its password in "
                "~/.config/libvirt/auth.conf: libvirt.org/auth.html)",
            )
        if urlsplit(uri).scheme not in ("esx", "vpx") or not urlsplit(uri).hostname:
            raise RuntimeUnavailable(f"{uri!r} names no ESXi host", "write esx://USER@HOST/")
        if not self._given["listen"]:
            raise RuntimeUnavailable(
                "no address of this host was named for the machines' channel",
                f"{self.name},uri={uri},listen=ADDRESS, in a network that only the two share",
            )

    def _listener(self, spec: InstanceSpec) -> Listener:
        del spec
        return TcpListener(self._given["listen"])

    def _xml(self, spec: InstanceSpec, identity: str, listener: Listener) -> str:
        assert isinstance(listener, TcpListener)
        return vmware_xml(_machine(spec, identity, self._given["disk"], listener.address))


class Vmware(Vendor):
    """VMware as a program on an operating system's desktop."""

    title = "VMware"
    accel = "vmware"
    hint = "see that the same user can start a machine in VMware itself"
    parameters: Mapping[str, Parameter] = {
        "product": Parameter(
            "workstation", ("workstation", "player", "fusion"), "which of VMware's programs"
        ),
        "disk": _DISK,
    }
    _SCHEMES: Mapping[str, str] = {
        "workstation": "vmwarews", "player": "vmwareplayer", "fusion": "vmwarefusion",
    }  # fmt: skip

    def _uri(self) -> str:
        return f"{self._SCHEMES[self._given['product']]}:///session"

    def _look(self) -> None:
        if find_program("vmrun") is None:
            product = self._given["product"].capitalize()
            raise RuntimeUnavailable(
                f"VMware {product} is not installed: there is no program vmrun",
                f"install VMware {product}, of which it is a part, from its vendor",
            )

    def _notes(self) -> list[str]:
        return ["hosted: a program on this host's operating system", *super()._notes()]

    def _xml(self, spec: InstanceSpec, identity: str, listener: Listener) -> str:
        return vmware_xml(_machine(spec, identity, self._given["disk"], listener.path))


class OpenVz(Vendor):
    """Containers of OpenVZ and Virtuozzo, by Virtuozzo's driver."""

    runtime_class = RuntimeClass.CONTAINER
    title = "Virtuozzo"
    persistent = True
    hint = (
        "systemctl start libvirtd, on a host of Virtuozzo "
        "(openvz,uri=vz+ssh://root@HOST/system for another host)"
    )
    parameters: Mapping[str, Parameter] = {
        "uri": Parameter("vz:///system", (), "a URI of libvirt's driver vz"),
        "disk": _DISK,
    }

    def _look(self) -> None:
        here = urlsplit(self._uri()).hostname is None
        if here and not Path("/proc/vz").is_dir():
            raise RuntimeUnavailable(
                "this kernel is not OpenVZ's or Virtuozzo's: there is no /proc/vz", self.hint
            )

    def _xml(self, spec: InstanceSpec, identity: str, listener: Listener) -> str:
        del listener
        container = VendorContainer(
            name=spec.name,
            uuid=identity,
            vcpus=math.ceil(spec.limits.cpus or os.cpu_count() or 1),
            memory_bytes=_memory_bytes(spec),
            cpu_quota=spec.limits.cpus,
            root=Path(self._given["disk"]),
            sockets=spec.sockets,
            word=f"unix:{CHANNEL_DIRECTORY}/{SOCKET}",
        )
        return openvz_xml(container)


def _machine(
    spec: InstanceSpec, identity: str, disk: str, channel: Path | tuple[str, int]
) -> VendorMachine:
    cpus = math.ceil(spec.limits.cpus or 1)
    return VendorMachine(spec.name, identity, cpus, _memory_bytes(spec), disk, channel)


def _memory_bytes(spec: InstanceSpec) -> int:
    """In steps of 4 MiB, which VMware demands."""
    step = 4 * MIB
    return -(-(spec.limits.memory_bytes or _DEFAULT_MEMORY_BYTES) // step) * step
