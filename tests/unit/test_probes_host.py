"""Facts of a host from the kernel's own texts."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import cpuid, process
from harness.errors import CommandFailed
from harness.probes import host


def processor(number: int, core: int, flags: str = "fpu sse2") -> str:
    return (
        f"processor\t: {number}\nvendor_id\t: GenuineIntel\nmodel name\t: A  Processor @ 3 GHz\n"
        f"physical id\t: 0\ncore id\t\t: {core}\nflags\t\t: {flags}\n\n"
    )


def test_threads_and_cores_are_told_apart() -> None:
    text = processor(0, 0) + processor(1, 0) + processor(2, 1) + processor(3, 1)
    assert host.parse_cpuinfo(text) == {
        "threads": 4, "cores": 2, "sockets": 1, "cpu_model": "A Processor @ 3 GHz",
        "cpu_vendor": "GenuineIntel", "hypervisor": False,
    }  # fmt: skip


def test_a_processor_that_tells_little_leaves_facts_out() -> None:
    text = "processor\t: 0\nBogoMIPS\t: 50\n\nHardware\t: Board\n"  # as on Arm
    assert host.parse_cpuinfo(text) == {"threads": 1}
    assert host.parse_cpuinfo("") == {}


def test_the_command_line_keeps_only_what_changes_a_measurement() -> None:
    line = "root=/dev/vda1 mitigations=off token=secret nosmt quiet psi=1 -- psi=0 mitigations=x"
    assert host.telling_parameters(line) == "mitigations=off nosmt psi=1"


def test_the_system_s_name() -> None:
    assert host.parse_os_release('NAME=x\nPRETTY_NAME="Debian GNU/Linux 12"\n') == (
        "Debian GNU/Linux 12"
    )
    assert host.parse_os_release("ID=x\n") is None


GUEST = processor(0, 0, "fpu hypervisor")


@pytest.mark.parametrize(
    ("cpuinfo", "dmi", "clocks", "hypervisor", "expected"),
    [
        (processor(0, 0), "Dell Inc.", ["tsc"], None, "none"),
        (GUEST, "QEMU Standard PC", ["tsc", "kvm-clock"], None, "KVM"),
        (GUEST, "QEMU Standard PC", ["tsc", "acpi_pm"], None, host.EMULATED),
        (GUEST, "Amazon EC2 m5.large", ["kvm-clock"], None, "Amazon EC2"),
        (GUEST, "", ["tsc", "kvm-clock"], None, "KVM"),
        (GUEST, "", ["hyperv_clocksource_tsc_page"], None, "Hyper-V"),
        (GUEST, "", ["tsc"], None, "unknown hypervisor"),
        (processor(0, 0), "", ["xen"], "xen", "Xen"),
        ("", "", [], None, None),
    ],
)
def test_the_hypervisor_is_told_or_left_out(
    cpuinfo: str, dmi: str, clocks: list[str], hypervisor: str | None, expected: str | None
) -> None:
    assert host.virtualization(cpuinfo, dmi, clocks, hypervisor) == expected


@pytest.mark.parametrize(
    ("cpuinfo", "hypervisor", "expected"),
    [
        (GUEST, None, host.EMULATED),
        (processor(0, 0), "xen", f"Xen on {host.EMULATED}"),
        (processor(0, 0), None, "none"),  # without a hypervisor the leaf holds anything
    ],
)
def test_emulation_tells_of_itself_whatever_firmware_and_clocks_say(
    cpuinfo: str, hypervisor: str | None, expected: str
) -> None:
    kind = host.virtualization(cpuinfo, "Dell Inc.", ["kvm-clock"], hypervisor, cpuid.TCG)
    assert kind == expected
    assert host.is_emulated(kind) == ("TCG" in expected)


def test_the_vendor_is_read_from_the_registers_in_their_order() -> None:
    assert cpuid.vendor(0x4B4D564B, 0x564B4D56, 0x4D) == "KVMKVMKVM"
    assert cpuid.vendor(0x54474354, 0x43544743, 0x47435447) == cpuid.TCG


def test_this_processor_answers_as_its_kernel_has_recorded() -> None:
    """Where there is a hypervisor, its leaf holds letters; the kernel tells whether there is."""
    told = cpuid.hypervisor_vendor()
    if told is None or not host.facts(Path("/"), Path("/")).get("hypervisor"):
        pytest.skip("no hypervisor below this host, or not x86-64")
    assert told.isprintable()
    assert told


MOUNTS = """\
21 1 254:0 / / rw,relatime - ext4 /dev/vda rw
22 21 0:5 / /run rw - tmpfs tmpfs rw
23 21 0:6 / /var/cache rw - xfs /dev/vdb rw
24 23 0:7 / /var/cache rw - btrfs /dev/vdc rw
25 21 0:8 / /with\\040space rw shared:1 - zfs pool rw
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/home/x", "ext4"), ("/run/user", "tmpfs"), ("/runner", "ext4"), ("/var/cache", "btrfs"),
     ("/with space/x", "zfs")],
)  # fmt: skip
def test_a_folder_lies_on_the_innermost_and_latest_mount(folder: str, kind: str) -> None:
    assert host.filesystem_of(Path(folder), MOUNTS) == kind


def test_no_mounts_no_filesystem() -> None:
    assert host.filesystem_of(Path("/x"), "") is None


def test_this_host_has_facts_of_the_promised_types(tmp_path: Path) -> None:
    facts = host.facts(tmp_path / "not" / "yet", tmp_path)
    assert {"kernel", "memory_bytes", "python", "cgroup", "threads"} <= facts.keys()
    assert all(isinstance(value, str | int | float | bool) for value in facts.values())
    assert facts["cache_filesystem"] == facts["results_filesystem"]


def test_time_limits_are_longer_where_the_processor_is_software(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    patience = cpuid.patience.__wrapped__
    monkeypatch.setattr(cpuid, "hypervisor_vendor", lambda: "KVMKVMKVM")
    assert patience() == 1
    monkeypatch.setattr(cpuid, "hypervisor_vendor", lambda: cpuid.TCG)
    assert patience() == 8
    monkeypatch.setattr(process, "patience", lambda: 8)
    assert process.run(["sleep", "0.2"], timeout_s=0.1).returncode == 0
    with pytest.raises(CommandFailed, match=r"no end after 0\.08 s"):
        process.run(["sleep", "5"], timeout_s=0.01)
