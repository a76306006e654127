"""Take the uncompressed kernel out of a bzImage, so that a guest need not do it at each boot.

A guest that is started from a bzImage first unpacks itself, which costs hundreds of
milliseconds of emulated CPU. QEMU's `-kernel` also takes the ELF file inside, by its PVH note.
The layout is in the kernel's Documentation/arch/x86/boot.rst.
"""

from __future__ import annotations

import lzma
import struct
import sys
import zlib

from harness import process
from harness.errors import CommandFailed

_ELF = b"\x7fELF"
_LZ4_LEGACY = b"\x02\x21\x4c\x18"
_ZSTD = b"\x28\xb5\x2f\xfd"
_BY_ARROW = """
import pyarrow, sys
packed = sys.stdin.buffer.read()
sys.stdout.buffer.write(pyarrow.decompress(packed, int(sys.argv[1]), codec="zstd"))
"""
_LARGEST_BYTES = 2**30


def extract_vmlinux(image: bytes) -> bytes | None:
    """The ELF kernel inside a bzImage; None where the packing is not one that we know."""
    payload = _payload(image)
    if payload is None:
        return None
    try:
        kernel = _unpacked(payload)
    except (ValueError, IndexError, struct.error, zlib.error, lzma.LZMAError, CommandFailed):
        return None
    return kernel if kernel is not None and kernel.startswith(_ELF) else None


def has_pvh_entry(kernel: bytes) -> bool:
    """Whether QEMU can start this ELF file directly: it has the note XEN_ELFNOTE_PHYS32_ENTRY."""
    return struct.pack("<III", 4, 4, 18) + b"Xen\0" in kernel or (
        struct.pack("<III", 4, 8, 18) + b"Xen\0" in kernel
    )


def _payload(image: bytes) -> bytes | None:
    if len(image) < 0x250 or image[0x202:0x206] != b"HdrS":
        return None
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start : start + length]
    return payload if len(payload) == length else None


def _unpacked(payload: bytes) -> bytes | None:
    if payload.startswith(_ELF):
        return payload
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload)
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(payload)
    # Behind the data of these two the kernel's build appends the unpacked size.
    if payload.startswith(_LZ4_LEGACY):
        return _lz4_legacy(payload[4:-4])
    if payload.startswith(_ZSTD):
        return _zstd(payload[:-4], int.from_bytes(payload[-4:], "little"))
    return None


def _zstd(data: bytes, size: int) -> bytes:
    """By Arrow, which is here for Parquet: Python knows this packing since 3.14. In a process of
    its own, for what measures stays small."""
    if size > _LARGEST_BYTES:
        raise ValueError(f"a kernel of {size} bytes")
    return process.run([sys.executable, "-c", _BY_ARROW, str(size)], input=data).stdout


def _lz4_legacy(data: bytes) -> bytes:
    """The frames of `lz4 -l`: blocks with their packed size before them."""
    blocks, at = [], 0
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at)
        blocks.append(_lz4_block(data[at + 4 : at + 4 + size]))
        at += 4 + size
    return b"".join(blocks)


def _lz4_block(data: bytes) -> bytes:
    """One LZ4 block (lz4_Block_format.md). Plain Python: seconds, but only once a kernel."""
    out, at, end = bytearray(), 0, len(data)
    while at < end:
        token = data[at]
        at += 1
        literals = token >> 4
        if literals == 15:
            literals, at = _more(data, at, 15)
        out += data[at : at + literals]
        at += literals
        if at >= end:
            break  # the last sequence has no match
        distance = data[at] | data[at + 1] << 8
        at += 2
        length = token & 15
        if length == 15:
            length, at = _more(data, at, 15)
        length += 4
        start = len(out) - distance
        if distance >= length:
            out += out[start : start + length]
        else:  # the match overlaps what it makes: a repeated pattern
            pattern = out[start:]
            out += (pattern * (length // distance + 1))[:length]
    return bytes(out)


def _more(data: bytes, at: int, length: int) -> tuple[int, int]:
    while True:
        byte = data[at]
        at += 1
        length += byte
        if byte != 255:
            return length, at
