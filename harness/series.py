"""The raw form of a time series: what the sampler writes, and what the report reads.

Text lines, appended as they come, so that a killed run loses at most its last line. A line is
a number row or begins with a letter:

    S {…}      a sampler begins (again): what was read before stands, instances start anew
    T {…}      the trial under way: `trial`, `experiment`, `runtime`
    A {…}      an instance begins: its number `n`, its name, and which counters it has
    n t a b …  a reading of instance n: time and counters, each less those of its last reading;
               trailing zeros are left out; a last word `P…` is its PSS in bytes, as it is
    R n        the instance has gone
    C {…}      what the sampler has cost so far

Differences make an idle instance's row about ten bytes. Times are nanoseconds of the host's
CLOCK_MONOTONIC.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from harness.model import Frozen

RAW = "timeseries.raw"
HOST = "host"
"""The name of the pseudo-instance that stands for the whole host."""

COUNTERS = (
    "cpu_ns", "throttled_ns", "memory_bytes", "rss_bytes",
    "read_bytes", "write_bytes", "receive_bytes", "transmit_bytes",
)  # fmt: skip
"""Every counter that an instance may have, in the order of columns; results/README.md."""

PSS = "pss_bytes"


class Cost(Frozen, frozen=True):
    """What one sampler has cost.

    `cpu_ns` is its CPU time while it sampled, `active_ns` for how long that was; `ticks` were
    made and `late` left out, because the one before took too long or the host was busy.
    `tick_ns_max` is the longest that one reading of all instances took, `instances` the most
    that lived at once.
    """

    hz: int
    cpu_ns: int = 0
    active_ns: int = 0
    ticks: int = 0
    late: int = 0
    tick_ns_max: int = 0
    instances: int = 0

    @property
    def share(self) -> float:
        """CPU time as a share of one core."""
        return self.cpu_ns / self.active_ns if self.active_ns else 0.0

    @property
    def achieved_hz(self) -> float:
        """Readings a second, over the time in which it sampled."""
        return self.ticks / (self.active_ns / 1e9) if self.active_ns else 0.0


class Reading(Frozen, frozen=True):
    """One row of the series. A counter that the instance does not have is None."""

    trial: str
    experiment: str
    runtime: str
    instance: str
    t_ns: int
    counters: tuple[int | None, ...]
    pss_bytes: int | None = None


def event(letter: str, said: object) -> bytes:
    """A line that is no reading."""
    return f"{letter} {json.dumps(said, separators=(',', ':'))}\n".encode()


def row(number: int, deltas: Sequence[int], pss_bytes: int | None) -> bytes:
    """A reading: `deltas` are those of the time and of each counter."""
    end = len(deltas)
    while end > 1 and not deltas[end - 1]:
        end -= 1
    words = " ".join(map(str, deltas[:end]))
    pss = "" if pss_bytes is None else f" P{pss_bytes}"
    return f"{number} {words}{pss}\n".encode()


class Reader:
    """Turns lines into readings; what it learns of costs is in `costs`, one a sampler.

    Lines that cannot be understood are counted in `damaged`: a killed run leaves one.
    """

    def __init__(self) -> None:
        self.costs: list[Cost] = []
        self.damaged = 0
        self._trial = ("", "", "")
        self._open: dict[int, _Open] = {}

    def read(self, lines: Iterable[bytes]) -> Iterator[Reading]:
        """Every reading, in the order in which it was taken."""
        for line in lines:
            try:
                found = self._line(line)
            except (ValueError, KeyError, TypeError):
                self.damaged += 1
                continue
            if found is not None:
                yield found

    def _line(self, line: bytes) -> Reading | None:
        if not line.endswith(b"\n"):
            raise ValueError("a torn line")
        letter = line[:1]
        if letter.isdigit():
            return self._reading(line.split())
        said = json.loads(line[2:])
        if letter == b"S":
            self._open.clear()
            self.costs.append(Cost(hz=int(said["hz"])))
        elif letter == b"T":
            self._trial = (str(said["trial"]), str(said["experiment"]), str(said["runtime"]))
        elif letter == b"A":
            places = [COUNTERS.index(name) for name in said["counters"]]
            self._open[int(said["n"])] = _Open(str(said["instance"]), self._trial, places)
        elif letter == b"R":
            self._open.pop(int(said), None)
        elif letter == b"C" and self.costs:
            self.costs[-1] = Cost(**said)
        return None

    def _reading(self, words: list[bytes]) -> Reading:
        instance = self._open[int(words[0])]
        pss = int(words.pop()[1:]) if words[-1].startswith(b"P") else None
        for place, word in enumerate(words[1:]):
            instance.last[place] += int(word)
        counters: list[int | None] = [None] * len(COUNTERS)
        for place, value in zip(instance.places, instance.last[1:], strict=True):
            counters[place] = value
        return Reading(
            *instance.trial, instance.name, instance.last[0], tuple(counters), pss_bytes=pss
        )


class _Open:
    """An instance that is being read: its last reading, to which the next is added."""

    def __init__(self, name: str, trial: tuple[str, str, str], places: list[int]) -> None:
        self.name = name
        self.trial = trial
        self.places = places
        self.last = [0] * (1 + len(places))


def last_cost(path: Path) -> Cost | None:
    """What the last sampler of a raw series has cost; None where none has said so."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(max(0, size - 65536))
        lines = file.read().splitlines(keepends=True)
    for line in reversed(lines):
        if line.startswith(b"C ") and line.endswith(b"\n"):
            with contextlib.suppress(ValueError, TypeError):  # torn, and another line after it
                return Cost(**json.loads(line[2:]))
    return None
