"""Where the time goes: the spans between the marks of one trial, which add up to its total.

A median of each phase would not add up to the median of the total, so a runtime is shown by
one real trial: the one whose total is the (lower) median. Marks are taken in the order in
which they happened, not in the order in which an adapter names them: with Docker, READY can
arrive before the start call has returned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.analysis.frames import RunData
from harness.analysis.rows import Positions
from harness.model import Mark

NS = 1e-9


@dataclass(frozen=True)
class Phase:
    """The span that ends with a mark, in seconds."""

    mark: str
    seconds: float


@dataclass(frozen=True)
class Timeline:
    """The phases of the median trial of a runtime; `total` is exactly their sum."""

    runtime: str
    trials: int
    phases: tuple[Phase, ...]
    instrumented: bool = False

    @property
    def total(self) -> float:
        """Seconds from the first mark to the last."""
        return sum(phase.seconds for phase in self.phases)


def startup(run: RunData, runtime: str, experiment: str = "startup") -> Timeline | None:
    """From `request` to READY."""
    return run.once(
        ("start", runtime, experiment),
        lambda: _timeline(run, runtime, experiment, Mark.REQUEST, Mark.READY),
    )


def teardown(run: RunData, runtime: str) -> Timeline | None:
    """From `stop` until nothing of the box is left."""
    return run.once(
        ("end", runtime), lambda: _timeline(run, runtime, "startup", Mark.STOP, Mark.REMOVED)
    )


def between(marks: Mapping[str, int], first: str, last: str) -> tuple[Phase, ...]:
    """The spans between the marks from `first` to `last`, in the order of time.

    Empty when either is missing. What happened outside of the two is left out.
    """
    if first not in marks or last not in marks:
        return ()
    start, end = marks[first], marks[last]
    inside = sorted((ns, m) for m, ns in marks.items() if m not in (first, last))
    steps = [(ns, m) for ns, m in inside if start <= ns <= end] + [(end, last)]
    phases, before = [], start
    for ns, mark in steps:
        phases.append(Phase(mark, (ns - before) * NS))
        before = ns
    return tuple(phases)


def spans(run: RunData, runtime: str, first: str, last: str, warmup: bool) -> Sequence[float]:
    """`last` less `first` of each ok startup trial, in seconds, in the order of blocks."""
    found = lengths(run, run.measured("startup", runtime, warmup), first, last)
    order = np.argsort(run.numbers("block")[found.index.to_numpy()], kind="stable")
    return list((found * NS).iloc[order])


def lengths(run: RunData, places: Positions, first: str, last: str) -> pd.Series[int]:
    """`last` less `first` in nanoseconds, by place, of those of these trials that have both."""
    (begin, begun), (end, ended) = run.marks(first), run.marks(last)
    here = places[begun[places] & ended[places]]
    return pd.Series(end[here] - begin[here], index=here)


def _timeline(
    run: RunData, runtime: str, experiment: str, first: Mark, last: Mark
) -> Timeline | None:
    places = run.measured(experiment, runtime)
    totals = lengths(run, places, first.value, last.value)
    if not len(totals):
        return None
    order = np.argsort(totals.to_numpy(), kind="stable")
    place = int(totals.index[order[(len(order) - 1) // 2]])
    phases = between(run.told_at("marks", place), first.value, last.value)
    return Timeline(runtime, len(places), phases, instrumented=experiment != "startup")
