"""Machines of Xen through libvirt: paravirtual (PV), in a hardware container (PVH), or whole (HVM).

Like the machines of QEMU they start directly from the guests' kernel, an initramfs whose /init
is the agent, and the image on a disk with a fresh overlay. The channel is a second console of
the guest; the socket behind it is the device model's, so the machine is made paused, which is
the mark `created`, we connect, and what lets it run is what `started` tells of.

A machine's memory belongs to the hypervisor: no process of the host has it, so it is told by
libvirt and counted beside the device model's.
"""

from __future__ import annotations

import contextlib
import math
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import process
from harness.channel import Agent, Dialer
from harness.errors import LaunchFailed, RuntimeUnavailable
from harness.image.forms import ext4, initramfs, overlay_disk, raw_disk
from harness.image.guest import GuestKernel, guest_kernel
from harness.model import (
    MIB,
    Context,
    Image,
    InstanceSpec,
    Ledger,
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
from runtimes.box import SOCKET, AgentBox, check_parameters, require_root
from runtimes.capabilities import GuestKind, find_kind, guest_kinds
from runtimes.domain_parts import WHOLE_CPUS
from runtimes.guest_kernel_options import host_mitigations
from runtimes.libvirt_connection import Connection
from runtimes.libvirt_daemon import URI, Driver, find_daemon, require_startable
from runtimes.libvirt_start import Start
from runtimes.storage import LAYER_PATH
from runtimes.xen_xml import OS_TYPES, XenMachine, xen_command_line, xen_xml

DRIVER = Driver("xen", "libxl", "libvirt-daemon-driver-xen", "xen:///system", groups=False)
_TYPE_FILE = Path("/sys/hypervisor/type")
_PRIVILEGED_FILE = Path("/proc/xen/capabilities")
_DEFAULT_MEMORY_BYTES = 128 * MIB
_KIB = 1024
LOGS = ("/var/log/xen/qemu-dm-{}.log", "/var/log/libvirt/libxl/{}.log")
"""What a device model and libvirt say of a guest, by its name; neither is removed by them."""
_DEVICE_MODEL = "/usr/libexec/xen-qemu-system-i386"
"""Where Debian's libxl has its own."""
_PROFILES = Path("/sys/kernel/security/apparmor/profiles")
_LIBXL_LOG = Path("/var/log/libvirt/libxl/libxl-driver.log")


@dataclass(frozen=True)
class _Files:
    kernel: GuestKernel
    initramfs: Path
    disk: Path


class XenBox(AgentBox):
    """A machine; `pid` is its device model, which serves its disk and its channel."""

    def __init__(self, agent: Agent, image: Image, pid: int, storage: Storage, domain: Any) -> None:
        """`domain` is libvirt's handle."""
        super().__init__(agent, image, pid, storage)
        self._domain = domain

    def guest_memory_bytes(self) -> int:
        """What the hypervisor has given to the machine."""
        return int(self._domain.info()[2]) * _KIB

    def outside_memory_bytes(self) -> int:
        """The same: none of it is mapped by a process of the host."""
        return self.guest_memory_bytes()


class Xen:
    """See the module."""

    runtime_class = RuntimeClass.MACHINE
    variants = ("", "type=pvh", "type=hvm")
    parameters: Mapping[str, Parameter] = {
        "type": Parameter("pv", tuple(OS_TYPES), "how the guest is virtualized"),
        "storage": Parameter("qcow2", ("qcow2", "raw"), "the format of the guest's disk"),
        "uri": URI,
    }

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        chosen = check_parameters(name, parameters, self.parameters)
        self.name = name
        self._context = context
        self._kind = chosen["type"]
        self._raw = chosen["storage"] == "raw"
        self._daemon = find_daemon(context, DRIVER, chosen["uri"])
        self._connection: Connection | None = None
        self._files: dict[str, _Files] = {}
        self._mitigations = host_mitigations()

    def probe(self) -> RuntimeFacts:
        """Connects to a daemon that is there, but starts none."""
        require_hypervisor()
        require_root(self.name)
        require_allowed(_DEVICE_MODEL)
        notes = [
            f"guest mitigations: {self._mitigations}, as the host's",
            f"disk: {'raw' if self._raw else 'qcow2'}",
            WHOLE_CPUS,
        ]
        versions = {}
        if self._daemon.shared:
            versions = self._connect().versions()
        else:
            require_startable(DRIVER)
            notes.append("libvirtd: a private one of the run")
        return RuntimeFacts(
            versions=versions,
            accel="xen",
            limits=LimitSupport(cpus=Support.SUPPORTED, memory=Support.SUPPORTED),
            notes=notes,
        )

    def prepare(self, image: Image) -> None:
        kernel = guest_kernel(self._context.cache)
        self._files[image.digest] = _Files(kernel, initramfs(image, kernel), ext4(image))
        self._offered()

    def _connect(self) -> Connection:
        if self._connection is None:
            self._daemon.acquire()
            try:
                self._connection = Connection(
                    self._daemon.uri, self._context.state / "libvirt", self._context.state,
                    groups=False, hint="systemctl start libvirtd, in dom0",
                )  # fmt: skip
            except BaseException:
                self._daemon.release()
                raise
        return self._connection

    def _offered(self) -> GuestKind:
        return require_kind(self._connect().host_capabilities(), self._kind)

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[XenBox]:
        if spec.image.digest not in self._files:
            self.prepare(spec.image)
        connection = self._connect()
        with ExitStack() as stack:
            dialer = stack.enter_context(Dialer(spec.sockets / SOCKET))
            machine = self._describe(spec)
            stack.callback(machine.disk.unlink, missing_ok=True)
            make_disk = raw_disk if self._raw else overlay_disk
            make_disk(self._files[spec.image.digest].disk, machine.disk)
            stack.enter_context(without_logs(machine.name, self._context.inventory))
            start = stack.enter_context(
                Start(connection, self._context.inventory, machine.name, machine.uuid)
            )
            with explained():
                start.create(xen_xml(machine), marks, paused=True)
            dialer.dial()
            start.resume(marks)
            start.wait_ready(dialer, spec.ready_timeout_s, marks)
            assert dialer.peer_pid is not None
            kind = StorageKind.RAW if self._raw else StorageKind.QCOW2
            storage = Storage(LAYER_PATH, kind, machine.disk)
            agent = Agent(dialer, shares_clock=False)
            yield XenBox(agent, spec.image, dialer.peer_pid, storage, start.handle)
            start.end(agent, marks)
            stack.close()
            marks.stamp(Mark.REMOVED)

    def _describe(self, spec: InstanceSpec) -> XenMachine:
        files, offered = self._files[spec.image.digest], self._offered()
        wanted = spec.limits.memory_bytes or _DEFAULT_MEMORY_BYTES
        return XenMachine(
            name=spec.name,
            uuid=str(uuid.uuid4()),
            kind=self._kind,
            machine=offered.machines[0] if offered.machines else "",
            emulator=_there(offered.emulator),
            vcpus=math.ceil(spec.limits.cpus or 1),
            memory_bytes=-(-wanted // MIB) * MIB,
            kernel=files.kernel.vmlinuz if self._kind == "hvm" else files.kernel.boot_file,
            initramfs=files.initramfs,
            command_line=xen_command_line(self._mitigations),
            disk=spec.directory / "disk",
            disk_format="raw" if self._raw else "qcow2",
            channel=spec.sockets / SOCKET,
        )

    def launch_files(self, image: Image, inside: Sequence[str]) -> Sequence[Path]:
        """What the guest boots from; files of the image lie inside the base disk."""
        del inside
        files = self._files[image.digest]
        return [files.kernel.boot_file, files.initramfs, files.disk]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._daemon.release()


@contextlib.contextmanager
def without_logs(name: str, ledger: Ledger, patterns: Sequence[str] = LOGS) -> Iterator[None]:
    """The logs of a guest of that name, which begins and ends meanwhile, go after it."""
    logs = [Path(pattern.format(name)) for pattern in patterns]
    for log in logs:
        ledger.will_make("file", str(log))
    try:
        yield
    finally:
        for log in logs:
            log.unlink(missing_ok=True)
            ledger.removed("file", str(log))


@contextlib.contextmanager
def explained(log: Path = _LIBXL_LOG) -> Iterator[None]:
    """libvirt says no more than that libxl has failed; why is the first word of libxl's own log."""
    before = log.stat().st_size if log.exists() else 0
    try:
        yield
    except LaunchFailed as error:
        said = log.read_bytes()[before:].splitlines() if log.exists() else []
        if not said:
            raise
        reason = said[0].decode(errors="replace")
        raise LaunchFailed(f"{error.message} ({reason})", error.hint) from error


def require_hypervisor(type_file: Path = _TYPE_FILE, privileged: Path = _PRIVILEGED_FILE) -> None:
    """Raise RuntimeUnavailable unless this is the privileged domain of a Xen hypervisor."""
    kind = _read(type_file)
    if kind != "xen":
        raise RuntimeUnavailable(
            f"there is {f'not Xen but {kind}' if kind else 'no Xen'} below this kernel",
            "apt-get install xen-system-amd64, then boot the entry 'with Xen hypervisor'",
        )
    if "control_d" not in _read(privileged):
        raise RuntimeUnavailable(
            "this is a guest of Xen, and only its privileged domain makes guests",
            f"run it in dom0 (there, {privileged} says control_d: mount -t xenfs xenfs /proc/xen)",
        )


def require_allowed(program: str, profiles: Path = _PROFILES) -> None:
    """Raise RuntimeUnavailable where AppArmor forbids libvirtd a program: no guest would start.

    Debian's profile of libvirtd does, and libvirt then says only that the spawn has failed. So
    aa-exec puts that profile on and starts the program, as libvirtd would.
    """
    aa_exec = process.find_program("aa-exec")
    enforced = "libvirtd (enforce)" in _read(profiles).splitlines()
    if not (aa_exec and enforced and Path(program).is_file()):
        return
    argv = [aa_exec, "--immediate", "--profile", "libvirtd", "--", program, "--version"]
    said = process.run(argv, check=False, env={**os.environ, "LC_ALL": "C"}).stderr
    if b"Permission denied" in said:
        raise RuntimeUnavailable(
            f"AppArmor's profile of libvirtd forbids it to start {program}",
            f"echo '{program} PUx,' >> /etc/apparmor.d/local/usr.sbin.libvirtd && "
            "apparmor_parser --replace /etc/apparmor.d/usr.sbin.libvirtd",
        )


def _there(emulator: str) -> str:
    """The device model that the capabilities name, where it is; else libxl takes its own.

    Debian's libvirt names the place where Xen itself would install one, and Debian has it
    elsewhere, where its libxl looks for it.
    """
    return emulator if Path(emulator).is_file() else ""


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def require_kind(document: str, kind: str) -> GuestKind:
    """What the capabilities say of a kind; RuntimeUnavailable tells the kinds that there are."""
    found = find_kind(document, OS_TYPES[kind], os.uname().machine, "xen")
    if found is None:
        words = {os_type: name for name, os_type in OS_TYPES.items()}
        there = sorted({words.get(k.os_type, k.os_type) for k in guest_kinds(document)})
        raise RuntimeUnavailable(
            f"this hypervisor runs no {kind} guests, but {', '.join(there) or 'none at all'}",
            "hvm and pvh need VT-x or AMD-V, switched on in the firmware",
        )
    return found
