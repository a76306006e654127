"""The image as a whole disk that a machine boots by itself: firmware, boot loader, kernel.

It is laid out as distributions lay out the disks of their cloud images: a GPT with a BIOS boot
partition, an EFI system partition and the root. GRUB is on it twice, for either firmware, and
both find the same kernel, the same initramfs and the same configuration. The root partition
holds the very bytes of the form `ext4`. No root, no loop device and no mount is needed.

What differs from boot to boot, the kernel's command line, is not on the disk: it would be
another disk each time. The machine carries it as its one OEM string (SMBIOS type 11), which
GRUB reads. Such a structure has no field but the number of its strings, at offset 4; read as
a reference to a string, that number is the last string's, hence the only one's. Where that
line has the word `sign:`, GRUB gives a sign of its own on the debug port.
"""

from __future__ import annotations

import hashlib
import os
import struct
import uuid
from collections.abc import Sequence
from pathlib import Path

from harness import process
from harness.errors import ImageError
from harness.image.forms import derived, ext4, initramfs
from harness.image.guest import GuestKernel
from harness.image.store import read_record
from harness.model import MIB, Image

ROOT_PARTITION = 3
"""The number of the partition that holds the image."""

_SECTOR = 512
_LOADER_AT, _EFI_AT, _ROOT_AT = 1 * MIB, 2 * MIB, 66 * MIB
_GPT_BACKUP = MIB  # the second copy of the table lies behind the last partition
_BIOS_BOOT = "21686148-6449-6E6F-744E-656564454649"
_EFI_SYSTEM = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_LINUX_ROOT = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
_BOOT_CODE = 440  # of the first sector; behind it lies the table of a protective MBR
_CORE_SECTOR = 0x5C  # in boot.img: where the core image begins
_REST_SECTOR = _SECTOR - 12  # in the core image's first sector: where its others begin
_GRUB = Path("/usr/lib/grub")
_MODULES = ("part_gpt", "fat", "normal", "linux", "smbios", "boot", "regexp", "iorw")
_PREFIX = "(hd0,gpt2)/boot/grub"
_CONFIGURATION = """\
smbios --type 11 --get-string 4 --set words
if regexp 'sign:0x402' "$words"; then outb 0x402 2; fi
linux /vmlinuz $words
initrd /initramfs.cpio
boot
"""

TOOLS = (
    ("grub-mkimage", "grub-common"),
    ("sfdisk", "fdisk"),
    ("mformat", "mtools"),
)
"""Programs that make the disk, each with its Debian package."""

FIRMWARE_MODULES = (
    (_GRUB / "i386-pc" / "boot.img", "grub-pc-bin"),
    (_GRUB / "x86_64-efi" / "moddep.lst", "grub-efi-amd64-bin"),
)
"""GRUB itself, for either firmware."""


def missing_packages() -> list[str]:
    """Debian packages without which the disk cannot be made; empty where it can."""
    programs = [package for name, package in TOOLS if process.find_program(name) is None]
    return programs + [package for path, package in FIRMWARE_MODULES if not path.exists()]


def boot_disk(image: Image, kernel: GuestKernel) -> Path:
    """The disk, raw and sparse; made once. Raises ImageError where a tool is missing."""
    recipe = hashlib.sha256(f"{_MODULES} {_PREFIX} {_CONFIGURATION}".encode()).hexdigest()
    root, ram = ext4(image), initramfs(image, kernel)

    def make_whole(target: Path) -> None:
        if missing := missing_packages():
            raise ImageError("GRUB is not here", f"apt-get install {' '.join(missing)}")
        epoch = read_record(image.directory).recipe.epoch
        make(target, root, kernel.vmlinuz, ram, image.digest, epoch)

    return derived(image, f"disk-{kernel.version}-{recipe[:8]}.raw", make_whole)


def make(target: Path, root: Path, kernel: Path, ram: Path, digest: str, epoch: int) -> None:
    """The disk of these parts: the same bytes each time. `root` is a whole file system."""
    size = root.stat().st_size
    with target.open("wb") as file:
        file.truncate(_ROOT_AT + size + _GPT_BACKUP)
    process.run(["sfdisk", "--quiet", target], input=_table(size, digest).encode())
    parts = [target.with_name(f"{target.name}.{part}") for part in ("core", "boot.efi", "esp")]
    try:
        core, loader, system = parts
        _grub("i386-pc", core, ["biosdisk", *_MODULES])
        _grub("x86_64-efi", loader, _MODULES)
        _make_system_partition(system, loader, kernel, ram, digest, epoch)
        with target.open("r+b") as file:
            _write_loader(file.fileno(), core.read_bytes())
            copy_sparse(system, file.fileno(), _EFI_AT)
            copy_sparse(root, file.fileno(), _ROOT_AT)
            os.fsync(file.fileno())
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def _table(root_size: int, digest: str) -> str:
    """What sfdisk is told. Identities come from the digest, so that one image is one disk."""
    rows = [
        (_LOADER_AT, _EFI_AT - _LOADER_AT, _BIOS_BOOT),
        (_EFI_AT, _ROOT_AT - _EFI_AT, _EFI_SYSTEM),
        (_ROOT_AT, root_size, _LINUX_ROOT),
    ]
    lines = ["label: gpt", "unit: sectors", f"label-id: {_identity(digest, 0)}"]
    for number, (start, size, kind) in enumerate(rows, 1):
        lines.append(
            f"start={start // _SECTOR}, size={size // _SECTOR}, type={kind}, "
            f"uuid={_identity(digest, number)}"
        )
    return "\n".join(lines) + "\n"


def _identity(digest: str, number: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_OID, f"{digest} partition {number}")


def _grub(platform: str, target: Path, modules: Sequence[str]) -> None:
    """GRUB with these modules and those that they need; its configuration is beside it."""
    process.run(
        ["grub-mkimage", "--format", platform, "--prefix", _PREFIX, "--output", target, *modules]
    )


def _make_system_partition(
    target: Path, loader: Path, kernel: Path, ram: Path, digest: str, epoch: int
) -> None:
    """A FAT16 file system; large clusters, because firmware reads them one by one."""
    with target.open("wb") as file:
        file.truncate(_ROOT_AT - _EFI_AT)
    serial = f"{_identity(digest, 2).time_low:08x}"
    dated = {**os.environ, "SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"}

    def run(tool: str, *arguments: str | Path) -> None:
        process.run([tool, "-i", target, *arguments], env=dated)

    run("mformat", "-c", "8", "-N", serial, "-v", "TAREBENCH", "::")
    run("mmd", "::/EFI", "::/EFI/BOOT", "::/boot", "::/boot/grub")
    configuration = target.with_name(f"{target.name}.cfg")
    configuration.write_text(_CONFIGURATION)
    files = {
        "EFI/BOOT/BOOTX64.EFI": loader, "boot/grub/grub.cfg": configuration,
        "vmlinuz": kernel, "initramfs.cpio": ram,
    }  # fmt: skip
    try:
        for name, source in files.items():
            run("mcopy", source, f"::/{name}")
    finally:
        configuration.unlink()


def _write_loader(disk: int, core: bytes) -> None:
    """The BIOS's part of GRUB: boot code in the first sector, which loads the core image."""
    code = bytearray((_GRUB / "i386-pc" / "boot.img").read_bytes()[:_BOOT_CODE])
    struct.pack_into("<Q", code, _CORE_SECTOR, _LOADER_AT // _SECTOR)
    whole = bytearray(core)
    struct.pack_into("<Q", whole, _REST_SECTOR, _LOADER_AT // _SECTOR + 1)
    if len(whole) > _EFI_AT - _LOADER_AT:
        raise ImageError(f"GRUB has {len(whole)} bytes, too many for its partition")
    os.pwrite(disk, code, 0)
    os.pwrite(disk, whole, _LOADER_AT)


def copy_sparse(source: Path, target: int, offset: int) -> None:
    """Copy a file's data to an offset of another, leaving its holes out."""
    with source.open("rb") as file:
        descriptor, end = file.fileno(), source.stat().st_size
        at = 0
        while at < end:
            try:
                start = os.lseek(descriptor, at, os.SEEK_DATA)
            except OSError:  # ENXIO: nothing but a hole is left
                return
            at = os.lseek(descriptor, start, os.SEEK_HOLE)
            while start < at:
                start += os.copy_file_range(descriptor, target, at - start, start, offset + start)
