"""CPU time of the host and of processes, from /proc: busy, and what a hypervisor took away.

All figures are seconds counted in the kernel's ticks (10 ms as a rule), so that a short span
wants a control group's counter instead (harness/probes/cgroups.py). Time that the host gives
to guests is counted within `user` by the kernel, and is not added again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
_BUSY = ("user", "nice", "system", "irq", "softirq")


def parse_stat(text: str, ticks: int = _TICKS) -> dict[str, float]:
    """Seconds by kind, summed over all CPUs, from the first line of /proc/stat."""
    words = text.partition("\n")[0].split()[1:]
    return {name: int(word) / ticks for name, word in zip(_FIELDS, words, strict=False)}


def busy(seconds: Mapping[str, float]) -> float:
    """What was spent on anything at all; waiting for a disk and stolen time are not."""
    return sum(seconds.get(name, 0.0) for name in _BUSY)


def steal_share(seconds: Mapping[str, float]) -> float:
    """Stolen time as a share of all time, between 0 and 1."""
    total = sum(seconds.values())
    return seconds.get("steal", 0.0) / total if total else 0.0


def parse_process_stat(text: str, ticks: int = _TICKS) -> float:
    """User and system seconds of a process and of its collected children: /proc/PID/stat."""
    fields = text.rpartition(")")[2].split()  # the program's name may hold anything
    return sum(int(fields[index]) for index in (11, 12, 13, 14)) / ticks


def read_stat() -> dict[str, float]:
    """Seconds by kind since boot, summed over all CPUs."""
    return parse_stat(Path("/proc/stat").read_text())


def busy_s() -> float:
    """CPU seconds that the host has spent on anything, all CPUs together."""
    return busy(read_stat())


def steal_s() -> float:
    """CPU seconds that the host's own hypervisor gave to others; 0 where it tells nothing."""
    return read_stat().get("steal", 0.0)


def process_s(pid: int) -> float | None:
    """CPU seconds of a living process and its threads; None when it is gone.

    To the nanosecond where the kernel keeps schedstat, else in ticks, and then with the
    children that it waited for.
    """
    try:
        threads = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        if threads:
            return sum(int(text.split()[0]) for text in threads) / 1e9
        return parse_process_stat(Path(f"/proc/{pid}/stat").read_text())
    except OSError:
        return None


VULNERABILITIES = Path("/sys/devices/system/cpu/vulnerabilities")


def vulnerabilities() -> dict[str, str]:
    """What this kernel says of each CPU vulnerability, by its name."""
    return {path.name: path.read_text().strip() for path in VULNERABILITIES.glob("*")}


def mitigated(found: Mapping[str, str]) -> frozenset[str]:
    """The vulnerabilities against which a kernel has a mitigation at work."""
    return frozenset(name for name, text in found.items() if text.startswith("Mitigation"))


def count() -> int:
    """CPUs that are online."""
    return os.cpu_count() or 1
