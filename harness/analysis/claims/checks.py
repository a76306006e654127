"""What stored runs say to one check: a finding a run and box, each with its number and interval.

A finding *holds* or *does not hold* where its whole interval lies on one side of the check's
margin, as for `--fail-if` (harness/analysis/gates.py): a claim is a question asked before the
data too. All intervals of a claim hold together (Bonferroni). Two values are compared within a
run alone, paired by block; nothing is pooled over runs.

What may decide nothing stands among the findings with its reason and does not count: emulated
machines, and whatever a guard forbids.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pandas as pd

from harness.analysis import statistics, summary
from harness.analysis.claims.declared import (
    CLASSES,
    Check,
    Cost,
    Fact,
    Identical,
    Open,
    Share,
    metrics_of,
)
from harness.analysis.frames import RunData
from harness.analysis.gates import Outcome, answer
from harness.analysis.language import say
from harness.analysis.relative import unfair
from harness.analysis.statistics import Estimate
from harness.model import Outcome as Trial
from harness.model import RuntimeClass


@dataclass(frozen=True)
class Finding:
    """One run's answer for one box, set beside another where `beside` names one.

    `value` is a share of trials, a ratio or a plain value, in `unit`; None without data. What
    does not `count` may decide nothing, and `why` says why; it has no number either.
    """

    run: str
    box: str
    beside: str
    metric: str
    dimensions: Mapping[str, str]
    value: Estimate | None
    unit: str
    outcome: Outcome
    why: str = ""
    counts: bool = True


@dataclass(frozen=True)
class Source:
    """A run, and what it is asked for again and again."""

    data: RunData = field(repr=False)

    @cached_property
    def classes(self) -> Mapping[str, str]:
        """The class of each box that took part."""
        return {n: summary.class_of(self.data, n)[0] for n in summary.runtimes(self.data)}

    @cached_property
    def _refusals(self) -> dict[str, str]:
        return {}

    def refusal(self, box: str) -> str:
        """Why a box decides nothing in this run; empty where it may."""
        if box not in self._refusals:
            self._refusals[box] = _refused(self.data, box)
        return self._refusals[box]


@dataclass(frozen=True)
class Question:
    """A check asked of one run and box, before it is answered."""

    check: Check
    source: Source = field(repr=False)
    box: str
    beside: str = ""
    metric: str = ""
    dimensions: Mapping[str, str] = field(default_factory=dict)

    @property
    def data(self) -> RunData:
        return self.source.data

    @property
    def refused(self) -> str:
        """Why this may decide nothing; empty where it may."""
        names = dict.fromkeys(filter(None, (self.box, self.beside)))
        return next(filter(None, map(self.source.refusal, names)), "")

    def answered(self, confidence: float) -> Finding:
        """The finding, its interval at this confidence."""
        if self.refused:
            return replace(self.found(None, "", Outcome.UNDECIDED, self.refused), counts=False)
        return _ANSWERS[type(self.check)](self, confidence)

    def found(self, value: Estimate | None, unit: str, outcome: Outcome, why: str = "") -> Finding:
        """A finding of this question."""
        return Finding(
            self.data.run, self.box, self.beside, self.metric, self.dimensions, value, unit,
            outcome, why,
        )  # fmt: skip


def questions(check: Check, runs: Sequence[Source]) -> list[Question]:
    """All that a check asks of these runs."""
    if isinstance(check, Open):
        return []
    return [asked for run in runs for asked in _ASKED[type(check)](check, run)]


def lacking(check: Check, runs: Sequence[Source]) -> str:
    """Why a check that asks nothing of these runs finds nothing in them."""
    if isinstance(check, Open):
        return say(check.why)
    names = metrics_of(check)
    holding = [run for run in runs if run.data.series(*names)] if names else list(runs)
    if not holding:
        return say("no run has {names}", names=say(" or ").join(names))
    of = [run for run in holding if _boxes(run, check.of, names)]
    if not of:
        return say("no box is of the kind {kind}", kind=check.of)
    if isinstance(check, Cost) and check.beside:
        return say(
            "no run has both {kind} and {other}, measured alike", kind=check.of, other=check.beside
        )
    return say("no run measured it both ways")


def _boxes(run: Source, of: str, metrics: Sequence[str]) -> list[str]:
    """The boxes of a kind, or of a name, that have one of these metrics."""
    having = {series.runtime for series in run.data.series(*metrics)} if metrics else None
    kinds = {kind.value for kind in CLASSES.get(of, ())}
    return [
        name
        for name, kind in run.classes.items()
        if (not of or name == of or kind in kinds) and (having is None or name in having)
    ]


def _refused(run: RunData, box: str) -> str:
    kind, accel = summary.class_of(run, box)
    why = unfair(run, box)
    if not why and kind == RuntimeClass.MACHINE.value and accel not in summary.HARDWARE:
        why = say("no hardware is known to have run it")
    return say("{box}: {why}", box=box, why=why) if why else ""


def _plain(check: Share | Fact, run: Source) -> Iterator[Question]:
    for box in _boxes(run, check.of, [check.metric]):
        if len(run.data.values(check.metric, box, **check.where)) or isinstance(check, Share):
            yield Question(check, run, box, metric=check.metric, dimensions=check.where)


def _compared(check: Cost, run: Source) -> Iterator[Question]:
    held = {series.metric for series in run.data.series(*check.metrics)}
    for metric in (each for each in check.metrics if each in held):
        boxes = _boxes(run, check.of, [metric])
        others = _boxes(run, check.beside, [metric]) if check.beside else [""]
        for box, other in itertools.product(boxes, others):
            for dimensions in _each(check, run.data, metric):
                asked = Question(check, run, box, other, metric, dimensions)
                if box != other and all(map(len, _sides(asked))):
                    yield asked


def _each(check: Cost, run: RunData, metric: str) -> list[dict[str, str]]:
    """The values of the dimensions that are looked at by themselves."""
    found = {
        tuple((key, series.dimensions[key]) for key in check.each if key in series.dimensions)
        for series in run.series(metric)
    }
    return [dict(each) for each in sorted(found)]


def _held(check: Identical, run: Source) -> Iterator[Question]:
    for box in _boxes(run, check.of, []):
        if _verified(run.data, box):
            yield Question(check, run, box)


def _verified(run: RunData, box: str) -> Mapping[str, object]:
    return (run.manifest.get("runtimes", {}).get(box) or {}).get("verified") or {}


def _sides(asked: Question) -> tuple[pd.Series[float], pd.Series[float]]:
    """The values of the box, and those that they are set beside."""
    check, run = asked.check, asked.data
    assert isinstance(check, Cost)
    beside = asked.beside or asked.box
    there = check.where if check.beside and not check.beside_where else check.beside_where
    return (
        run.values(asked.metric, asked.box, **{**check.where, **asked.dimensions}),
        run.values(asked.metric, beside, **{**there, **asked.dimensions}),
    )


def _share(asked: Question, confidence: float) -> Finding:
    check, run = asked.check, asked.data
    assert isinstance(check, Share)
    values = run.values(asked.metric, asked.box, **check.where)
    tally = run.tally
    own = tally[
        (tally["runtime"] == asked.box) & ~tally["warmup"]
        & (tally["experiment"] == asked.metric.partition(".")[0])
        & tally["outcome"].isin([Trial.OK.value, Trial.FAILED.value, Trial.TIMEOUT.value])
    ]  # fmt: skip
    tried = max(int(own["count"].sum()), len(values))
    good = int((values < check.below).sum())
    interval = statistics.success_rate(good, tried, confidence)
    if interval is None:
        return asked.found(None, "share", Outcome.UNDECIDED, say("no trial came to an end"))
    found = Estimate(good / tried, tried, interval)
    outcome = answer(interval, check.more_than, above=True)
    return asked.found(found, "share", outcome, _why(outcome))


def _cost(asked: Question, confidence: float) -> Finding:
    check, run = asked.check, asked.data
    assert isinstance(check, Cost)
    own, other = _sides(asked)
    lower = summary.direction(run, asked.metric) != "higher"
    new, base = (own, other) if lower else (other, own)
    ratio = statistics.ratio(new, base, confidence)
    if ratio is None:
        why = say("no block has both, or a value is not positive")
        return asked.found(None, "times", Outcome.UNDECIDED, why)
    if ratio.interval is None:
        return asked.found(ratio, "times", Outcome.UNDECIDED, ratio.absent)
    above = answer(ratio.interval, check.limit, above=True)
    outcome = above if check.at_least is not None else _OPPOSITE[above]
    differs = above is Outcome.HOLDS
    floor = summary.floor_s(run, asked.metric, asked.box, asked.beside or asked.box)
    near = floor is not None and abs(float(own.median() - other.median())) < floor
    if near and (differs or (check.limit - 1) * float(other.median()) < (floor or 0.0)):
        why = say("the difference is below the channel's round trip")
        return asked.found(ratio, "times", Outcome.UNDECIDED, why)
    return asked.found(ratio, "times", outcome, _why(outcome))


def _fact(asked: Question, confidence: float) -> Finding:
    check, run = asked.check, asked.data
    assert isinstance(check, Fact)
    values = run.values(asked.metric, asked.box, **check.where)
    low = check.at_least if check.at_least is not None else float("-inf")
    high = check.at_most if check.at_most is not None else float("inf")
    within = values.between(low, high)
    unit = next((s.unit for s in run.series(asked.metric)), "1")
    value = Estimate(float(values.median()), len(values), None)
    if within.all() or not within.any():
        return asked.found(value, unit, Outcome.HOLDS if within.all() else Outcome.DOES_NOT_HOLD)
    return asked.found(value, unit, Outcome.UNDECIDED, say("it is not the same in every trial"))


def _identical(asked: Question, confidence: float) -> Finding:
    verified = _verified(asked.data, asked.box)
    image = asked.data.manifest.get("image", {}).get("digest")
    same = bool(verified.get("identical")) and bool(image) and verified.get("digest") == image
    outcome = Outcome.HOLDS if same else Outcome.DOES_NOT_HOLD
    return asked.found(
        Estimate(float(same), 1, None), "proof", outcome, str(verified.get("note", ""))
    )


def _why(outcome: Outcome) -> str:
    return say("the interval includes both answers") if outcome is Outcome.UNDECIDED else ""


_OPPOSITE = {
    Outcome.HOLDS: Outcome.DOES_NOT_HOLD,
    Outcome.DOES_NOT_HOLD: Outcome.HOLDS,
    Outcome.UNDECIDED: Outcome.UNDECIDED,
}
_ASKED: Mapping[type, Callable[[Any, Source], Iterator[Question]]] = {
    Share: _plain,
    Fact: _plain,
    Cost: _compared,
    Identical: _held,
}
_ANSWERS: Mapping[type, Callable[[Question, float], Finding]] = {
    Share: _share,
    Fact: _fact,
    Cost: _cost,
    Identical: _identical,
}
