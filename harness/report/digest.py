"""Summaries of every series of a run: what a file still tells whole when it holds a part."""

from __future__ import annotations

import json

import numpy as np

from harness.analysis.frames import RunData
from harness.analysis.summary import class_of, is_emulated
from harness.report.numbers import Cell, Numbers

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def digest(run: RunData) -> Numbers:
    """A row a series: how many values in how many blocks, and their five numbers.

    A series is a metric of a runtime with its dimensions, in measured trials that succeeded;
    the five numbers are Tukey's: both ends, both quartiles, and the median of all values.
    """
    rows: list[tuple[Cell, ...]] = []
    for found in run.series():
        values = run.values(found.metric, found.runtime, **found.dimensions)
        if not len(values):
            continue
        kind, accel = class_of(run, found.runtime)
        five = np.quantile(values.to_numpy(), _QUANTILES)
        rows.append(
            (
                found.runtime, kind, accel, "emulated" if is_emulated(run, found.runtime) else "",
                found.metric, json.dumps(found.dimensions, sort_keys=True, ensure_ascii=False),
                found.unit, len(values), values.index.nunique(), *map(float, five),
            )
        )  # fmt: skip
    headings = (
        "runtime", "class", "accel", "emulated", "metric", "dimensions", "unit", "values",
        "blocks", "lowest", "quartile 1", "median", "quartile 3", "highest",
    )  # fmt: skip
    return Numbers(headings, tuple(rows))
