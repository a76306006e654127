"""Which machine a guest gets, as the parameters of its runtime say it, and what cannot be.

A choice is checked as a whole before anything is started: some of its parts exclude each
other, and QEMU or libvirt would say so late and in their own words, or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

from harness import process
from harness.errors import CommandFailed, DoesNotFit, RuntimeUnavailable
from harness.image.bootdisk import ROOT_PARTITION, missing_packages
from harness.model import MIB, Limits, Parameter

IMAGE = "image"
_DEFAULT_MEMORY_BYTES = 128 * MIB
_SLOW_LOADER = 3

PARAMETERS: Mapping[str, Parameter] = {
    "machine": Parameter("q35", ("q35", "pc", "microvm"), "QEMU's machine type"),
    "boot": Parameter(
        "kernel", ("kernel", "disk"), "QEMU loads the kernel, or a boot loader from the disk does"
    ),
    "firmware": Parameter("bios", ("bios", "uefi"), "what starts a boot from disk"),
    "bus": Parameter("virtio", ("virtio", "scsi"), "virtio-blk, or virtio-scsi"),
    "balloon": Parameter(
        "off", ("off", "on", "reporting"), "takes memory back; reporting: as it is freed"
    ),
    "storage": Parameter("qcow2", ("qcow2", "raw"), "the format of the guest's disk"),
    "disk": Parameter(
        IMAGE,
        (),
        "the image, or the path of a qcow2 disk of your own (a comma is %2C)",
    ),
    "cache": Parameter("none", ("none", "writeback"), "the cache mode of the guest's disk"),
}


@dataclass(frozen=True)
class Machine:
    """A machine that can be; `choose` makes it."""

    type: str
    boot: str
    firmware: str
    bus: str
    balloon: str
    raw: bool
    cache: str
    own_disk: Path | None
    """A disk of the user's own instead of the image's."""

    @property
    def device(self) -> str:
        """The disk's name in the guest, below /dev."""
        return "sda" if self.bus == "scsi" else "vda"

    @property
    def words(self) -> tuple[str, ...]:
        """What the guest's init is told: which optional modules to load, and where its root is."""
        asked = {"balloon": self.balloon != "off", "scsi": self.bus == "scsi"}
        words = [word for word, wanted in asked.items() if wanted]
        if self.own_disk is not None:
            return (*words, f"within:/dev/{self.device}")
        device = f"{self.device}{ROOT_PARTITION}" if self.from_disk else self.device
        return (*words, *[f"root:/dev/{device}"] * (device != "vda"))

    @property
    def from_disk(self) -> bool:
        """Whether firmware and boot loader have their part in the boot."""
        return self.boot == "disk"

    @property
    def way(self) -> str:
        """How the machine gets to its root: one way may work where another does not."""
        if self.own_disk is not None:
            return f"{self.type} {self.own_disk}"
        return f"{self.type} disk {self.firmware}" if self.from_disk else self.type

    @property
    def least_memory_bytes(self) -> int:
        """Below this the machine does not get as far as its kernel: GRUB on UEFI reads a kernel
        whole into the quarter of the free memory that it gives itself."""
        return (256 if self.firmware == "uefi" else 64) * MIB

    def ready_timeout_s(self, given_s: float, *, emulated: bool) -> float:
        """How long a guest may take. A boot loader reads the kernel by the firmware's calls, one
        for each 32 KiB: in software that takes several times as long as the rest of the boot."""
        return given_s * (_SLOW_LOADER if emulated and self.from_disk else 1)

    def memory_bytes(self, limits: Limits) -> int:
        """The guest's RAM, in whole MiB. Raises RuntimeUnavailable where it could not boot."""
        least = self.least_memory_bytes
        wanted = limits.memory_bytes or max(_DEFAULT_MEMORY_BYTES, least)
        if wanted < least:
            raise RuntimeUnavailable(
                f"this machine boots with no less than {least // MIB} MiB, and limits.memory is "
                f"{wanted // MIB} MiB",
                f"--set limits.memory={least // MIB}MiB, or more",
            )
        return -(-wanted // MIB) * MIB


def choose(given: Mapping[str, str]) -> Machine:
    """The machine of these parameters and the others' defaults. Raises DoesNotFit."""
    chosen = {key: given.get(key, known.default) for key, known in PARAMETERS.items()}
    from_disk = chosen["boot"] == "disk"
    if chosen["firmware"] == "uefi" and not from_disk:
        raise DoesNotFit(
            "firmware=uefi is for a boot from disk: a kernel that QEMU loads has no need of it",
            "add boot=disk",
        )
    if chosen["machine"] == "microvm" and from_disk:
        raise DoesNotFit(
            "a microvm starts a kernel and nothing else: its firmware boots no disk",
            "take machine=q35 or machine=pc for boot=disk",
        )
    own = None if chosen["disk"] == IMAGE else Path(unquote(chosen["disk"]))
    if own is not None:
        _check_own(own, from_disk, chosen["storage"])
    return Machine(
        type=chosen["machine"],
        boot=chosen["boot"],
        firmware=chosen["firmware"],
        bus=chosen["bus"],
        balloon=chosen["balloon"],
        raw=chosen["storage"] == "raw",
        cache=chosen["cache"],
        own_disk=own,
    )


def _check_own(disk: Path, from_disk: bool, storage: str) -> None:
    if not disk.is_absolute():
        raise DoesNotFit(f"disk={disk} is not an absolute path", f"write disk={disk.absolute()}")
    if from_disk:
        raise DoesNotFit(
            "a disk of your own is mounted by the image's kernel: its boot loader is not run",
            "leave boot=disk out",
        )
    if storage == "raw":
        raise DoesNotFit(
            "a disk of your own is never written: instances have an overlay over it",
            "leave storage=raw out",
        )


def require(machine: Machine, told: str) -> None:
    """Raise RuntimeUnavailable where this host lacks a part of the machine.

    `told` is the XML of libvirt's domain capabilities for its type.
    """
    if machine.own_disk is not None:
        _require_qcow2(machine.own_disk)
    capabilities = ElementTree.fromstring(told)
    buses = _values(capabilities, "devices/disk/enum[@name='bus']")
    if machine.bus not in buses:
        raise RuntimeUnavailable(
            f"libvirt offers no {machine.bus} disk on {machine.type} machines",
            f"it offers {', '.join(buses)}",
        )
    if machine.from_disk and (missing := missing_packages()):
        raise RuntimeUnavailable(
            "what makes a disk with a boot loader is not here",
            f"apt-get install {' '.join(missing)}",
        )
    if machine.firmware == "uefi" and "efi" not in _values(
        capabilities, "os/enum[@name='firmware']"
    ):
        raise RuntimeUnavailable(
            f"libvirt knows no UEFI firmware for {machine.type} machines", "apt-get install ovmf"
        )


def _require_qcow2(disk: Path) -> None:
    """Raise RuntimeUnavailable for what is no qcow2 disk, whole in one file."""
    try:
        told = process.run(["qemu-img", "info", "--force-share", "--output=json", disk]).stdout
        found = json.loads(told)
    except (CommandFailed, ValueError) as error:
        raise RuntimeUnavailable(f"{disk} cannot be read as a disk: {error}", "") from error
    if found.get("format") != "qcow2" or "backing-filename" in found:
        raise RuntimeUnavailable(
            f"{disk} is not a qcow2 disk that is whole in one file",
            f"qemu-img convert -O qcow2 {disk} whole.qcow2",
        )


def _values(capabilities: ElementTree.Element, path: str) -> list[str]:
    return [value.text or "" for value in capabilities.findall(f"{path}/value")]
