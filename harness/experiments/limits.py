"""Whether an instance really got the limits that it was given, seen from inside.

Containers see their own control group's files, guests their processors and memory. Where the
box shows neither (a chroot has no cgroup mount), the host reads the group's files.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.model import Instance, Limits, LimitSupport, RuntimeClass, Support

_WITHOUT_OWN_VIEW = (RuntimeClass.BARE, RuntimeClass.JAIL)
"""Boxes that see the host's control groups, or none: only the host can tell their own."""

_GUEST_MEMORY_SHARE = 0.55
"""A guest's kernel keeps part of its RAM for itself: at least this share must be visible."""


def mismatches(
    instance: Instance, kind: RuntimeClass, limits: Limits, support: LimitSupport
) -> Sequence[str]:
    """What differs from the limits asked for, in words; empty when all hold.

    What the runtime says it cannot limit is not looked at: it is recorded as unsupported.
    """
    seen = instance.facts() if kind not in _WITHOUT_OWN_VIEW else {}
    found: list[str] = []
    if support.memory is Support.SUPPORTED and limits.memory_bytes is not None:
        found += _memory(seen, instance.cgroups(), kind, limits.memory_bytes)
    if support.cpus is Support.SUPPORTED and limits.cpus is not None:
        found += _cpus(seen, instance.cgroups(), kind, limits.cpus)
    if support.pids is Support.SUPPORTED and limits.pids is not None:
        value = _value(seen, instance.cgroups(), ("pids.max",), "v1.pids.max", "v2.pids.max")
        if value != str(limits.pids):
            found.append(f"pids are {value or 'unlimited'}, not {limits.pids}")
    return found


def _memory(
    seen: Mapping[str, str], groups: Sequence[Path], kind: RuntimeClass, asked: int
) -> Sequence[str]:
    if kind.is_machine:
        total = int(seen["meminfo"].split("MemTotal:")[1].split()[0]) * 1024
        right = asked * _GUEST_MEMORY_SHARE <= total <= asked
        return [] if right else [f"the guest has {total} bytes of memory, not about {asked}"]
    files = ("memory.limit_in_bytes", "memory.max")
    value = _value(seen, groups, files, "v1.memory.limit", "v2.memory.max")
    if value is None or not value.isdigit() or abs(int(value) - asked) > 4096:
        return [f"the memory limit is {value or 'absent'}, not {asked}"]
    return []


def _cpus(
    seen: Mapping[str, str], groups: Sequence[Path], kind: RuntimeClass, asked: float
) -> Sequence[str]:
    if kind.is_machine:
        right = int(seen["cpus"]) == math.ceil(asked)
        return [] if right else [f"the guest has {seen['cpus']} CPUs, not {math.ceil(asked)}"]
    quota = _value(seen, groups, ("cpu.cfs_quota_us",), "v1.cpu.quota_us")
    period = _value(seen, groups, ("cpu.cfs_period_us",), "v1.cpu.period_us")
    if quota is None or period is None:
        quota, _, period = (_value(seen, groups, ("cpu.max",), "v2.cpu.max") or "max 1").partition(
            " "
        )
    share = float(quota) / float(period) if quota.lstrip("-").isdigit() else math.inf
    if share < 0 or abs(share - asked) > 0.01 * asked:
        return [f"the CPU quota is {quota}/{period}, not {asked:g} CPUs"]
    return []


def _value(
    seen: Mapping[str, str], groups: Sequence[Path], files: Sequence[str], *keys: str
) -> str | None:
    """A limit as the box sees it, else as its group's file on the host says.

    A box that sees none may lie in a part of the tree below the one that has the limit.
    """
    inside = next((seen[key].strip() for key in keys if key in seen), None)
    if inside is not None and not inside.startswith("max"):
        return inside
    for path in (group / file for group in groups for file in files):
        if path.is_file():
            return path.read_text().strip()
    return inside
