"""Pressure stall information: for how long tasks waited for a resource that was short.

`/proc/pressure/RESOURCE` counts, in microseconds since boot, the time in which *some* task
waited and the time in which *all* that were not idle did (`full`). A share of a span is the
counter's growth over the span's length (Linux, Documentation/accounting/psi.rst).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

RESOURCES = ("memory", "cpu", "io")


def parse(text: str) -> dict[str, float]:
    """Seconds since boot by kind (`some`, `full`) from a pressure file."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values = dict(pair.partition("=")[::2] for pair in pairs)
        if "total" in values:
            found[kind] = int(values["total"]) / 1e6
    return found


def stalled_s(folder: Path = Path("/proc/pressure")) -> Mapping[str, float]:
    """Seconds since boot in which some task waited, by resource.

    Empty where the kernel does not count it, or not for this user.
    """
    found: dict[str, float] = {}
    for name in RESOURCES:
        try:
            found[name] = parse((folder / name).read_text())["some"]
        except (OSError, KeyError, ValueError):
            continue
    return found
