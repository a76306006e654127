"""Charts of lanes: what sections show of a few forms, ways or depths of each runtime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from harness.analysis.language import say
from harness.analysis.statistics import Estimate
from harness.analysis.summary import RuntimeRow
from harness.analysis.units import quantity
from harness.report.charts import Chart, render, subject
from harness.report.levels import Lane, LevelPlot, LevelRow, draw_levels


def lane(
    label: str, values: pd.Series[float], levels: Mapping[str, Estimate | None]
) -> Lane | None:
    """A lane of the levels that are known, `values` being those of the first, which must be."""
    known = {name: estimate for name, estimate in levels.items() if estimate is not None}
    return Lane(label, known, tuple(values)) if next(iter(levels)) in known else None


def level_rows(
    lanes: Iterable[tuple[RuntimeRow, Sequence[Lane | None]]],
) -> tuple[LevelRow, ...]:
    """A row for each runtime that has a lane."""
    found = ((row, tuple(each for each in own if each is not None)) for row, own in lanes)
    return tuple(LevelRow(subject(row), own) for row, own in found if own)


def lanes_chart(name: str, title: str, plot: LevelPlot) -> Chart | None:
    """The chart with its medians told in words; None where it has no row."""
    if not plot.rows:
        return None
    told = "; ".join(
        f"{row.subject.name}: " + ", ".join(_told(lane, plot.unit) for lane in row.lanes)
        for row in plot.rows
    )
    return render(
        name,
        say("{title}. {told}.", title=title, told=told),
        lambda layout: draw_levels(plot, layout),
        plot.numbers,
    )


def _told(lane: Lane, unit: str) -> str:
    levels = ", ".join(f"{say(name)} {quantity(e.value, unit)}" for name, e in lane.levels.items())
    return f"{lane.label} {levels}"
