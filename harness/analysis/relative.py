"""Every runtime beside bare metal or beside another, metric by metric, each with its verdict.

A ratio is that of two medians, paired within blocks; harness/analysis/verdicts.py decides, at
the margin that the scenario fixed before the run, and keeps false discoveries rare among all
the comparisons of the report. No conclusion is also every comparison that the run's own conditions
make unfair.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from harness.analysis import statistics, verdicts
from harness.analysis.frames import RunData
from harness.analysis.language import say
from harness.analysis.statistics import CONFIDENCE, Estimate
from harness.analysis.summary import (
    BARE,
    MACHINES,
    RuntimeRow,
    Summary,
    class_of,
    direction,
    floor_s,
    forbidden,
    is_emulated,
    ran_something_else,
    threshold,
)
from harness.analysis.verdicts import Family, Judgement, Pair, Verdict

_COMPARED = re.compile(r"cpu\..*|io\.[a-z]+\.(iops|bandwidth)|io\.fsync\.latency|job\..*")


@dataclass(frozen=True)
class Relative:
    """One runtime in one metric. `dimensions` are those of its samples; the judgement is of its
    values beside those of the base (bare metal, mostly), None for the base itself."""

    row: RuntimeRow
    metric: str
    dimensions: Mapping[str, str]
    unit: str
    value: Estimate
    margin: float
    judgement: Judgement | None

    @cached_property
    def blocks(self) -> tuple[float, ...]:
        """The ratios of single blocks, in those that have both."""
        pair = self.judgement.of if self.judgement else None
        if pair is None:
            return ()
        below = statistics.by_block(pair.base)
        ratios = statistics.by_block(pair.new) / below[below > 0]
        return tuple(ratios.dropna().tolist())

    @property
    def ratio(self) -> Estimate | None:
        """Its median over that of the base; None where no block has both."""
        return self.judgement.ratio if self.judgement else None

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict if self.judgement else Verdict.NO_CONCLUSION

    @property
    def why(self) -> str:
        return self.judgement.why if self.judgement else ""


def beside_bare(
    run: RunData, summary: Summary, metrics: Sequence[str], confidence: float = CONFIDENCE
) -> tuple[Relative, ...]:
    """All runtimes in all series of these metrics; series in their order, then runtimes."""
    found = [
        _relative(run, row, metric, dimensions, unit, confidence, BARE)
        for metric, dimensions, unit in series(run, metrics)
        for row in summary.rows
        if len(run.values(metric, row.runtime, **dimensions))
    ]
    return _controlled(run, tuple(found), summary.family, _against(run, BARE))


def beside(
    run: RunData, summary: Summary, metric: str, base: str, dimensions: Mapping[str, str]
) -> tuple[Relative, ...]:
    """All runtimes in one metric, beside the runtime `base`; differences must stand among these.

    Of each runtime the samples that have these dimensions, whatever others they have. No verdict
    is given where the base itself makes comparisons unfair.
    """
    unit = next((u for m, d, u in series(run, [metric]) if dimensions.items() <= d.items()), "")
    found = [
        _relative(run, row, metric, dimensions, unit, CONFIDENCE, base)
        for row in summary.rows
        if len(run.values(metric, row.runtime, **dimensions))
    ]
    return _controlled(run, found, None, _against(run, base))


def p_values(run: RunData, rows: Sequence[RuntimeRow]) -> Sequence[float]:
    """Those of every comparison beside bare metal that a report makes, whatever its sections
    show: the family in which each must stand. What is unfair to compare is not among them."""
    if unfair(run, BARE):
        return []
    fair = [row for row in rows if row.runtime != BARE and not unfair(run, row.runtime)]
    found = [
        _pair(run, metric, dimensions, BARE, row.runtime).p
        for metric, dimensions, _ in series(run, compared(run))
        for row in fair
    ]
    return [p for p in found if p is not None]


def compared(run: RunData) -> Sequence[str]:
    """The metrics of a run that its report sets beside bare metal: speeds of processor and
    disk, and those of the user's own workload."""
    names = dict.fromkeys(each.metric for each in run.series())
    return [name for name in names if _COMPARED.fullmatch(name) or name in _declared(run)]


def _declared(run: RunData) -> Mapping[str, Any]:
    return run.manifest.get("metrics") or {}


def series(run: RunData, metrics: Sequence[str]) -> Sequence[tuple[str, Mapping[str, str], str]]:
    """Metric, dimensions and unit of each series of these metrics that a run has."""
    found = {
        (each.metric, tuple(sorted(each.dimensions.items()))): (
            each.metric, each.dimensions, each.unit
        )
        for each in (run.series(*metrics) if metrics else ())
    }  # fmt: skip
    return sorted(found.values(), key=lambda s: (metrics.index(s[0]), _natural(s[1])))


def _natural(dimensions: Mapping[str, str]) -> Sequence[tuple[str, float, str]]:
    """An order in which 2 comes before 16."""
    return [
        (key, float(value) if value.isdigit() else 0.0, value)
        for key, value in sorted(dimensions.items())
    ]


def _relative(
    run: RunData,
    row: RuntimeRow,
    metric: str,
    dimensions: Mapping[str, str],
    unit: str,
    confidence: float,
    base: str,
) -> Relative:
    values = run.values(metric, row.runtime, **dimensions)
    value = statistics.median(values, confidence)
    assert value is not None
    made = Relative(row, metric, dimensions, unit, value, threshold(run, metric), None)
    if row.runtime == base:
        return made
    judgement = verdicts.judge(
        _pair(run, metric, dimensions, base, row.runtime), better=direction(run, metric),
        margin=made.margin, confidence=confidence, floor=floor_s(run, metric, row.runtime, base),
    )  # fmt: skip
    return replace(made, judgement=judgement)


def _pair(
    run: RunData, metric: str, dimensions: Mapping[str, str], base: str, runtime: str
) -> Pair:
    return run.once(
        ("pair", metric, base, runtime, *sorted(dimensions.items())),
        lambda: Pair(
            run.values(metric, base, **dimensions), run.values(metric, runtime, **dimensions),
            paired=True,
        ),
    )  # fmt: skip


def unfair(run: RunData, runtime: str) -> str:
    """Why no verdict is given on this runtime at all; empty where one may be."""
    if ran_something_else(run, runtime):
        return say("what ran in it is not the image's own")
    if is_emulated(run, runtime):
        return say("emulated in software")
    machine = class_of(run, runtime)[0] in MACHINES
    if why := forbidden(run, machines=machine):
        return why
    # Told by trials of `cpu` alone; a very long run without them need not be searched for it.
    differing = condition(run, runtime, "mitigations_differ") if _has(run, "cpu") else ""
    if differing:
        return say(
            "the guest's mitigations differ from the host's ({differing})", differing=differing
        )
    return ""


def _has(run: RunData, experiment: str) -> bool:
    return bool((run.tally["experiment"] == experiment).any())


def _against(run: RunData, base: str) -> str:
    """Why nothing is compared with this base; empty where it may be."""
    why = unfair(run, base)
    return say("{box}: {why}", box=base, why=why) if why else ""


def condition(run: RunData, runtime: str, name: str) -> str:
    """A condition of a runtime's trials that does not change from trial to trial."""
    return next((str(value) for value in run.told_of("conditions", name, runtime) if value), "")


def _controlled(
    run: RunData, found: Sequence[Relative], family: Family | None, against: str = ""
) -> tuple[Relative, ...]:
    """Unfair comparisons get no verdict; the fair ones must stand among all of the family, or
    among themselves where there is none.

    `against` says why none is given at all, where none is.
    """
    reasons = [unfair(run, each.row.runtime) or against for each in found]
    fair = [
        each.judgement
        for each, reason in zip(found, reasons, strict=True)
        if each.judgement and not reason
    ]
    standing = iter(verdicts.control(fair, family))
    made = []
    for each, reason in zip(found, reasons, strict=True):
        if each.judgement:
            decided = each.judgement.refused(reason) if reason else next(standing)
            each = replace(each, judgement=decided)
        made.append(each)
    return tuple(made)
