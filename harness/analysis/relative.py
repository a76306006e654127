"""Every runtime beside bare metal, metric by metric, each with its verdict.

A ratio is that of two medians, paired within blocks. *Equivalent* means that the whole
interval lies within the margin that the scenario fixed before the run (two one-sided tests);
*different*, that the interval leaves out 1 and that the difference also stands among all the
comparisons made here at once (false-discovery control). All else is no conclusion, and so is
every comparison that the run's own conditions make unfair.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.statistics import CONFIDENCE, Estimate
from harness.analysis.summary import (
    BARE,
    RuntimeRow,
    Summary,
    Verdict,
    blocking,
    decide,
    threshold,
)
from harness.model import RuntimeClass

_MACHINES = (RuntimeClass.MACHINE.value, RuntimeClass.EMULATED.value)


@dataclass(frozen=True)
class Relative:
    """One runtime in one metric. `dimensions` are those of its samples; `ratio` is its median
    over that of bare metal, None for bare metal itself and where no block has both."""

    row: RuntimeRow
    metric: str
    dimensions: Mapping[str, str]
    unit: str
    value: Estimate
    ratio: Estimate | None
    margin: float
    verdict: Verdict
    why: str


def beside_bare(
    run: RunData, summary: Summary, metrics: Sequence[str], confidence: float = CONFIDENCE
) -> tuple[Relative, ...]:
    """All runtimes in all series of these metrics; series in their order, then runtimes."""
    found = [
        _relative(run, row, metric, dimensions, unit, confidence)
        for metric, dimensions, unit in _series(run, metrics)
        for row in summary.rows
        if len(run.values(metric, row.runtime, **dimensions))
    ]
    return _controlled(run, tuple(found))


def _series(run: RunData, metrics: Sequence[str]) -> Sequence[tuple[str, Mapping[str, str], str]]:
    rows = run.samples[run.samples["metric"].isin(metrics)]
    kinds = rows[["metric", "dimensions", "unit"]].drop_duplicates()
    found = [
        (str(metric), json.loads(dimensions), str(unit))
        for metric, dimensions, unit in kinds.itertuples(index=False)
    ]
    return sorted(found, key=lambda s: (metrics.index(s[0]), _natural(s[1])))


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
) -> Relative:
    values = run.values(metric, row.runtime, **dimensions)
    value = statistics.median(values, confidence)
    assert value is not None
    margin = threshold(run, metric)
    made = Relative(row, metric, dimensions, unit, value, None, margin,
                    Verdict.NO_CONCLUSION, "")  # fmt: skip
    if row.runtime == BARE:
        return made
    ratio = statistics.ratio(values, run.values(metric, BARE, **dimensions), confidence)
    verdict, why = decide(ratio, margin)
    unfair = _unfair(run, row)
    if unfair:
        verdict, why = Verdict.NO_CONCLUSION, unfair
    return replace(made, ratio=ratio, verdict=verdict, why=why)


def _unfair(run: RunData, row: RuntimeRow) -> str:
    """Why no verdict is given on this runtime at all; empty where one may be."""
    if row.emulated:
        return "emulated in software"
    machine = row.runtime_class in _MACHINES
    stopped: Sequence[Mapping[str, Any]] = blocking(run, machines=machine)
    if stopped:
        return str(stopped[0].get("text", ""))
    differing = condition(run, row.runtime, "mitigations_differ")
    if differing:
        return f"the guest's mitigations differ from the host's ({differing})"
    return ""


def condition(run: RunData, runtime: str, name: str) -> str:
    """A condition of a runtime's trials that does not change from trial to trial."""
    trials = run.trials[run.trials["runtime"] == runtime]
    told = [str(c[name]) for c in trials["conditions"] if c.get(name)]
    return told[0] if told else ""


def _controlled(run: RunData, found: tuple[Relative, ...]) -> tuple[Relative, ...]:
    """Differences that do not stand among all comparisons are no conclusion."""
    tested: dict[int, float] = {}
    for index, each in enumerate(found):
        if each.ratio is not None and not _unfair(run, each.row):
            p = statistics.paired_p(
                run.values(each.metric, each.row.runtime, **each.dimensions),
                run.values(each.metric, BARE, **each.dimensions),
            )
            if p is not None:
                tested[index] = p
    stands = dict(zip(tested, statistics.discoveries(list(tested.values())), strict=True))
    return tuple(
        replace(each, verdict=Verdict.NO_CONCLUSION, why="chance may explain it")
        if each.verdict is Verdict.DIFFERENT and not stands.get(index, False)
        else each
        for index, each in enumerate(found)
    )
