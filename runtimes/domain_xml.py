"""What libvirt is told: the domain XML and the guest kernel's command line, as pure functions.

A machine is described once, by a frozen `Domain`, and everything that libvirt and the guest
kernel hear of it follows from that description alone: so it can be compared with a golden
file, checked against libvirt's own schema, and printed when a guest does not start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

PORT = "org.tarebench.channel"
"""Name of the virtio port by which the guest's agent finds its channel."""

DEBUG_PORT = 0x402
"""Where SeaBIOS writes what it does, and the agent, as an instrumented guest's init, a byte."""

_PERIOD_US = 100_000
_GUEST_HZ = 250
"""CONFIG_HZ of Debian's kernels; `lpj` is counted in ticks of it."""


@dataclass(frozen=True)
class Domain:
    """One machine. Paths are absolute; `serial` and `debug` are sockets that listen for the
    kernel's first byte and for those of the debug port."""

    name: str
    uuid: str
    domain_type: str
    """`kvm`, or `qemu` for TCG."""
    machine: str
    """QEMU's machine type: `q35`, `pc` or `microvm`."""
    emulator: str
    cpu_mode: str
    """`host-passthrough` or `maximum`, as libvirt calls them."""
    vcpus: int
    memory_bytes: int
    kernel: Path | None
    initramfs: Path | None
    """What QEMU loads itself; None where the machine boots from its disk."""
    command_line: str
    """The kernel's; a boot loader on the disk finds it as the machine's OEM string."""
    disk: Path
    """This instance's own: a qcow2 overlay, or a raw copy."""
    backing: Path | None
    """The disk below an overlay, named so that libvirt need not read it to find that."""
    channel: Path
    backing_format: str = "raw"
    bus: str = "virtio"
    """How the disk is reached: virtio-blk, or `scsi`, which is virtio-scsi."""
    nvram: Path | None = None
    """The variables of a UEFI firmware, this instance's own; None for a BIOS."""
    serial: Path | None = None
    debug: Path | None = None
    cache: str = "none"
    """QEMU's cache mode: `none` is O_DIRECT, `writeback` the host's page cache."""
    cpu_without: tuple[str, ...] = ()
    """Features of the CPU that the guest is not to have."""
    cpu_quota: float | None = None
    """CPUs that the whole VMM may use, where libvirt is to see to it."""
    balloon: str = "off"
    """`on`, or `reporting`: the guest also tells which of its memory is free."""


@dataclass(frozen=True)
class GuestClock:
    """What an emulated guest cannot measure reliably: the rate of its time-stamp counter."""

    tsc_khz: int

    @property
    def loops_per_jiffy(self) -> int:
        """A delay loop that reads the counter turns once a cycle (arch/x86/kernel/tsc.c)."""
        return self.tsc_khz * 1000 // _GUEST_HZ


def command_line(
    *, mitigations: str, clock: GuestClock | None = None, instrumented: bool = False,
    words: Sequence[str] = (),
) -> str:  # fmt: skip
    """The guest kernel's command line; what stands behind `--` is for the agent.

    `clock` is given where the guest would calibrate against a timer that emulation delays:
    a microvm under TCG then hangs in one boot of three. `instrumented` lets the kernel's
    first message out on the serial port; the console itself stays quiet, for each character
    costs an exit. The agent, as init, then writes a byte to the debug port. `balloon` has the
    guest load its driver.
    """
    line = ["earlyprintk=ttyS0", "loglevel=6"] if instrumented else ["quiet"]
    line += ["panic=-1", "reboot=t", f"mitigations={mitigations}"]
    if clock is not None:
        line += [f"tsc_early_khz={clock.tsc_khz}", f"lpj={clock.loops_per_jiffy}"]
    line += ["--", f"virtio:{PORT}", *words]
    return " ".join([*line, *[f"sign:{DEBUG_PORT:#x}"] * instrumented])


def domain_xml(domain: Domain) -> str:
    """The XML of a transient domain, in the order in which libvirt documents its elements."""
    root = Element("domain", type=domain.domain_type)
    _text(root, "name", domain.name)
    _text(root, "uuid", domain.uuid)
    _text(root, "memory", str(domain.memory_bytes), unit="b")
    _text(root, "vcpu", str(domain.vcpus), placement="static")
    if domain.cpu_quota is not None:
        tune = SubElement(root, "cputune")
        _text(tune, "global_period", str(_PERIOD_US))
        _text(tune, "global_quota", str(int(domain.cpu_quota * _PERIOD_US)))
    _boot(root, domain)
    features = SubElement(root, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    # The model is not checked: the emulator gives what it has, whatever that is.
    cpu = SubElement(root, "cpu", mode=domain.cpu_mode, check="none", migratable="off")
    for feature in domain.cpu_without:
        SubElement(cpu, "feature", policy="disable", name=feature)
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        _text(root, event, "destroy")
    _devices(SubElement(root, "devices"), domain)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _boot(root: Element, domain: Domain) -> None:
    """What starts: a kernel that QEMU loads, or a firmware that loads the disk's boot loader.

    The UEFI firmware is whichever the host has registered for such machines; without secure
    boot, for which a boot loader of ours has no signature.
    """
    system = SubElement(root, "os")
    _text(system, "type", "hvm", arch="x86_64", machine=domain.machine)
    if domain.kernel is not None:
        _text(system, "kernel", str(domain.kernel))
        _text(system, "initrd", str(domain.initramfs))
        _text(system, "cmdline", domain.command_line)
        return
    if domain.nvram is not None:
        system.set("firmware", "efi")
        firmware = SubElement(system, "firmware")
        for feature in ("secure-boot", "enrolled-keys"):
            SubElement(firmware, "feature", enabled="no", name=feature)
        _text(system, "nvram", str(domain.nvram))
    SubElement(system, "boot", dev="hd")
    SubElement(system, "smbios", mode="sysinfo")
    strings = SubElement(SubElement(root, "sysinfo", type="smbios"), "oemStrings")
    _text(strings, "entry", domain.command_line)


def _devices(devices: Element, domain: Domain) -> None:
    """What was asked for, and none of the devices that libvirt adds by itself."""
    _text(devices, "emulator", domain.emulator)
    _disk(devices, domain)
    SubElement(devices, "controller", type="usb", index="0", model="none")
    _address(SubElement(devices, "controller", type="virtio-serial", index="0"), domain)
    if domain.serial is not None:
        serial = SubElement(devices, "serial", type="unix")
        SubElement(serial, "source", mode="connect", path=str(domain.serial))
        target = SubElement(serial, "target", type="isa-serial", port="0")
        SubElement(target, "model", name="isa-serial")
    if domain.debug is not None:
        debug = SubElement(devices, "serial", type="unix")
        SubElement(debug, "source", mode="connect", path=str(domain.debug))
        target = SubElement(debug, "target", type="isa-debug", port="1")
        SubElement(target, "model", name="isa-debugcon")
        SubElement(debug, "address", type="isa", iobase=f"{DEBUG_PORT:#x}")
    channel = SubElement(devices, "channel", type="unix")
    SubElement(channel, "source", mode="connect", path=str(domain.channel))
    SubElement(channel, "target", type="virtio", name=PORT)
    if domain.balloon == "off":
        SubElement(devices, "memballoon", model="none")
        return
    balloon = SubElement(devices, "memballoon", model="virtio")
    if domain.balloon == "reporting":
        balloon.set("freePageReporting", "on")
    _address(balloon, domain)


def _disk(devices: Element, domain: Domain) -> None:
    """The one disk, and the controller that it hangs on."""
    disk = SubElement(devices, "disk", type="file", device="disk")
    form = "raw" if domain.backing is None else "qcow2"
    SubElement(disk, "driver", name="qemu", type=form, cache=domain.cache, io=aio(domain.cache))
    SubElement(disk, "source", file=str(domain.disk))
    if domain.backing is not None:
        below = SubElement(disk, "backingStore", type="file")
        SubElement(below, "format", type=domain.backing_format)
        SubElement(below, "source", file=str(domain.backing))
        SubElement(below, "backingStore")
    if domain.bus == "scsi":
        SubElement(disk, "target", dev="sda", bus="scsi")
        controller = SubElement(devices, "controller", type="scsi", index="0", model="virtio-scsi")
        _address(controller, domain)
    else:
        SubElement(disk, "target", dev="vda", bus="virtio")
        _address(disk, domain)


def aio(cache: str) -> str:
    """How QEMU submits requests in a cache mode: Linux' own AIO needs O_DIRECT."""
    return "native" if cache == "none" else "threads"


def _address(device: Element, domain: Domain) -> None:
    """A microvm has no PCI; elsewhere libvirt places devices as it does for everybody."""
    if domain.machine == "microvm":
        SubElement(device, "address", type="virtio-mmio")


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text
