"""The benchmark of 7-Zip (`7zr b`): how fast it packs and unpacks its own test data with LZMA."""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.model import Sample
from harness.parsers import unreadable

_KIB = 1024
_SIDE = r"[ \t]+(\d{1,15})(?:[ \t]+\d{1,15}){3}[ \t]*"
"""KiB a second, then percent of a CPU and two ratings."""

_AVERAGE = re.compile(rf"^Avr:{_SIDE}\|{_SIDE}$", re.MULTILINE)


def samples(output: bytes) -> Sequence[Sample]:
    """`compress` and `decompress`: bytes of plain data a second. Raises OutputUnreadable."""
    found = _AVERAGE.search(output.decode(errors="replace"))
    if found is None:
        raise unreadable("7-Zip printed no averages", output)
    return [
        Sample("compress", float(found[1]) * _KIB, "1/s"),
        Sample("decompress", float(found[2]) * _KIB, "1/s"),
    ]
