"""The hypervisor's own word: the vendor that the CPUID instruction names.

QEMU without hardware assistance says `TCGTCGTCGTCG` there, whatever firmware and clocks look
like, and also below a hypervisor that itself runs in the emulated machine: in Xen's privileged
domain on an AMD processor the instruction is not intercepted for user programs. No file of the
kernel tells it, so the instruction is executed, from a page of a dozen bytes.

It lies this low in the house because every time limit asks for it (`patience`).
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import platform
import struct

TCG = "TCGTCGTCGTCG"
_LEAF = 0x4000_0000
_EMULATED_PATIENCE = 8

_CODE = bytes.fromhex(
    "53"        # push rbx, which belongs to the caller
    "89f8"      # mov eax, edi: the leaf
    "31c9"      # xor ecx, ecx
    "0fa2"      # cpuid
    "891e"      # mov [rsi], ebx
    "894e04"    # mov [rsi+4], ecx
    "895608"    # mov [rsi+8], edx
    "5b"        # pop rbx
    "c3"        # ret
)  # fmt: skip


def hypervisor_vendor() -> str | None:
    """The twelve letters of the hypervisor, or None where they cannot be read.

    They mean something only where the processor has the flag `hypervisor`.
    """
    if platform.machine() != "x86_64":
        return None
    try:
        page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    except OSError:
        return None  # a hardened kernel
    with page:
        page.write(_CODE)
        place = ctypes.c_char.from_buffer(page)
        call = ctypes.CFUNCTYPE(None, ctypes.c_uint32, ctypes.c_void_p)(ctypes.addressof(place))
        words = (ctypes.c_uint32 * 3)()
        call(_LEAF, ctypes.addressof(words))
        del call, place  # else the page stays exported and cannot be closed
    return vendor(*words)


@functools.cache
def patience() -> int:
    """By how much a time limit is longer here: on an emulated host all takes so much longer that
    what works would be taken for what hangs."""
    return _EMULATED_PATIENCE if hypervisor_vendor() == TCG else 1


def vendor(ebx: int, ecx: int, edx: int) -> str:
    """The letters in the three registers, in this order (KVM's have zeroes behind them)."""
    return struct.pack("<3I", ebx, ecx, edx).rstrip(b"\0").decode("ascii", errors="replace")
