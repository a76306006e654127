"""When a run has enough: fixed blocks, or an interval narrower than asked, or a time budget.

The interval is the distribution-free one of the median between two order statistics
(Conover, Practical Nonparametric Statistics, 3.2). It is looked at after whole blocks only, and
the run goes on in whole blocks until every runtime is known well enough: what is compared is
paired within its block, and a runtime that left early would be compared with other hours.

Looking again and again costs coverage: who stops at a 95 % interval that happens to be narrow
keeps one that covers 91 to 98 %. So it is the 99 % interval that must be as narrow as asked; the
95 % interval between order statistics then covers 94 to 100 %, and the report's, a bootstrap, 93 to
99 % (docs/stopping.md has the simulation, tests/unit/test_stopping.py repeats it). Which rule ended
the run is recorded with it.
"""

from __future__ import annotations

import functools
import json
import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from statistics import median

from harness.errors import UsageError
from harness.metrics import DECIDING, HEADLINES
from harness.model import Frozen, Outcome, Sample, TrialRecord

CONFIDENCE = 0.99
MAX_BLOCKS = 1000
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_LAST_RESORT = "memory"
"""Decides only where no other experiment does: what an idle box holds may be next to nothing."""


class Stop(StrEnum):
    """Which rule ended a run."""

    UNTIL = "until"
    BUDGET = "time budget"
    BLOCKS = "blocks"
    NOTHING = "nothing measured"


class Known(Frozen, frozen=True):
    """How well one median is known: `half_width` is that of its 99 % interval over the median.

    None stands for what has no interval: too few values, or a median that is not positive.
    """

    experiment: str
    runtime: str
    metric: str
    dimensions: dict[str, str]
    values: int
    half_width: float | None


_Key = tuple[str, str, str, str]
"""Experiment, runtime, metric and dimensions of what is known by itself."""


class Tally:
    """What trials have told so far, for a rule to decide by: a double a value.

    Nothing else of a record is kept: it is some KiB, and a run of days must not grow by each.
    """

    def __init__(self, metrics: Iterable[str], records: Iterable[TrialRecord] = ()) -> None:
        self._metrics = frozenset(metrics)
        self._values: dict[_Key, array[float]] = {}
        self._blocks: set[int] = set()
        for record in records:
            self.add(record)

    def add(self, record: TrialRecord) -> None:
        """Count a trial that has ended; one value each (a trial's own median)."""
        if record.warmup:
            return
        self._blocks.add(record.block)
        if record.outcome is not Outcome.OK:
            return
        own: dict[_Key, list[float]] = {}
        for sample in record.samples:
            if sample.metric in self._metrics:
                own.setdefault(_key(record, sample), []).append(sample.value)
        for key, several in own.items():
            self._values.setdefault(key, array("d")).append(median(several))

    @property
    def blocks(self) -> int:
        """The measured blocks that the trials were in."""
        return len(self._blocks)

    def known(self) -> Sequence[Known]:
        """How well each median is known."""
        return [
            Known(
                experiment=experiment, runtime=runtime, metric=metric,
                dimensions=json.loads(dimensions), values=len(each), half_width=half_width(each),
            )
            for (experiment, runtime, metric, dimensions), each in self._values.items()
        ]  # fmt: skip


def _key(record: TrialRecord, sample: Sample) -> _Key:
    dimensions = json.dumps(sample.dimensions, sort_keys=True)
    return record.experiment, record.runtime, sample.metric, dimensions


class Rule(Frozen, frozen=True):
    """`relative_width` is half the interval over the median; None where not asked for.

    `metrics` are those whose medians decide.
    """

    blocks: int
    relative_width: float | None = None
    budget_s: float | None = None
    metrics: tuple[str, ...] = ("startup.ready",)

    def text(self) -> str:
        parts = []
        if self.relative_width is not None:
            parts.append(
                f"until every median of {' and '.join(self.metrics)} is known to "
                f"±{self.relative_width:.1%}"
            )
        if self.budget_s is not None:
            parts.append(f"within {self.budget_s:g} s")
        limit = f"at most {self.blocks} blocks" if parts else f"fixed: {self.blocks} blocks"
        return ", ".join([*parts, limit])

    def stops(self, tally: Tally, elapsed_s: float) -> Stop | None:
        """Whether to stop after the measured block that has just ended, and by which rule.

        A runtime of which no trial has succeeded holds nobody up; when that is all of them,
        going on would tell nothing.
        """
        if self.relative_width is not None:
            found = tally.known()
            if found and all(self.is_enough(each) for each in found):
                return Stop.UNTIL
            if not found and tally.blocks >= fewest(CONFIDENCE):
                return Stop.NOTHING
        if self.budget_s is not None and elapsed_s >= self.budget_s:
            return Stop.BUDGET
        return None

    @property
    def is_open(self) -> bool:
        """Whether the data or a clock may end the run before its last planned block."""
        return self.relative_width is not None or self.budget_s is not None

    def goal(self, tally: Tally) -> str:
        """How far the run is from what it was asked for, in words; empty where blocks are fixed."""
        if self.relative_width is None:
            return ""
        found = tally.known()
        if not found:
            return f"nothing known to ±{self.relative_width:.1%} yet"
        enough = sum(map(self.is_enough, found))
        worst = max(found, key=lambda each: math.inf if each.half_width is None else
                    each.half_width)  # fmt: skip
        how = "not known yet" if worst.half_width is None else f"±{worst.half_width:.1%}"
        return (
            f"{enough} of {len(found)} medians known to ±{self.relative_width:.1%}, "
            f"the least {worst.runtime}: {how}"
        )

    def left_s(self, planned_s: float | None, elapsed_s: float) -> float | None:
        """How long the run may still take, given what its plan would; None when unknown."""
        left = None if self.budget_s is None else max(0.0, self.budget_s - elapsed_s)
        if self.relative_width is not None or planned_s is None:
            return left
        return planned_s if left is None else min(planned_s, left)

    def is_enough(self, known: Known) -> bool:
        """Whether a median is known as well as was asked for."""
        wanted = self.relative_width
        return wanted is not None and known.half_width is not None and known.half_width <= wanted


def deciding(experiments: Iterable[str], relative_width: float | None) -> tuple[str, ...]:
    """The metrics whose medians decide in a scenario with these experiments; none without a
    width. Raises UsageError where no experiment has one.
    """
    if relative_width is None:
        return ()
    found = {
        name: DECIDING.get(name) or next(iter(HEADLINES.get(name, ())), None)
        for name in experiments
    }
    chosen = [metric for name, metric in found.items() if metric and name != _LAST_RESORT]
    chosen = chosen or [metric for metric in found.values() if metric]
    if not chosen:
        raise UsageError(
            "--until has nothing to go by: no experiment of the scenario has a headline metric",
            "--repeat sets the number of blocks",
        )
    return tuple(dict.fromkeys(chosen))


def fewest(confidence: float) -> int:
    """The fewest values whose whole range holds the median with this confidence: all n of them
    lie on one side of it with probability 2^(1-n)."""
    return math.ceil(1 - math.log2(1 - confidence) - 1e-9)


def half_width(values: Sequence[float], confidence: float = CONFIDENCE) -> float | None:
    """Half the interval of the median over the median; None where there is none."""
    n, middle = len(values), median(values) if values else 0.0
    if n < fewest(confidence) or middle <= 0:
        return None
    ordered, rank = sorted(values), _rank(n, confidence)
    return (ordered[n - 1 - rank] - ordered[rank]) / 2 / middle


@functools.lru_cache(maxsize=64)
def _rank(n: int, confidence: float) -> int:
    """How many of n ordered values lie outside of the interval at each end.

    Runtimes of one block mostly ask for the same n, and never again after it.
    """
    tail, k = 0.0, 0
    while (tail := tail + math.comb(n, k) / 2**n) <= (1 - confidence) / 2:
        k += 1
    return max(0, k - 1)


def ended(rule: Rule, by: Stop, tally: Tally, elapsed_s: float) -> Mapping[str, object]:
    """What the manifest says of the end: the rule, the blocks, and how well all is known."""
    return {
        "by": str(by),
        "blocks": tally.blocks,
        "elapsed_s": elapsed_s,
        "known": [
            {**{f: getattr(each, f) for f in each.__struct_fields__},
             "enough": rule.is_enough(each) if rule.relative_width is not None else None}
            for each in tally.known()
        ],
    }  # fmt: skip


def parse_percent(text: str) -> float:
    """`5%` as 0.05; raises UsageError."""
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / 100
    except ValueError:
        value = 0.0
    if not 0 < value < 1 or not text.strip().endswith("%"):
        raise UsageError(f"--until {text!r} is not a percentage", "for example --until 5%")
    return value


def parse_duration(text: str) -> float:
    """`90`, `90s`, `10m` or `2h` in seconds; raises UsageError."""
    stripped = text.strip()
    unit = next((u for u in sorted(_UNITS, key=len, reverse=True) if stripped.endswith(u)), "")
    try:
        seconds = float(stripped.removesuffix(unit)) * _UNITS.get(unit, 1.0)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"{text!r} is not a duration", "for example 90s, 10m or 2h")
    return seconds
