"""What in a series of trials a median cannot tell: two modes, drift, a slow beginning.

Each series (a runtime, a metric, its dimensions) is looked at by itself, one value a block.
Nothing is left out for what is found here: a flag stands beside the number, and the reader
decides. So that a report of many series does not cry wolf, the flags of one kind are held to a
false-discovery rate over all series of the run, and each must be large enough to matter.

- *Two modes*: Silverman's test (harness/analysis/modes.py).
- *Drift*: Spearman's rank correlation with the block's number, and a later half that differs
  from the earlier one by 5 % at least.
- *Warm-up*: the first measured blocks differ from the rest (Mann and Whitney), by 5 % at least,
  and the rest does not drift. The block that was discarded before is shown beside the measured
  ones (`discarded`), never used.

Of a series of more than three thousand blocks every second, third, ... is looked at, so that at
most so many are: what matters is seen in them, and the report of a million trials is not held up.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from harness.analysis import effects, modes, statistics, verdicts
from harness.analysis.frames import RunData
from harness.analysis.language import later, say
from harness.analysis.rows import Series
from harness.analysis.statistics import by_block
from harness.analysis.units import plural, quantity, times
from harness.model import Outcome

MATTERS = 0.05
"""A smaller change of the median than this is not flagged."""

_FALSE_FLAGS = 0.05
"""The share of a run's flags of one kind that may be false."""

_FIRST = 5
"""The blocks that may be a warm-up: a fifth of all, at least three, at most so many."""

_MOST = 3000
"""Blocks of a series that are looked at, evenly spaced where there are more."""


class Kind(StrEnum):
    """What was seen."""

    MODES = later("two modes")
    DRIFT = later("drift")
    WARMUP = later("warm-up")


METHODS: Mapping[Kind, str] = {
    Kind.MODES: later("Silverman's test on logarithms (JRSS B 43, 1981)"),
    Kind.DRIFT: later("Spearman's rank correlation with the block's number"),
    Kind.WARMUP: later("Mann and Whitney's test of the first blocks beside the rest"),
}


@dataclass(frozen=True)
class Flag:
    """One thing that was seen in one series of n blocks; `p` is its test's, `text` what it is."""

    kind: Kind
    runtime: str
    metric: str
    dimensions: Mapping[str, str]
    n: int
    p: float
    text: str

    @property
    def method(self) -> str:
        """The test and where it comes from."""
        return METHODS[self.kind]


@dataclass(frozen=True)
class Discarded:
    """Discarded first trials of one runtime beside the measured: seconds until READY where a
    trial has that mark, else the whole trial's."""

    runtime: str
    experiment: str
    until: str
    seconds: tuple[float, ...]
    measured: statistics.Estimate


def flags(run: RunData) -> Sequence[Flag]:
    """Everything flagged in a run, by kind, then in the order of the samples."""
    found: dict[Kind, list[tuple[float, Flag | None]]] = {kind: [] for kind in Kind}
    for series in run.series():
        if series.metric.startswith(_LEFT_OUT):
            continue
        for kind, p, flag in _looked_at(series, by_block(run.exactly(series))):
            found[kind].append((p, flag))
    kept = []
    for tested in found.values():
        cutoff = verdicts.family([p for p, _ in tested], _FALSE_FLAGS).cutoff
        kept += [flag for p, flag in tested if flag is not None and p <= cutoff]
    slow = {_place(flag) for flag in kept if flag.kind is Kind.WARMUP}
    return [flag for flag in kept if flag.kind is not Kind.DRIFT or _place(flag) not in slow]


def discarded(run: RunData) -> Sequence[Discarded]:
    """The warm-up trials that succeeded, beside the measured ones of the same kind."""
    warm = run.tally[run.tally["warmup"] & (run.tally["outcome"] == Outcome.OK.value)]
    ready, request = run.told("marks", "ready"), run.told("marks", "request")
    span = (ready - request.reindex(ready.index)).dropna() / 1e9
    walls = pd.Series(run.numbers("wall_s"))
    found = []
    for runtime, experiment in warm[["runtime", "experiment"]].itertuples(index=False):
        thrown = run.measured(experiment, runtime, warmup=True)
        marked = bool(np.isin(thrown, span.index).all())
        seconds = span if marked else walls
        same = seconds[seconds.index.isin(run.measured(experiment, runtime))]
        measured = statistics.median(same.reset_index(drop=True).astype(float))
        if measured is not None:
            until = later("until READY") if marked else later("until its end")
            values = tuple(float(value) for value in seconds[thrown])
            found.append(Discarded(str(runtime), str(experiment), until, values, measured))
    return found


def _place(flag: Flag) -> tuple[str, str, str]:
    return flag.runtime, flag.metric, json.dumps(dict(flag.dimensions), sort_keys=True)


_LEFT_OUT = ("trial.", "repeat.", "canary.", "floor.")
"""Controls, and how long a trial took with all that is untimed."""


def _looked_at(
    series: Series, values: pd.Series[float]
) -> Iterator[tuple[Kind, float, Flag | None]]:
    """Each test that this series allows: its p, and the flag if it also matters."""
    unit, some = series.unit, _thinned(values)

    def flag(kind: Kind, p: float, text: str) -> Flag:
        return Flag(kind, series.runtime, series.metric, series.dimensions, len(some), p, text)

    two = modes.two_modes(np.asarray(some, dtype=np.float64), 1 + MATTERS)
    if two is not None:
        text = say(
            "{some} around {low}, {others} around {high}",
            some=plural(two.n_low, "trial"), low=quantity(two.low, unit), others=two.n_high,
            high=quantity(two.high, unit),
        )  # fmt: skip
        yield Kind.MODES, two.p, flag(Kind.MODES, two.p, text)
    elif len(values) >= modes.FEWEST:
        yield Kind.MODES, 1.0, None  # one of those among which a flag must stand
    moved = statistics.drift(some)
    if moved is None:
        return
    drifts = moved.moved and moved.p < 0.05
    text = say(
        "the later half is {factor} times the earlier (rho {rho})",
        factor=times(moved.change), rho=f"{moved.rho:.2f}",
    )  # fmt: skip
    yield Kind.DRIFT, moved.p, flag(Kind.DRIFT, moved.p, text) if drifts else None
    first = min(max(3, len(values) // 5), _FIRST)
    begin, rest = values.iloc[:first], _thinned(values.iloc[first:])
    if len(rest) < statistics.MIN_BLOCKS or not np.median(rest):
        return
    p = effects.p_value(rest, begin, paired=False)
    change = float(np.median(begin) / np.median(rest))
    if p is not None:
        text = say("the first {n} blocks are {factor} times the rest", n=first,
                   factor=times(change))  # fmt: skip
        warm = _matters(change) and _settled(rest)
        yield Kind.WARMUP, p, flag(Kind.WARMUP, p, text) if warm else None


def _thinned(values: pd.Series[float]) -> pd.Series[float]:
    return values.iloc[:: -(-len(values) // _MOST) or 1]


def _settled(values: pd.Series[float]) -> bool:
    """Whether it does not drift."""
    moved = statistics.drift(values)
    return moved is None or not (moved.moved and moved.p < 0.05)


def _matters(change: float) -> bool:
    return change > 1 + MATTERS or 0 < change < 1 / (1 + MATTERS)
