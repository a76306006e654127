"""Which machines can be: what excludes each other, and what a host may lack."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import process, registry
from harness.errors import DoesNotFit, RuntimeUnavailable
from harness.image import bootdisk
from harness.image.forms import overlay_disk
from harness.model import MIB, Limits
from runtimes import guest_machine
from runtimes.guest_machine import choose, require

TOLD = """\
<domainCapabilities>
  <os supported='yes'>
    <enum name='firmware'>{firmware}</enum>
    <loader supported='yes'><enum name='type'><value>pflash</value></enum></loader>
  </os>
  <devices>
    <disk supported='yes'>
      <enum name='bus'><value>virtio</value><value>scsi</value></enum>
    </disk>
  </devices>
</domainCapabilities>
"""
WITH_UEFI, WITHOUT_UEFI = (TOLD.format(firmware=each) for each in ("<value>efi</value>", ""))
UEFI = choose({"boot": "disk", "firmware": "uefi"})


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("qemu,firmware=uefi", "boot=disk"),
        ("kvm,machine=microvm,boot=disk", "machine=q35"),
        ("qemu,machine=microvm,boot=disk,firmware=uefi", "machine=q35"),
        ("qemu,disk=debian.qcow2", "/debian.qcow2"),
        ("qemu,disk=/debian.qcow2,boot=disk", "leave boot=disk out"),
        ("qemu,disk=/debian.qcow2,storage=raw", "leave storage=raw out"),
    ],
)
def test_what_excludes_each_other_is_refused_when_it_is_named(name: str, hint: str) -> None:
    with pytest.raises(DoesNotFit) as caught:
        registry.canonical(name)
    assert caught.value.exit_code == 2
    assert hint in caught.value.hint


def test_init_is_told_where_its_root_is() -> None:
    assert choose({}).words == ()
    assert choose({"bus": "scsi", "balloon": "on"}).words == ("balloon", "scsi", "root:/dev/sda")
    assert UEFI.words == ("root:/dev/vda3",)


def test_a_machine_that_could_not_boot_with_so_little_is_refused() -> None:
    assert choose({}).memory_bytes(Limits()) == 128 * MIB
    assert choose({}).memory_bytes(Limits(memory_bytes=100 * MIB - 1)) == 100 * MIB
    assert UEFI.memory_bytes(Limits()) == UEFI.memory_bytes(Limits(memory_bytes=256 * MIB))
    with pytest.raises(RuntimeUnavailable, match="no less than 256 MiB") as caught:
        UEFI.memory_bytes(Limits(memory_bytes=128 * MIB))
    assert "limits.memory=256MiB" in caught.value.hint


def test_a_boot_loader_in_software_is_given_more_time_and_nothing_else_is() -> None:
    disk = choose({"boot": "disk"})
    assert disk.ready_timeout_s(60, emulated=True) == UEFI.ready_timeout_s(60, emulated=True) == 180
    assert disk.ready_timeout_s(60, emulated=False) == 60
    assert choose({}).ready_timeout_s(60, emulated=True) == 60


def test_a_host_without_a_part_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_machine, "missing_packages", lambda: [])
    require(UEFI, WITH_UEFI)
    require(choose({"bus": "scsi"}), WITHOUT_UEFI)
    with pytest.raises(RuntimeUnavailable, match="no UEFI firmware for q35") as caught:
        require(UEFI, WITHOUT_UEFI)
    assert caught.value.hint == "apt-get install ovmf"
    with pytest.raises(RuntimeUnavailable, match="no scsi disk on q35"):
        require(choose({"bus": "scsi"}), WITHOUT_UEFI.replace("<value>scsi</value>", ""))
    monkeypatch.setattr(guest_machine, "missing_packages", lambda: ["mtools", "fdisk"])
    with pytest.raises(RuntimeUnavailable) as caught:
        require(UEFI, WITH_UEFI)
    assert caught.value.hint == "apt-get install mtools fdisk"


def test_packages_are_named_for_each_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "find_program", lambda name: None)
    assert bootdisk.missing_packages()[:3] == ["grub-common", "fdisk", "mtools"]


def test_a_disk_of_ones_own_is_qcow2_and_whole(tmp_path: Path) -> None:
    if process.find_program("qemu-img") is None:
        pytest.skip("qemu-img is not installed")
    raw, whole, part = (tmp_path / name for name in ("raw", "a,b.qcow2", "part.qcow2"))
    raw.write_bytes(bytes(1 << 20))
    process.run(["qemu-img", "convert", "-O", "qcow2", raw, whole])
    overlay_disk(whole, part, "qcow2")
    require(choose({"disk": str(whole).replace(",", "%2C")}), WITHOUT_UEFI)
    for wrong in (raw, part, tmp_path / "nothing"):
        with pytest.raises(RuntimeUnavailable, match=r"cannot be read|whole in one file"):
            require(choose({"disk": str(wrong)}), WITHOUT_UEFI)
