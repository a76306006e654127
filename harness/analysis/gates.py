"""What it means that a `--fail-if` expression holds.

An expression is a question asked before the data, and it is answered by an interval, not by the
verdict of the table: `startup.ready[docker] > +10%` *holds* where the whole interval of the ratio
new / base lies above 1.10; it *does not hold* where the whole interval lies at or below it; else
the data do not decide, and an *undecided* expression does not fail, but is said. Undecided is
also what a condition forbids to compare, what only one of the runs has, and a difference below
what the channel can tell.

The intervals are simultaneous (Bonferroni) over every series that all the expressions of one
command select and that may be compared: with 95 % confidence none of them fails while its true
change is within its limit, as far as the blocks of a run tell (see harness/analysis/compare.py on
variation between runs).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.analysis import statistics
from harness.analysis.compare import Beside, Comparison, series_of
from harness.analysis.expression import Expression, same_runtime
from harness.analysis.statistics import Estimate, Interval
from harness.errors import UsageError


class Outcome(StrEnum):
    """What the data say of an expression."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does_not_hold"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Finding:
    """One series that an expression selects; `comparison` is None where one run lacks it."""

    comparison: Comparison | None
    outcome: Outcome
    ratio: Estimate | None
    why: str


@dataclass(frozen=True)
class Gate:
    """An expression with its answer: it holds where it holds for any series that it selects,
    and is undecided where it holds for none and for some is undecided."""

    expression: Expression
    findings: tuple[Finding, ...]

    @property
    def outcome(self) -> Outcome:
        found = {each.outcome for each in self.findings}
        if Outcome.HOLDS in found:
            return Outcome.HOLDS
        return Outcome.DOES_NOT_HOLD if found == {Outcome.DOES_NOT_HOLD} else Outcome.UNDECIDED


def evaluate(expressions: Sequence[Expression], found: Sequence[Beside]) -> tuple[Gate, ...]:
    """Answer every expression.

    Raises UsageError for one that names a metric, runtime or dimension that no run has.
    """
    for expression in expressions:
        _check(expression, found)
    chosen = {
        id(c): c
        for expression in expressions
        for each in found
        for c in each.comparisons
        if _selects(expression, c) and not c.refusing
    }
    confidence = statistics.simultaneous(len(chosen))
    return tuple(_gate(expression, found, confidence) for expression in expressions)


def _selects(expression: Expression, c: Comparison) -> bool:
    return expression.selects(c.metric, c.runtime, c.dimensions)


def _gate(expression: Expression, found: Sequence[Beside], confidence: float) -> Gate:
    findings = [
        _finding(expression, c, confidence)
        for each in found
        for c in each.comparisons
        if _selects(expression, c)
    ]
    if not findings:
        why = "no new run has it together with the base"
        findings = [Finding(None, Outcome.UNDECIDED, None, why)]
    return Gate(expression, tuple(findings))


def _finding(expression: Expression, c: Comparison, confidence: float) -> Finding:
    if c.refusing or c.values is None:
        return Finding(c, Outcome.UNDECIDED, None, c.judgement.why)
    old, fresh = c.values
    ratio = statistics.ratio(fresh, old, confidence, paired=False)
    if ratio is None or ratio.interval is None:
        why = ratio.absent if ratio else c.judgement.why
        return Finding(c, Outcome.UNDECIDED, ratio, why)
    outcome = answer(ratio.interval, expression.limit, above=expression.above)
    if outcome is Outcome.HOLDS:
        if c.floor is not None and abs(float(fresh.median() - old.median())) < c.floor:
            why = "the difference is below the channel's round trip"
            return Finding(c, Outcome.UNDECIDED, ratio, why)
        return Finding(c, Outcome.HOLDS, ratio, "")
    both = outcome is Outcome.UNDECIDED
    return Finding(c, outcome, ratio, "the interval includes both answers" if both else "")


def answer(interval: Interval, limit: float, *, above: bool) -> Outcome:
    """Whether what the interval is of lies above a limit (or below), which is not itself."""
    low, high = interval.low, interval.high
    if not above:
        low, high, limit = -high, -low, -limit
    if low > limit:
        return Outcome.HOLDS
    return Outcome.DOES_NOT_HOLD if high <= limit else Outcome.UNDECIDED


def _check(expression: Expression, found: Sequence[Beside]) -> None:
    """Raise UsageError unless some run has what is named, and say which there are."""
    known = [(c.metric, c.runtime, c.dimensions) for each in found for c in each.comparisons]
    lonely = _lonely(found)
    series = [*known, *lonely]
    metrics = sorted({metric for metric, _, _ in series})
    own = [each for each in series if each[0] == expression.metric]
    if not own:
        near = difflib.get_close_matches(expression.metric, metrics, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(metrics)}"
        raise UsageError(f"no run has the metric {expression.metric!r}", hint)
    name = expression.runtime
    there = [each for each in own if name is None or same_runtime(name, each[1])]
    if not there:
        names = list(dict.fromkeys(runtime for _, runtime, _ in own))
        raise UsageError(
            f"no run has {expression.metric} of the runtime {name!r}",
            f"there are {'; '.join(names)}",
        )
    if not any(expression.selects(*each) for each in there):
        raise UsageError(
            f"no run has {expression.metric} with these dimensions: {_told(expression.dimensions)}",
            f"there are {'; '.join(dict.fromkeys(_told(d) or 'none' for _, _, d in there))}",
        )


def _lonely(found: Sequence[Beside]) -> Sequence[tuple[str, str, Mapping[str, str]]]:
    """Series of all runs, also those that only one has."""
    runs = {each.base.run: each.base for each in found} | {each.new.run: each.new for each in found}
    return [
        (metric, runtime, json.loads(dimensions))
        for run in runs.values()
        for metric, runtime, dimensions in series_of(run)
    ]


def _told(dimensions: Mapping[str, str]) -> str:
    return ", ".join(f"{key}={value}" for key, value in dimensions.items())
