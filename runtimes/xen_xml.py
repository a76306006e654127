"""What libvirt's Xen driver is told of a machine: domain XML, as a pure function.

All three kinds start from the guests' kernel and initramfs, and have one disk (`xvda`, which
is the guest's blkfront on the host's file) and one channel. The channel of a Xen guest is a
second console with a name. Its far end is a socket on which the device model of the host
listens, so we are the one who connects; inside it is the terminal `hvc1`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import SubElement

from runtimes.domain_xml import PORT
from runtimes.xml_parts import begin, document, ends, text

OS_TYPES = {"pv": "xen", "pvh": "xenpvh", "hvm": "hvm"}
"""libvirt's words for the three kinds of guests."""

WORDS = ("tty:/dev/hvc1", "root:/dev/xvda", "xen")
"""What the agent is told: its channel, its disk, and the driver to load for it."""


@dataclass(frozen=True)
class XenMachine:
    """One machine. Paths are absolute, and of the host (dom0)."""

    name: str
    uuid: str
    kind: str
    """`pv`, `pvh` or `hvm`."""
    machine: str
    """What the driver's capabilities name for this kind, such as `xenpv`; may be empty."""
    vcpus: int
    memory_bytes: int
    kernel: Path
    initramfs: Path
    command_line: str
    disk: Path
    disk_format: str
    """`qcow2` or `raw`."""
    channel: Path
    emulator: str = ""


def xen_command_line(mitigations: str) -> str:
    """The guest kernel's command line; what stands behind `--` is for the agent.

    `reboot=t` is for the kinds that would look for a keyboard's controller to end by; a
    paravirtual one asks the hypervisor whatever it says.
    """
    words = ["quiet", "panic=-1", "reboot=t", f"mitigations={mitigations}", "--", *WORDS]
    return " ".join(words)


def xen_xml(machine: XenMachine) -> str:
    """The XML of a transient domain."""
    root = begin("xen", machine.name, machine.uuid, machine.memory_bytes, machine.vcpus)
    system = SubElement(root, "os")
    kind = text(system, "type", OS_TYPES[machine.kind], arch="x86_64")
    if machine.machine:
        kind.set("machine", machine.machine)
    text(system, "kernel", str(machine.kernel))
    text(system, "initrd", str(machine.initramfs))
    text(system, "cmdline", machine.command_line)
    if machine.kind == "hvm":
        features = SubElement(root, "features")
        for name in ("acpi", "apic", "pae"):
            SubElement(features, name)
    # The guest reads the processor's own counter, as bare metal and guests of KVM do. Where Xen
    # does not trust it, each reading would be an exit of its own, which Xen answers by hand.
    SubElement(SubElement(root, "clock", offset="utc"), "timer", name="tsc", mode="native")
    ends(root)
    devices = SubElement(root, "devices")
    if machine.emulator:
        text(devices, "emulator", machine.emulator)
    disk = SubElement(devices, "disk", type="file", device="disk")
    SubElement(disk, "driver", name="qemu", type=machine.disk_format)
    SubElement(disk, "source", file=str(machine.disk))
    SubElement(disk, "target", dev="xvda", bus="xen")
    SubElement(SubElement(devices, "console", type="pty"), "target", type="xen", port="0")
    channel = SubElement(devices, "channel", type="unix")
    SubElement(channel, "source", mode="bind", path=str(machine.channel))
    SubElement(channel, "target", type="xen", name=PORT)
    # No `memballoon`: Xen's guests all have one, and the driver refuses to be told otherwise.
    return document(root)
