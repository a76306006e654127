"""Whether this host is quiet enough to measure on: a second of listening while we do nothing.

`tarebench run --strict` refuses to start where a reading is over its limit, and `tarebench
doctor` shows them all. Each says its number, its limit and what to do. Reading and judging are
apart: `judge` is a pure function of two looks at the host.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.model import Frozen
from harness.probes import cpu
from harness.probes.memory import swapped_pages

_LISTEN_S = 1.0
_LOAD_A_CPU = 0.5
_BUSY_SHARE, _BUSY_CPUS = 0.05, 0.5
"""Work of others may take this share of the host, and this many processors at most."""
_STEAL_SHARE = 0.01
_WAITING = {"cpu": 0.05, "memory": 0.01, "io": 0.05}
_WORTH_NAMING = 0.03
_NAMED = 3
_PSI = {
    "cpu": ("a processor", "end other work, or give the boxes more processors"),
    "memory": ("memory", "free memory: this host is about to swap or to reclaim"),
    "io": ("a disk", "wait until writing has ended (`sync`), or use another disk"),
}


class Reading(Frozen, frozen=True):
    """One kind of noise: `value` and `limit` are numbers, `text` says them, `remedy` what to do."""

    name: str
    value: float
    limit: float
    text: str
    remedy: str

    @property
    def noisy(self) -> bool:
        """Whether it is over its limit."""
        return self.value > self.limit


@dataclass(frozen=True)
class Look:
    """What a host has counted so far: CPU seconds by kind, pages swapped, seconds in which
    something waited, and CPU seconds by process (pid and name)."""

    at_s: float
    cpu_s: Mapping[str, float]
    load: float | None
    swapped: int
    waited_s: Mapping[str, float]
    processes: Mapping[tuple[int, str], float] = field(default_factory=dict)


def listen(seconds: float = _LISTEN_S) -> Sequence[Reading]:
    """Every reading of this host, after a control period in which we are idle."""
    before = look()
    time.sleep(seconds)  # the length of the period is what is asked for
    return judge(before, look(), cpu.count())


def look() -> Look:
    """Counters of this host, now."""
    return Look(
        at_s=time.monotonic(), cpu_s=cpu.read_stat(), load=_load(),
        swapped=swapped_pages(), waited_s=dict(_waited()), processes=dict(_processes()),
    )  # fmt: skip


def judge(before: Look, after: Look, cpus: int) -> Sequence[Reading]:
    """All that these two looks tell; what the kernel does not count is absent."""
    span_s = after.at_s - before.at_s
    spent = {kind: after.cpu_s[kind] - was for kind, was in before.cpu_s.items()}
    found = []
    if after.load is not None:
        limit = _LOAD_A_CPU * cpus
        found.append(
            Reading("load", after.load, limit,
                    f"{after.load:.2f} over the last minute, limit {limit:.2f}",
                    "wait a minute after other work has ended; `uptime` shows it fall")
        )  # fmt: skip
    busy, limit = cpu.busy(spent) / span_s, min(_BUSY_CPUS, _BUSY_SHARE * cpus)
    found.append(
        Reading("busy", busy, limit,
                f"{busy:.2f} processors busy while we were idle, limit {limit:.2f}"
                f"{_blamed(before, after, span_s)}",
                "end what is named, or measure when it is over")
    )  # fmt: skip
    share = cpu.steal_share(spent)
    found.append(
        Reading("steal", share, _STEAL_SHARE,
                f"{share:.1%} of the time given to other machines, limit {_STEAL_SHARE:.1%}",
                "the hypervisor below is shared: use a dedicated machine, or another hour")
    )  # fmt: skip
    pages = after.swapped - before.swapped
    found.append(
        Reading("swap", pages, 0, f"{pages} pages swapped in that second, limit 0",
                "free memory, or `swapoff -a` where enough of it is free")
    )  # fmt: skip
    return [*found, *_waiting(before, after, span_s)]


def _waiting(before: Look, after: Look, span_s: float) -> Iterator[Reading]:
    for kind, (what, remedy) in _PSI.items():
        if kind in before.waited_s and kind in after.waited_s:
            share = (after.waited_s[kind] - before.waited_s[kind]) / span_s
            yield Reading(
                f"pressure_{kind}", share, _WAITING[kind],
                f"something waited for {what} in {share:.0%} of the time, "
                f"limit {_WAITING[kind]:.0%}",
                remedy,
            )  # fmt: skip


def _blamed(before: Look, after: Look, span_s: float) -> str:
    """The processes that were busiest, by name: whoever reads this wants to know whom to end."""
    used = {
        who: (spent - before.processes[who]) / span_s
        for who, spent in after.processes.items()
        if who in before.processes
    }
    worst = sorted(used.items(), key=lambda item: -item[1])[:_NAMED]
    named = [
        f"{name} (pid {pid}) {share:.2f}" for (pid, name), share in worst if share >= _WORTH_NAMING
    ]
    return f": {', '.join(named)}" if named else ""


def _load() -> float | None:
    try:
        return float(Path("/proc/loadavg").read_text().split()[0])
    except OSError:
        return None


def _waited() -> Iterator[tuple[str, float]]:
    """Seconds in which some task waited, by kind; nothing where PSI is off."""
    for kind in _PSI:
        with contextlib.suppress(OSError, ValueError, IndexError):
            some = Path(f"/proc/pressure/{kind}").read_text().splitlines()[0]
            yield kind, int(some.rpartition("total=")[2]) / 1e6


def _processes() -> Iterator[tuple[tuple[int, str], float]]:
    """CPU seconds of every process but ourselves, collected children left out."""
    ticks = os.sysconf("SC_CLK_TCK")
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = path.read_text(errors="replace").rpartition(")")
            pid, name = int(path.parent.name), head.partition("(")[2]
            if pid != os.getpid():
                words = rest.split()
                yield (pid, name), (int(words[11]) + int(words[12])) / ticks
