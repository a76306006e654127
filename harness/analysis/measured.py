"""The series of a run: all values of one metric in one runtime, with the same dimensions.

Whoever shows a whole run (an export, a history) goes through these, not through samples.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from harness.analysis.frames import WALL, RunData
from harness.analysis.rows import Series
from harness.analysis.summary import class_of, is_emulated
from harness.metrics import METRICS
from harness.model import Metric

_PLACES = ("n", "launch")
"""Dimensions that number the values inside one trial: points of a curve, not trials."""


@dataclass(frozen=True)
class Measured:
    """One series. `values` are those of measured `ok` trials, indexed by block.

    `curve`: a trial holds several such values, told apart by a dimension like `n` (instances
    that run already); they are iterations inside a trial, never pooled.
    """

    metric: str
    runtime: str
    runtime_class: str
    accel: str
    emulated: bool
    dimensions: Mapping[str, str]
    unit: str
    values: pd.Series[float]
    curve: bool

    @property
    def name(self) -> str:
        """`startup.ready[docker]`, dimensions behind the runtime."""
        told = ", ".join(f"{key}={value}" for key, value in self.dimensions.items())
        return f"{self.metric}[{self.runtime}{'; ' if told else ''}{told}]"


def measured(run: RunData, metrics: Collection[str] | None = None) -> tuple[Measured, ...]:
    """Every series of a run, or those of some metrics, in the order of the samples."""
    there = sorted(run.series(), key=lambda series: series.first)
    wanted = [s for s in there if s.metric != WALL and (metrics is None or s.metric in metrics)]
    curves = _curves(run, wanted)
    kinds = {name: (*class_of(run, name), is_emulated(run, name))
             for name in dict.fromkeys(series.runtime for series in wanted)}  # fmt: skip
    return tuple(
        Measured(
            s.metric, s.runtime, *kinds[s.runtime], s.dimensions, s.unit,
            run.exactly(s),
            (s.metric, s.runtime) in curves and any(place in s.dimensions for place in _PLACES),
        )
        for s in wanted
    )  # fmt: skip


def _curves(run: RunData, there: Sequence[Series]) -> set[tuple[str, str]]:
    """Metrics and runtimes of which one trial has values at several places."""
    trials: dict[tuple[str, str], dict[str, set[int]]] = {}
    for s in there:
        if any(place in s.dimensions for place in _PLACES):
            place = str([s.dimensions.get(each) for each in _PLACES])
            at = trials.setdefault((s.metric, s.runtime), {}).setdefault(place, set())
            at.update(run.by_trial(s).index)
    return {
        key
        for key, places in trials.items()
        if sum(map(len, places.values())) > len(set().union(*places.values()))
    }


def metric_of(run: RunData, name: str) -> Metric:
    """What a metric means: as declared by us, or by the run's own scenario."""
    if name in METRICS:
        return METRICS[name]
    said = (run.manifest.get("metrics") or {}).get(name, {})
    return Metric(
        name=name, unit=str(said.get("unit", "")), better=str(said.get("better", "lower")),
        description=str(said.get("description", "")),
    )  # fmt: skip
