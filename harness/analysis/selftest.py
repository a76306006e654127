"""How often a report says what is not so: many small reports from a run of a box beside itself.

Two names of one box (A/A) differ in nothing, so that every *better* or *worse* between them is
false. A run holds several such pairs of names in every block, which share its controls and cost
no more of them, and is cut into reports of as many blocks as a report has: one pair in these
blocks is one report. Each is judged in all its metrics as any other comparison is
(harness/analysis/verdicts.py: interval, permutation test, margin, the channel's round trip, and
false-discovery control over the report), and the share of reports with a false verdict is given
with its exact interval.

A test that never finds anything is never wrong. So the same reports also tell what is found
when there is something: with every READY of the second name made a tenth longer, in how many of
them the verdict is *worse*.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from harness.analysis import statistics, verdicts
from harness.analysis.frames import NOT_RUN, WALL, RunData
from harness.analysis.relative import series
from harness.analysis.statistics import Interval
from harness.analysis.summary import READY, direction, floor_s, threshold
from harness.analysis.verdicts import Judgement, Pair, Verdict

Names = tuple[str, str]

PROMISE = 0.05
"""The share of reports with a false verdict that is promised not to be exceeded."""

INJECTED = 1.10


@dataclass(frozen=True)
class Judged:
    """One metric of one report."""

    metric: str
    judgement: Judgement


@dataclass(frozen=True)
class Report:
    """One report of an A/A run: its two names, its first block, its verdicts, and those of the
    same report when READY of the second name is made `INJECTED` times as long."""

    names: Names
    first_block: int
    judged: tuple[Judged, ...]
    injected: tuple[Judged, ...]

    @property
    def is_false(self) -> bool:
        """Whether it calls the box better or worse than itself."""
        return any(each.judgement.verdict.is_difference for each in self.judged)

    @property
    def finds(self) -> bool:
        """Whether it finds the injected difference."""
        return any(
            each.metric == READY and each.judgement.verdict is Verdict.WORSE
            for each in self.injected
        )


@dataclass(frozen=True)
class SelfTest:
    """What all reports say together, of `blocks` blocks each. `variation` is how far READY of
    the first name spreads from trial to trial, as a share of its median (1.4826 times the
    median absolute deviation)."""

    blocks: int
    reports: int
    false_reports: int
    rate: Interval
    found: int
    power: Interval
    variation: float
    verdicts: Mapping[str, Mapping[Verdict, int]]

    @property
    def holds(self) -> bool:
        """Whether the data show that the promise is kept: the interval's upper end is in it."""
        return self.rate.high <= PROMISE


def fewest_reports(promise: float = PROMISE) -> int:
    """With so many reports and no false one, the interval just reaches the promise."""
    n = 1
    while (found := statistics.success_rate(0, n)) is None or found.high > promise:
        n += 1
    return n


def paired_names(names: Sequence[str]) -> Sequence[Names]:
    """The first beside the second, the third beside the fourth, and so on."""
    return list(zip(names[::2], names[1::2], strict=False))


def reports(run: RunData, names: Sequence[Names], blocks: int) -> Iterator[Report]:
    """Each whole report of so many blocks, in order. Values of both names are paired in blocks;
    a block in which a trial failed stays in its report, as it would in any."""
    everything = [(pair, _series(run, pair)) for pair in names]
    for number in range(whole(run, blocks)):
        inside = range(number * blocks, (number + 1) * blocks)
        for pair, own in everything:
            parts = [(m, _part(old, inside), _part(new, inside)) for m, old, new in own]
            found = [_judge(run, m, pair, old, new) for m, old, new in parts]
            longer = [
                _judge(run, m, pair, old, new * INJECTED) if m == READY else judgement
                for (m, old, new), judgement in zip(parts, found, strict=True)
            ]
            yield Report(pair, inside.start, _controlled(parts, found), _controlled(parts, longer))


def whole(run: RunData, blocks: int) -> int:
    """How many times so many blocks a run holds, the unfinished last one left out."""
    blocks_of = run.numbers("block")[run.kinds("warmup").among("no")]
    left = run.numbers("block")[
        run.kinds("warmup").among("no") & run.kinds("reason").among(NOT_RUN)
    ]
    end = left.min() if len(left) else blocks_of.max() + 1 if len(blocks_of) else 0
    return int(end) // blocks


def _series(run: RunData, names: Names) -> Sequence[_Part]:
    """Every metric that both names have and whose better direction is known; how long a trial
    took with all that is untimed is none."""
    metrics = [m for m in dict.fromkeys(s.metric for s in run.series()) if direction(run, m)]
    base, other = names
    found = [
        (metric, run.values(metric, base, **dimensions), run.values(metric, other, **dimensions))
        for metric, dimensions, _ in series(run, [m for m in metrics if m != WALL])
    ]
    return [each for each in found if len(each[1]) and len(each[2])]


_Part = tuple[str, "pd.Series[float]", "pd.Series[float]"]


def _controlled(parts: Sequence[_Part], found: Sequence[Judgement]) -> tuple[Judged, ...]:
    return tuple(
        Judged(metric, judgement)
        for (metric, *_), judgement in zip(parts, verdicts.control(found), strict=True)
    )


def assess(run: RunData, blocks: int, found: Sequence[Report]) -> SelfTest | None:
    """All reports together; None without any."""
    false = sum(report.is_false for report in found)
    right = sum(report.finds for report in found)
    rate = statistics.success_rate(false, len(found))
    power = statistics.success_rate(right, len(found))
    if rate is None or power is None:
        return None
    counts: dict[str, Counter[Verdict]] = {}
    for report in found:
        for each in report.judged:
            counts.setdefault(each.metric, Counter())[each.judgement.verdict] += 1
    ready = statistics.by_block(run.values(READY, found[0].names[0]))
    spread = 1.4826 * (ready - ready.median()).abs().median()
    return SelfTest(
        blocks=blocks, reports=len(found), false_reports=false,
        rate=rate, found=right, power=power, variation=float(spread / ready.median()),
        verdicts=counts,
    )  # fmt: skip


def _judge(
    run: RunData, metric: str, names: Names, old: pd.Series[float], new: pd.Series[float]
) -> Judgement:
    return verdicts.judge(
        Pair(old, new, paired=True), better=direction(run, metric), margin=threshold(run, metric),
        floor=floor_s(run, metric, *names),
    )  # fmt: skip


def _part(values: pd.Series[float], blocks: range) -> pd.Series[float]:
    return values[(values.index >= blocks.start) & (values.index < blocks.stop)]
