"""What libvirt's drivers of vendors' systems are told: domain XML, as pure functions.

Machines of VMware boot from their disk, because their drivers load no kernel; their channel is
the first serial port, which connects: on the same host to a socket (VMware calls it a named
pipe), from another host over TCP. A container of Virtuozzo has its root in a file of that
vendor's format, and no serial port: its channel is a folder of the host.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import SubElement

from harness.model import AGENT_PATH, CHANNEL_DIRECTORY
from runtimes.xml_parts import begin, document, ends, text, tune

VMWARE_WORDS = ("tty:/dev/ttyS0", "root:/dev/sda", "vmware")
"""What the kernel of such a disk must tell the agent."""


@dataclass(frozen=True)
class VendorMachine:
    """One machine of VMware. `disk` is a path, or `[datastore] path` on another host."""

    name: str
    uuid: str
    vcpus: int
    memory_bytes: int
    disk: str
    channel: Path | tuple[str, int]
    """A socket of this host that listens, or the address and port of one."""


def vmware_xml(machine: VendorMachine) -> str:
    """The XML of a machine for the drivers of ESXi, Workstation, Player and Fusion."""
    root = begin("vmware", machine.name, machine.uuid, machine.memory_bytes, machine.vcpus)
    system = SubElement(root, "os")
    text(system, "type", "hvm", arch="x86_64")
    ends(root)
    devices = SubElement(root, "devices")
    disk = SubElement(devices, "disk", type="file", device="disk")
    SubElement(disk, "source", file=machine.disk)
    SubElement(disk, "target", dev="sda", bus="scsi")
    SubElement(devices, "controller", type="scsi", index="0", model="vmpvscsi")
    if isinstance(machine.channel, Path):
        serial = SubElement(devices, "serial", type="pipe")
        SubElement(serial, "source", path=str(machine.channel))
    else:
        host, port = machine.channel
        serial = SubElement(devices, "serial", type="tcp")
        SubElement(serial, "source", mode="connect", host=host, service=str(port))
        SubElement(serial, "protocol", type="raw")
    SubElement(serial, "target", port="0")
    return document(root)


@dataclass(frozen=True)
class VendorContainer:
    """One container of Virtuozzo: `root` is a disk in its format, `sockets` holds the channel."""

    name: str
    uuid: str
    vcpus: int
    memory_bytes: int
    cpu_quota: float | None
    root: Path
    sockets: Path
    word: str


def openvz_xml(container: VendorContainer) -> str:
    """The XML of a container for the driver `vz`."""
    root = begin("vz", container.name, container.uuid, container.memory_bytes, container.vcpus)
    tune(root, container.cpu_quota, "global_")
    system = SubElement(root, "os")
    text(system, "type", "exe", arch="x86_64")
    text(system, "init", AGENT_PATH)
    text(system, "initarg", container.word)
    ends(root)
    devices = SubElement(root, "devices")
    disk = SubElement(devices, "filesystem", type="file")
    SubElement(disk, "driver", type="ploop", format="ploop")
    SubElement(disk, "source", file=str(container.root))
    SubElement(disk, "target", dir="/")
    channel = SubElement(devices, "filesystem", type="mount")
    SubElement(channel, "source", dir=str(container.sockets))
    SubElement(channel, "target", dir=CHANNEL_DIRECTORY)
    return document(root)
