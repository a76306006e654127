"""What another tool's file tells, before it is a run of ours: values by subject, and no more.

Text in such a file is somebody else's: it is cut and cleaned here, once, so that no name can
move a terminal's cursor, and numbers that cannot be measurements are refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from harness.analysis.units import plural
from harness.errors import UsageError

WALL, MEMORY = "imported.wall", "imported.memory"

_LONGEST_NAME = 200


@dataclass(frozen=True)
class Measurement:
    """One execution: its values by metric; with a `failure`, it has none. A time of 0 is one
    that the tool could not tell, and is left out: `too_short`."""

    values: Mapping[str, float]
    failure: str = ""
    conditions: Mapping[str, str | float | int] = field(default_factory=dict)

    @property
    def too_short(self) -> bool:
        """Whether the tool found no time in it."""
        return not self.failure and WALL not in self.values


@dataclass(frozen=True)
class Subject:
    """What was measured: a command, a test. In a run it stands where a runtime does."""

    name: str
    measurements: Sequence[Measurement]


@dataclass(frozen=True)
class Foreign:
    """A file of another tool. `order` is a sentence on how it ran things; `unknown` lists what it
    does not tell of the measurement."""

    tool: str
    version: str
    subjects: Sequence[Subject]
    order: str
    unknown: Sequence[str]
    host: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    measured_utc: str = ""
    left_out: Sequence[str] = ()


def plain(text: object) -> str:
    """Text on one line, without anything that a terminal would obey, and not without end."""
    words = "".join(c if c.isprintable() else " " for c in str(text))
    words = " ".join(words.split())
    return words if len(words) <= _LONGEST_NAME else f"{words[: _LONGEST_NAME - 1]}…"


def unique(names: Iterable[str]) -> Sequence[str]:
    """The same names, a number behind each that was there before: `sleep 1`, `sleep 1 #2`."""
    seen: dict[str, int] = {}
    found: list[str] = []
    for name in names:
        told = plain(name) or "(no name)"
        seen[told] = seen.get(told, 0) + 1
        found.append(told if seen[told] == 1 else f"{told} #{seen[told]}")
    return found


def untold(subjects: Iterable[Subject]) -> Sequence[str]:
    """A sentence on the executions that have no time, where there are any."""
    count = sum(each.too_short for subject in subjects for each in subject.measurements)
    return (f"{plural(count, 'time')} of 0, too short for the tool to tell",) if count else ()


def checked(value: float, where: str) -> float:
    """A time or a size as a measurement can be; raises UsageError with the place."""
    if not math.isfinite(value) or value < 0:
        raise UsageError(
            f"{where} is {value}, which nobody can have measured", "the file is damaged"
        )
    return float(value)
