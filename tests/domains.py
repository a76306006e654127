"""Domains of every libvirt driver, and the XML that is made of them: one golden file each.

Tests of the drivers start from these and change what they are about.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from harness.model import MIB
from runtimes.container_xml import Bind, Container, container_xml
from runtimes.domain_xml import Domain, GuestClock, command_line, domain_xml
from runtimes.guest_machine import choose
from runtimes.vendor_xml import VendorContainer, VendorMachine, openvz_xml, vmware_xml
from runtimes.xen_xml import XenMachine, xen_command_line, xen_xml

UUID = "6b35c797-4702-4f40-a8d3-0ae2ef4e56b9"

SCSI = choose({"bus": "scsi"})
CLOCK = GuestClock(tsc_khz=2_600_000)

Q35 = Domain(
    name="tarebench-1",
    uuid=UUID,
    domain_type="qemu",
    machine="q35",
    emulator="/usr/bin/qemu-system-x86_64",
    cpu_mode="maximum",
    vcpus=1,
    memory_bytes=128 * 1024 * 1024,
    kernel=Path("/cache/vmlinux"),
    initramfs=Path("/cache/initramfs.cpio"),
    command_line=command_line(mitigations="auto"),
    disk=Path("/run/instance/disk.qcow2"),
    backing=Path("/cache/root.ext4"),
    channel=Path("/run/instance/channel"),
)
MICROVM = replace(
    Q35, machine="microvm", command_line=command_line(mitigations="auto", clock=CLOCK)
)
DISK = replace(
    Q35, kernel=None, initramfs=None, backing=Path("/cache/disk.raw"),
    command_line=command_line(mitigations="auto", words=choose({"boot": "disk"}).words),
)  # fmt: skip
MACHINES = {
    "qemu-q35": Q35,
    "qemu-microvm": MICROVM,
    "kvm-q35": replace(
        Q35, domain_type="kvm", cpu_mode="host-passthrough", vcpus=2,
        cpu_without=("arch-capabilities",), cpu_quota=1.5,
    ),
    "qemu-q35-disk": DISK,
    "qemu-pc-disk-scsi-uefi": replace(
        DISK, machine="pc", bus="scsi", nvram=Path("/run/instance/nvram"),
        command_line=command_line(
            mitigations="auto", words=choose({"boot": "disk", "bus": "scsi"}).words
        ),
    ),
    "qemu-q35-own": replace(
        Q35, backing=Path("/disks/debian.qcow2"), backing_format="qcow2",
        command_line=command_line(mitigations="auto", words=choose({"disk": "/d.qcow2"}).words),
    ),
    "qemu-pc": replace(Q35, machine="pc"),
    "qemu-q35-scsi": replace(
        Q35, bus="scsi", command_line=command_line(mitigations="auto", words=SCSI.words)
    ),
    "qemu-microvm-scsi": replace(
        MICROVM, bus="scsi",
        command_line=command_line(mitigations="auto", clock=CLOCK, words=SCSI.words),
    ),
    "qemu-q35-balloon": replace(
        Q35, balloon="reporting", command_line=command_line(mitigations="auto", words=["balloon"])
    ),
    "qemu-q35-raw-writeback": replace(
        Q35, disk=Path("/run/instance/disk"), backing=None, cache="writeback"
    ),
    "qemu-microvm-instrumented": replace(
        MICROVM,
        command_line=command_line(mitigations="auto", clock=CLOCK, instrumented=True),
        serial=Path("/run/instance/serial"), debug=Path("/run/instance/debug"),
    ),
}  # fmt: skip

CONTAINER = Container(
    name="tarebench-1",
    uuid=UUID,
    partition="/tarebench.1",
    memory_bytes=256 * MIB,
    cpu_quota=None,
    root=Path("/scratch/root"),
    sockets=Path("/run/tarebench/1/box"),
    word="unix:/run/tarebench/channel",
)
XEN = XenMachine(
    name="tarebench-1",
    uuid=UUID,
    kind="pv",
    machine="xenpv",
    vcpus=2,
    memory_bytes=128 * MIB,
    kernel=Path("/cache/vmlinux"),
    initramfs=Path("/cache/initramfs.cpio"),
    command_line=xen_command_line("auto"),
    disk=Path("/scratch/disk"),
    disk_format="qcow2",
    channel=Path("/run/tarebench/1/box/channel"),
)
VMWARE = VendorMachine(
    "tarebench-1", UUID, 2, 256 * MIB, "/machines/image.vmdk", Path("/run/tarebench/1/box/channel")
)
OPENVZ = VendorContainer(
    "tarebench-1", UUID, 2, 256 * MIB, 1.5, Path("/vz/image.hdd"), Path("/run/tarebench/1/box"),
    "unix:/run/tarebench/channel",
)  # fmt: skip
DOMAINS: dict[str, Callable[[], str]] = {
    **{name: functools.partial(domain_xml, machine) for name, machine in MACHINES.items()},
    "lxc": lambda: container_xml(CONTAINER),
    "lxc-volume": lambda: container_xml(
        replace(CONTAINER, cpu_quota=1.5, volumes=[Bind(Path("/scratch/volume"), "/run/volume")])
    ),
    "xen-pv": lambda: xen_xml(XEN),
    "xen-pvh": lambda: xen_xml(replace(XEN, kind="pvh", machine="xenpvh", disk_format="raw")),
    "xen-hvm": lambda: xen_xml(
        replace(XEN, kind="hvm", machine="xenfv", emulator="/usr/libexec/xen/bin/qemu-system-i386")
    ),
    "vmware": lambda: vmware_xml(VMWARE),
    "esxi": lambda: vmware_xml(
        replace(VMWARE, disk="[datastore1] tarebench/image.vmdk", channel=("192.0.2.1", 40001))
    ),
    "openvz": lambda: openvz_xml(OPENVZ),
}
"""By the name of the golden file: `tests/golden/domain-NAME.xml`."""
