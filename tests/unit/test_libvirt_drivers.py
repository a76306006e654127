"""What libvirt's other drivers are told, and what is read of what they tell."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.errors import RuntimeUnavailable
from harness.image.guest import OPTIONAL_MODULES
from harness.model import MIB
from runtimes.capabilities import find_kind, guest_kinds
from runtimes.container_xml import Bind, Container, container_xml
from runtimes.libvirt_daemon import daemon_config
from runtimes.privileges import CAPABILITIES
from runtimes.vendor_xml import VendorContainer, VendorMachine, openvz_xml, vmware_xml
from runtimes.xen import require_hypervisor, require_kind
from runtimes.xen_xml import XenMachine, xen_command_line, xen_xml

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
UUID = "6b35c797-4702-4f40-a8d3-0ae2ef4e56b9"

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


@pytest.mark.parametrize("name", DOMAINS)
def test_the_xml_is_the_golden_one(name: str) -> None:
    golden = GOLDEN / f"domain-{name}.xml"
    made = DOMAINS[name]()
    if os.environ.get("TAREBENCH_WRITE_GOLDEN"):
        golden.write_text(made)
    assert made == golden.read_text()


@pytest.mark.parametrize("name", DOMAINS)
def test_the_xml_is_valid_by_libvirts_schema(name: str) -> None:
    if shutil.which("virt-xml-validate") is None or shutil.which("xmllint") is None:
        pytest.skip("virt-xml-validate or xmllint is not installed")
    done = subprocess.run(
        ["virt-xml-validate", GOLDEN / f"domain-{name}.xml", "domain"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_container_keeps_what_other_containers_keep() -> None:
    kept = ElementTree.fromstring(container_xml(CONTAINER)).find("features/capabilities")
    assert kept is not None
    assert kept.get("policy") == "deny"
    assert [f"CAP_{e.tag.upper()}" for e in kept if e.get("state") == "on"] == list(CAPABILITIES)


def test_hostile_paths_stay_text() -> None:
    hostile = Path("/a'b\"<c>&/root")
    made = ElementTree.fromstring(container_xml(replace(CONTAINER, root=hostile)))
    source = made.find("devices/filesystem/source")
    assert source is not None
    assert source.get("dir") == str(hostile)


def test_capabilities_tell_what_is_offered() -> None:
    lxc = (GOLDEN / "capabilities-lxc.xml").read_text()
    assert {kind.arch for kind in guest_kinds(lxc)} == {"x86_64", "i686"}
    kind = find_kind(lxc, "exe", "x86_64", "lxc")
    assert kind is not None
    assert kind.emulator == "/usr/lib/libvirt/libvirt_lxc"
    assert find_kind(lxc, "hvm", "x86_64", "lxc") is None
    assert find_kind(lxc, "exe", "x86_64", "qemu") is None


def test_a_private_daemon_s_sockets_are_their_owner_s() -> None:
    said = daemon_config(Path("/run/tarebench/1/libvirtd-lxc"))
    assert said.count('"0700"') == 2
    assert "tcp" not in said
    assert "tls" not in said


def test_a_xen_guest_is_told_its_channel_its_disk_and_its_driver() -> None:
    kernel, _, agent = xen_command_line("off").partition(" -- ")
    assert "mitigations=off" in kernel.split()
    assert agent.split() == ["tty:/dev/hvc1", "root:/dev/xvda", "xen"]
    assert set(agent.split()) & set(OPTIONAL_MODULES) == {"xen"}


@pytest.mark.parametrize(
    ("kind", "privileged", "reason"),
    [
        (None, None, "there is no Xen below this kernel"),
        ("kvm", None, "there is not Xen but kvm below this kernel"),
        ("xen", "", "this is a guest of Xen"),
        ("xen", None, "this is a guest of Xen"),
    ],
)
def test_without_a_hypervisor_of_ours_the_reason_is_told(
    tmp_path: Path, kind: str | None, privileged: str | None, reason: str
) -> None:
    files = tmp_path / "type", tmp_path / "capabilities"
    for file, text in zip(files, (kind, privileged), strict=True):
        if text is not None:
            file.write_text(f"{text}\n")
    with pytest.raises(RuntimeUnavailable, match=reason) as caught:
        require_hypervisor(*files)
    assert caught.value.hint
    files[0].write_text("xen\n")
    files[1].write_text("control_d\n")
    require_hypervisor(*files)


def xen_capabilities(*kinds: tuple[str, str]) -> str:
    """The document's part that is looked at, as libxl writes it."""
    guests = "".join(
        f"<guest><os_type>{os_type}</os_type><arch name='x86_64'><wordsize>64</wordsize>"
        f"<emulator>/usr/libexec/xen/bin/qemu-system-i386</emulator><machine>{machine}</machine>"
        "<domain type='xen'/></arch></guest>"
        for os_type, machine in kinds
    )
    return f"<capabilities><host/>{guests}</capabilities>"


def test_a_xen_without_hardware_support_offers_pv_alone() -> None:
    only = xen_capabilities(("xen", "xenpv"))
    assert require_kind(only, "pv").machines == ("xenpv",)
    with pytest.raises(RuntimeUnavailable, match="runs no hvm guests, but pv"):
        require_kind(only, "hvm")
    every = xen_capabilities(("xen", "xenpv"), ("hvm", "xenfv"), ("xenpvh", "xenpvh"))
    assert require_kind(every, "pvh").machines == ("xenpvh",)
    assert require_kind(every, "hvm").emulator.endswith("qemu-system-i386")
    with pytest.raises(RuntimeUnavailable, match="none at all"):
        require_kind(xen_capabilities(), "pv")
