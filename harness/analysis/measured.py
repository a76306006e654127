"""The series of a run: all values of one metric in one runtime, with the same dimensions.

Whoever shows a whole run (an export, a history) goes through these, not through samples.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import pandas as pd

from harness.analysis.frames import WALL, RunData
from harness.analysis.summary import is_emulated
from harness.metrics import METRICS
from harness.model import Metric, Outcome

_PLACES = ("n", "launch")
"""Dimensions that number the values inside one trial: points of a curve, not trials."""

_KEY = ["metric", "runtime", "dimensions", "unit"]


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
    rows = run.samples
    rows = rows[(rows["metric"] != WALL) & (rows["outcome"] == Outcome.OK.value)]
    if metrics is not None:
        rows = rows[rows["metric"].isin(metrics)]
    curves = _curves(rows)
    emulated = {name: is_emulated(run, name) for name in rows["runtime"].unique()}
    found = []
    for (metric, runtime, dimensions, unit), group in rows.groupby(_KEY, sort=False):
        said = json.loads(str(dimensions))
        values = pd.Series(group["value"].to_numpy(float), index=group["block"].to_numpy(int))
        found.append(
            Measured(
                str(metric), str(runtime), str(group["runtime_class"].iloc[0]),
                str(group["accel"].iloc[0]), emulated[runtime], said, str(unit), values,
                (metric, runtime) in curves and any(place in said for place in _PLACES),
            )
        )  # fmt: skip
    return tuple(found)


def _curves(rows: pd.DataFrame) -> set[tuple[str, str]]:
    """Metrics and runtimes of which one trial has values at several places."""
    kinds = rows[["dimensions"]].drop_duplicates()
    at = {
        text: str([said.get(place) for place in _PLACES])
        for text in kinds["dimensions"]
        if any(place in (said := json.loads(text)) for place in _PLACES)
    }
    placed = rows[rows["dimensions"].isin(list(at))]
    if placed.empty:
        return set()
    places = (
        placed["dimensions"].map(at).groupby([placed[k] for k in ("metric", "runtime", "trial")])
    )
    several = places.nunique()
    return {(metric, runtime) for metric, runtime, _ in several[several > 1].index}


def metric_of(run: RunData, name: str) -> Metric:
    """What a metric means: as declared by us, or by the run's own scenario."""
    if name in METRICS:
        return METRICS[name]
    said = (run.manifest.get("metrics") or {}).get(name, {})
    return Metric(
        name=name, unit=str(said.get("unit", "")), better=str(said.get("better", "lower")),
        description=str(said.get("description", "")),
    )  # fmt: skip
