"""Virtual machines through libvirt: `kvm` (hardware-assisted) and `qemu` (emulated by TCG).

A guest starts directly from a kernel, an initramfs whose /init is the agent, and the image on
a disk with a fresh overlay; all three are made before the request. One call is timed,
`createXML`, which both makes and starts the domain: so there is no mark `created`, and
`started` is when the call returned. (Most of that time libvirt reads some 400 properties of
the guest's CPU back from QEMU, one by one, before it lets the guest run.) The VMM connects to
the channel on which we listen, which is the mark `vmm`, and READY comes over it after
switch_root. The end is asked of the agent, which resets the guest; a reset ends QEMU, and a
pidfd tells when.

Whether a guest runs under KVM or TCG is asked of its QEMU (`query-kvm`) after each READY, and
a guest that runs under the other one is a failed trial.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import math
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from harness import clock, paths
from harness.channel import Agent, Listener
from harness.cpuid import patience
from harness.errors import DeadlineExceeded, LaunchFailed, RuntimeUnavailable
from harness.image import store
from harness.image.bootdisk import boot_disk
from harness.image.cache import sha256_of
from harness.image.forms import ext4, initramfs
from harness.image.guest import GuestKernel, cached_kernel, guest_kernel
from harness.model import (
    Context,
    Image,
    InstanceSpec,
    Limits,
    LimitSupport,
    Mark,
    Marks,
    Parameter,
    RuntimeClass,
    RuntimeFacts,
    Support,
)
from harness.probes.cgroups import Layout
from harness.process import become_subreaper, find_program
from runtimes import kvm_verdict
from runtimes.box import SOCKET, AgentBox, check_parameters, listen
from runtimes.domain_parts import (
    INIT_SIGN,
    KERNEL_SIGN,
    LOADER_SIGN,
    WHOLE_CPUS,
    GroupedThread,
    SignPort,
    in_group,
    joins_groups,
    kill_machine,
    mark_signs,
)
from runtimes.domain_xml import Domain, GuestClock, command_line, domain_xml
from runtimes.far_domain import FarMachines
from runtimes.far_host import is_far
from runtimes.guest_box import BalloonBox, GuestBox, Held
from runtimes.guest_kernel_options import host_mitigations, measure_clock
from runtimes.guest_machine import PARAMETERS, choose, require
from runtimes.guest_roots import DISK, DiskRoots, make_disk
from runtimes.guest_start import ask_accelerator, explained, require_tools
from runtimes.libvirt_connection import EMBEDDED, Connection, Reaping, check_uri
from runtimes.libvirt_start import KIND

_EMULATOR = "qemu-system-x86_64"
_GONE_TIMEOUT_S = 30.0
_SLOW_START_S = 3.0
_UNPROBED = "unprobed: only a boot of the built image tells whether KVM works here"


@dataclass(frozen=True)
class BootFiles:
    """What `prepare` derives from an image: a guest's kernel, initramfs and base disk."""

    kernel: GuestKernel
    initramfs: Path
    disk: Path

    @property
    def loaded(self) -> tuple[Path, Path]:
        """What QEMU loads itself, unless the machine boots from its disk."""
        return self.kernel.boot_file, self.initramfs


class LibvirtDomain(DiskRoots):
    """What both runtimes share; `domain_type` and `accel` are libvirt's and QEMU's words."""

    runtime_class: RuntimeClass
    domain_type = ""
    accel = ""
    cpu_mode = ""
    parameters: Mapping[str, Parameter] = {
        **PARAMETERS,
        "uri": Parameter(
            EMBEDDED, (), "embed (in this process), a libvirt URI (, is %2C), or qemu+ssh://HOST/…"
        ),
    }

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        chosen = check_parameters(name, parameters, self.parameters)
        self.name = name
        self._context = context
        self._machine = choose(chosen)
        self._uri = check_uri(chosen["uri"])
        self._instrumented = False
        self._disk_digest = ""
        self._cache = paths.writable(context.cache) / "libvirt"
        self._connection: Connection | None = None
        self._files: dict[str, BootFiles] = {}
        self._clock: GuestClock | None = None
        self._cpu_without: tuple[str, ...] = ()
        self._mitigations = host_mitigations()
        self._far = FarMachines(self._uri, context) if is_far(self._uri) else None
        self._far_emulator = ""

    @property
    def elsewhere(self) -> bool:
        """Whether the machines are on another host."""
        return self._far is not None

    @staticmethod
    def check(parameters: Mapping[str, str]) -> None:
        """Raise DoesNotFit for a machine that cannot be."""
        choose(parameters)

    def probe(self) -> RuntimeFacts:
        """Also finds out what QEMU can do, which takes seconds the first time on a host."""
        if self._far is None:
            require_tools(_EMULATOR)
        self._require_machine()
        return RuntimeFacts(
            versions=self._connect().versions() | self._guest_versions(),
            accel=self.accel,
            limits=LimitSupport(cpus=Support.SUPPORTED, memory=Support.SUPPORTED),
            notes=self._notes(),
        )

    def _guest_versions(self) -> dict[str, str]:
        kernel = cached_kernel(self._context.cache)
        cpu = " without ".join((self.cpu_mode, *self._cpu_without))
        own = {"disk": f"sha256:{self._disk_digest}"} if self._disk_digest else {}
        return {"guest-cpu": cpu, **own} | (
            {} if kernel is None else {"guest-kernel": f"{kernel.version} {kernel.package_version}"}
        )

    def _notes(self) -> list[str]:
        machine = self._machine
        notes = [
            f"guest mitigations: {self._mitigations}, as the host's",
            f"disk: {'raw' if machine.raw else 'qcow2'}, cache mode {machine.cache}",
        ]
        if machine.own_disk is not None:
            notes.append(
                f"not the image: {machine.own_disk}, mounted by the image's kernel, with the agent "
                "of its initramfs as init; its own boot loader, kernel and init do not run"
            )
        if self._far is not None:
            notes += self._far.notes()
        elif os.geteuid() != 0:
            notes.append(WHOLE_CPUS)
        return notes

    def prepare(self, image: Image) -> None:
        become_subreaper()  # a PID 1 that is slow to reap makes libvirt slow to see an end
        kernel = guest_kernel(self._context.cache)
        disk = self._machine.own_disk
        if disk is None:
            disk = boot_disk(image, kernel) if self._machine.from_disk else ext4(image)
        elif not self._disk_digest:
            self._require_machine()
            self._disk_digest = sha256_of(disk)
        self._files[image.digest] = BootFiles(kernel, initramfs(image, kernel), disk)
        if self._far is not None:
            files = self._files[image.digest]
            self._far.carry([*files.loaded, files.disk])
        elif self._clock is None and self.domain_type == "qemu" and self._machine.type == "microvm":
            self._clock = measure_clock()
        self._require_machine()

    def _require_machine(self) -> None:
        emulator, kind = self._emulator() or None, self._machine.type
        told = self._connect().capabilities(emulator, kind, self.domain_type)
        require(self._machine, told)
        if self._far is not None:
            self._far_emulator = ElementTree.fromstring(told).findtext("path", "")
            self._mitigations = self._far.mitigations()

    def _ready_timeout_s(self, spec: InstanceSpec) -> float:
        emulated = self.domain_type == "qemu"
        return self._machine.ready_timeout_s(spec.ready_timeout_s, emulated=emulated)

    def check_limits(self, limits: Limits) -> None:
        """Raises RuntimeUnavailable where the machine could not boot with so little memory."""
        self._machine.memory_bytes(limits)

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[AgentBox]:
        if spec.image.digest not in self._files:
            self.prepare(spec.image)
        if self._far is not None:
            domain, base = self._describe(spec, None, None), self._files[spec.image.digest].disk
            with self._far.launch(domain, base, self.accel, spec, marks) as far_box:
                yield far_box
            return
        connection = self._connect()
        with ExitStack() as stack:
            listener = stack.enter_context(listen(spec))
            serial = debug = None
            if self._instrumented:
                serial = stack.enter_context(SignPort(spec.sockets / "serial", KERNEL_SIGN))
                signs = LOADER_SIGN, INIT_SIGN
                debug = stack.enter_context(SignPort(spec.sockets / "debug", *signs))
            domain = self._describe(spec, serial, debug)
            for file in filter(None, (domain.disk, domain.nvram)):
                stack.callback(file.unlink, missing_ok=True)
            base = self._files[spec.image.digest].disk
            make_disk(base, domain.disk, domain.backing_format if domain.backing else None)
            gone = stack.enter_context(connection.watched(domain.uuid))
            box = stack.enter_context(self._running(spec, domain, connection, listener, marks))
            mark_signs(marks, serial, debug)
            stack.enter_context(box)
            box.wait_gone = functools.partial(gone, _GONE_TIMEOUT_S * patience())
            yield box
            box.end(marks)
            stack.close()
            marks.stamp(Mark.REMOVED)

    @contextlib.contextmanager
    def _running(
        self, spec: InstanceSpec, domain: Domain, connection: Connection, listener: Listener,
        marks: Marks,
    ) -> Iterator[GuestBox]:  # fmt: skip
        """Start a domain and bring it to READY; at the end whatever is left of it is ended."""
        xml = domain_xml(domain)
        flags = connection.start_flags
        inventory = self._context.inventory

        def create() -> Any:
            marks.stamp(Mark.REQUEST)
            handle = connection.handle.createXML(xml, flags)
            marks.stamp(Mark.STARTED)
            return handle

        with ExitStack() as stack:
            inventory.will_make(KIND, spec.name, uuid=domain.uuid, uri=self._uri)
            group = f"{self._context.cgroup}/{spec.name}"
            thread = stack.enter_context(GroupedThread(group, fraction(spec.limits)))
            stack.callback(self._end, connection, domain)
            stack.callback(thread.finish)  # first, so that no start is still under way
            with explained(connection, domain, self._ready_timeout_s(spec)):
                with Reaping(after_s=_SLOW_START_S):
                    handle = thread.call(create)
                alive = functools.partial(connection.is_active, handle)
                ready_ns = listener.wait_ready(self._ready_timeout_s(spec), alive)
            thread.finish()
            marks.at(Mark.READY, ready_ns)
            if listener.connected_ns is not None:
                marks.at(Mark.VMM, listener.connected_ns)
            accel = ask_accelerator(handle)
            if accel != self.accel:
                raise LaunchFailed(f"QEMU runs the guest under {accel}, not {self.accel}")
            assert listener.peer_pid is not None
            agent = Agent(listener, shares_clock=False)
            kind = GuestBox if domain.balloon == "off" else BalloonBox
            start = functools.partial(in_group, group, fraction(spec.limits))
            yield kind(agent, spec.image, domain, accel, Held(connection, handle, listener, start))

    def _end(self, connection: Connection, domain: Domain) -> None:
        """What cannot be ended stays on the inventory."""
        _destroy(connection, domain)
        self._context.inventory.removed(KIND, domain.name)

    def _describe(
        self, spec: InstanceSpec, serial: SignPort | None, debug: SignPort | None
    ) -> Domain:
        files = self._files[spec.image.digest]
        machine, direct = self._machine, not self._machine.from_disk
        return Domain(
            name=spec.name,
            uuid=str(uuid.uuid4()),
            domain_type=self.domain_type,
            machine=machine.type,
            bus=machine.bus,
            emulator=self._emulator(),
            cpu_mode=self.cpu_mode,
            vcpus=math.ceil(spec.limits.cpus or 1),
            memory_bytes=machine.memory_bytes(spec.limits),
            kernel=files.kernel.boot_file if direct else None,
            initramfs=files.initramfs if direct else None,
            command_line=command_line(
                mitigations=self._mitigations,
                clock=self._clock,
                instrumented=serial is not None,
                words=machine.words,
            ),
            balloon=machine.balloon,
            disk=spec.directory / DISK,
            backing=None if machine.raw or spec.whole else files.disk,
            backing_format="raw" if machine.own_disk is None else "qcow2",
            cache=machine.cache,
            channel=spec.sockets / SOCKET,
            nvram=spec.directory / "nvram" if machine.firmware == "uefi" else None,
            serial=None if serial is None else serial.path,
            debug=None if debug is None else debug.path,
            cpu_without=self._cpu_without,
            cpu_quota=fraction(spec.limits) if self._libvirt_groups() else None,
        )

    def instrumented(self) -> LibvirtDomain:
        """The same with the marks `firmware`, `loader`, `kernel` and `init`, at the cost of a
        serial port, a debug port and a few messages.

        It shares this one's connection, which stays ours to close.
        """
        if self._far is not None:
            raise RuntimeUnavailable(
                "the signs of firmware and kernel do not come from another host",
                "run this experiment there",
            )
        self._connect()
        other = copy.copy(self)
        other._instrumented = True
        return other

    def launch_files(self, image: Image, inside: Sequence[str]) -> Sequence[Path]:
        """QEMU and what the guest boots from; files of the image lie inside the base disk."""
        del inside
        if self._far is not None:
            raise RuntimeUnavailable("what another host has cached is not seen from here")
        files = self._files[image.digest]
        loaded = () if self._machine.from_disk else files.loaded
        return [Path(self._emulator()), *loaded, files.disk]

    def _connect(self) -> Connection:
        if self._far is not None:
            return self._far.connection()
        if self._connection is None:
            self._connection = Connection(
                self._uri, self._context.state / "libvirt", self._cache / "capabilities",
                groups=self._libvirt_groups(),
            )  # fmt: skip
        return self._connection

    def _libvirt_groups(self) -> bool:
        """Whether libvirt makes the control groups of guests: only root's libvirt can."""
        return self._far is not None or (os.geteuid() == 0 and not joins_groups(Layout.detect()))

    def _emulator(self) -> str:
        """Empty until a far host has told its own."""
        if self._far is not None:
            return self._far_emulator
        return find_program(_EMULATOR) or f"/usr/bin/{_EMULATOR}"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._far is not None:
            self._far.close()


class Qemu(LibvirtDomain):
    """A machine in software: QEMU's translator, TCG. Never to be compared as a machine."""

    runtime_class = RuntimeClass.EMULATED
    domain_type = "qemu"
    accel = "tcg"
    cpu_mode = "maximum"
    variants = ("", "machine=microvm")
    examples = ("machine=pc", "bus=scsi", "boot=disk", "boot=disk,firmware=uefi")


class Kvm(LibvirtDomain):
    """A machine with hardware virtualization, offered only where a guest really boots.

    `probe` decides by a boot when an image is there; else its facts carry the note
    `unprobed …`, and `prepare` decides, which then raises RuntimeUnavailable.
    """

    runtime_class = RuntimeClass.MACHINE
    domain_type = "kvm"
    accel = "kvm"
    cpu_mode = "host-passthrough"

    def probe(self) -> RuntimeFacts:
        if self._far is None:
            require_tools(_EMULATOR)
        may_boot = self._context.options.get("boot", True)
        image = store.find(self._context.cache) if may_boot and not self._known() else None
        if image is not None:
            self.prepare(image)
        facts = super().probe()
        if self._known():
            return facts
        return RuntimeFacts(facts.versions, facts.accel, facts.limits, [*facts.notes, _UNPROBED])

    def prepare(self, image: Image) -> None:
        """Derive the forms, then decide by a boot unless that is known. RuntimeUnavailable."""
        known = self._known()
        super().prepare(image)
        if not known:
            verdict = self._try(image)
            kvm_verdict.remember(self._cache, verdict)
            self._heed(verdict)

    def _known(self) -> bool:
        """Whether it is known that guests boot; raises RuntimeUnavailable if they do not."""
        if self._uri == EMBEDDED:
            kvm_verdict.check_device()
        verdict = kvm_verdict.recall(self._cache, self._conditions())
        if verdict is not None:
            self._heed(verdict)
        return verdict is not None

    def _heed(self, verdict: kvm_verdict.Verdict) -> None:
        kvm_verdict.require(verdict)
        self._cpu_without = verdict.cpu_without

    def _conditions(self) -> dict[str, str]:
        if self._far is not None:
            return self._far.conditions(self._machine.way)
        return kvm_verdict.conditions(Path(self._emulator()), self._machine.way, self._uri)

    def _try(self, image: Image) -> kvm_verdict.Verdict:
        """Boot one guest under a deadline; where QEMU itself fails, with a simpler CPU."""
        reason = ""
        for without in kvm_verdict.CPUS:
            self._cpu_without = without
            try:
                with self._trial_spec(image) as spec, self.launch(spec, clock.Marks()):
                    pass
                return kvm_verdict.Verdict(True, "", self._conditions(), without)
            except DeadlineExceeded:
                reason = (
                    f"{kvm_verdict.DEVICE} exists but a guest did not boot under it within "
                    f"{kvm_verdict.deadline_s():g} s (KVM without hardware virtualization?)"
                )
                break
            except LaunchFailed as error:
                reason = (
                    f"{kvm_verdict.DEVICE} exists but no guest starts under it: {error.message}"
                )
        return kvm_verdict.Verdict(False, reason, self._conditions())

    @contextlib.contextmanager
    def _trial_spec(self, image: Image) -> Iterator[InstanceSpec]:
        """Folders for one guest; the state folder may lie in memory, where O_DIRECT fails."""
        name = f"tarebench-kvm-{uuid.uuid4().hex[:8]}"
        disk, sockets = self._cache / name, self._context.state / name
        self._context.inventory.will_make("directory", str(disk))
        try:
            disk.mkdir(parents=True)
            sockets.mkdir(mode=0o700)
            yield InstanceSpec(
                name=name, run_id=self._context.run_id, image=image, limits=Limits(),
                directory=disk, sockets=sockets, ready_timeout_s=kvm_verdict.deadline_s(),
            )  # fmt: skip
        finally:
            for folder in (disk, sockets):
                shutil.rmtree(folder, ignore_errors=True)


def fraction(limits: Limits) -> float | None:
    """The CPUs asked for, where they are no whole number: whole ones are the guest's vCPUs.

    A fraction limits the whole VMM, the vCPUs and what serves them.
    """
    cpus = limits.cpus
    return cpus if cpus is not None and not float(cpus).is_integer() else None


def _destroy(connection: Connection, domain: Domain) -> None:
    """End a domain that has not ended by itself; that it has is no error."""
    error_type = connection.libvirt.libvirtError
    with Reaping(), contextlib.suppress(error_type):
        connection.handle.lookupByUUIDString(domain.uuid).destroy()
    kill_machine(domain.uuid)
    if connection.root is not None:
        with contextlib.suppress(OSError):
            connection.root.log_of(domain.name).unlink()
