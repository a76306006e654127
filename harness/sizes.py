"""Sizes as people write them: `"128 MiB"`, `"2GB"`, or a number of bytes."""

from __future__ import annotations

import re

MAX_BYTES = 1 << 50
"""More than any host has; what is larger is a slip of the pen."""

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?B|B)?\s*", re.IGNORECASE)
_UNITS = {"B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40,
          "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}  # fmt: skip


def size_bytes(text: str | int) -> int:
    """The bytes that a size means. Raises ValueError, which names it."""
    if isinstance(text, str):
        match = _SIZE.fullmatch(text)
        if not match:
            raise ValueError(f"{text!r} is not a size")
        size = int(min(float(match[1]) * _UNITS[(match[2] or "B").upper()], 2.0 * MAX_BYTES))
    else:
        size = text
    if size > MAX_BYTES:
        raise ValueError(f"{text!r} is more than any host has")
    return size
