"""The kernel inside a bzImage, and what its modules need."""

from __future__ import annotations

import gzip
import lzma
import struct
from pathlib import Path

import pyarrow
import pytest

from harness.errors import ImageError
from harness.image.bzimage import extract_vmlinux, has_pvh_entry
from harness.image.guest import GuestKernel, module_needs, required_modules

ELF = b"\x7fELF" + bytes(range(256)) * 8 + b"ab" * 5000


def bzimage(payload: bytes) -> bytes:
    """A boot sector, one setup sector and a payload 16 bytes behind them."""
    setup = bytearray(1024)
    setup[0x1F1] = 1
    setup[0x202:0x206] = b"HdrS"
    setup[0x248:0x250] = struct.pack("<II", 16, len(payload))
    return bytes(setup) + bytes(16) + payload + b"trailing"


def lz4_sequence(literals: bytes, distance: int, length: int) -> bytes:
    """One sequence with a long run of literals and a long match."""
    rest = len(literals) - 15
    more = length - 19
    return (
        bytes((0xFF,))
        + b"\xff" * (rest // 255) + bytes((rest % 255,)) + literals
        + struct.pack("<H", distance)
        + b"\xff" * (more // 255) + bytes((more % 255,))
    )  # fmt: skip


def lz4_legacy(*blocks: bytes) -> bytes:
    frames = b"".join(struct.pack("<I", len(block)) + block for block in blocks)
    return b"\x02\x21\x4c\x18" + frames + bytes(4)


def zstd(data: bytes) -> bytes:
    packed = pyarrow.compress(data, codec="zstd", asbytes=True)
    return bytes(packed) + struct.pack("<I", len(data))


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, lzma.compress, zstd])
def test_known_packings(pack: object) -> None:
    assert callable(pack)
    assert extract_vmlinux(bzimage(pack(ELF))) == ELF


def test_lz4_with_overlapping_matches_and_two_blocks() -> None:
    head = b"\x7fELF" + bytes(range(20))
    first = lz4_sequence(head + b"ab", 2, 1000) + bytes((0x10,)) + b"!"
    second = lz4_sequence(b"x" * 300, 300, 50) + bytes((0x20,)) + b"yz"
    want = head + b"ab" + b"ab" * 500 + b"!" + b"x" * 350 + b"yz"
    assert extract_vmlinux(bzimage(lz4_legacy(first, second))) == want


@pytest.mark.parametrize(
    "image",
    [
        b"",
        b"no kernel" * 1000,
        bzimage(b"\x28\xb5\x2f\xfd of 1.7 GB: king"),
        bzimage(b"\x28\xb5\x2f\xfd no such frame\xff\xff\0\0"),
        bzimage(zstd(ELF)[:-8] + struct.pack("<I", len(ELF))),
        bzimage(b"\x89LZO is not known"),
        bzimage(gzip.compress(b"not an ELF file")),
        bzimage(b"\x02\x21\x4c\x18\xff\xff\xff\xff\xf0"),
        bzimage(ELF)[:-500],
    ],
)
def test_what_is_not_known_is_none(image: bytes) -> None:
    assert extract_vmlinux(image) is None


def test_the_pvh_note_is_seen() -> None:
    assert has_pvh_entry(ELF + struct.pack("<III", 4, 8, 18) + b"Xen\0")
    assert not has_pvh_entry(ELF)


def module(directory: Path, name: str, needs: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.ko").write_bytes(b"ELF\0license=GPL\0depends=" + needs.encode() + b"\0x")


def test_modules_come_after_what_they_need(tmp_path: Path) -> None:
    kernel = GuestKernel("1.0", "1.0-1", tmp_path, None, tmp_path)
    drivers = kernel.modules_directory / "kernel"
    module(drivers / "a", "virtio-blk", "virtio,virtio_ring")
    module(drivers / "b", "virtio", "")
    module(drivers / "b", "virtio_ring", "virtio,crc32c")
    (kernel.modules_directory / "modules.builtin").write_text("kernel/lib/crc32c.ko\n")
    names = [module.name for module in required_modules(kernel, ("virtio_blk", "virtio"))]
    assert names == ["virtio.ko", "virtio_ring.ko", "virtio-blk.ko"]
    with pytest.raises(ImageError, match="no module missing"):
        required_modules(kernel, ("missing",))


def test_modules_of_debian_13_are_below_usr_and_packed(tmp_path: Path) -> None:
    drivers = tmp_path / "root" / "usr" / "lib" / "modules" / "1.0" / "kernel"
    kernel = GuestKernel("1.0", "1.0-1", tmp_path, None, tmp_path)
    module(drivers, "virtio-blk", "virtio")
    module(drivers, "virtio", "")
    (kernel.modules_directory / "modules.builtin").touch()
    plain = required_modules(kernel, ("virtio_blk",))
    for file in drivers.iterdir():
        file.with_name(f"{file.name}.xz").write_bytes(lzma.compress(file.read_bytes()))
        file.unlink()
    assert required_modules(kernel, ("virtio_blk",)) == plain
    (drivers / "virtio.ko.xz").write_bytes(b"no archive")
    with pytest.raises(ImageError, match=r"virtio\.ko\.xz cannot be unpacked"):
        required_modules(kernel, ("virtio_blk",))


def test_names_are_written_one_way() -> None:
    assert module_needs(b"\0depends=a-b,c\0") == ["a_b", "c"]
    assert module_needs(b"\0depends=\0") == []
    assert module_needs(b"no such field") == []
