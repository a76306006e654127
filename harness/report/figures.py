"""One chart of a run as a matplotlib figure, for a notebook or a program.

It is the chart of the report, drawn by the same functions in the same style.
"""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from harness.analysis.frames import RunData
from harness.analysis.summary import summarise
from harness.errors import UsageError
from harness.report.charts import Draw, draw_charts
from harness.report.sections import sections
from harness.report.style import NARROW, WIDE, settings


def figure(run: RunData, name: str, narrow: bool = False) -> Figure:
    """The chart of this name, wide or for a phone. Raises UsageError, naming those there are."""
    drawn = dict(_drawings(run))
    if name not in drawn:
        there = ", ".join(drawn) or "none"
        raise UsageError(f"the report of this run has no chart {name!r}", f"it has {there}")
    with settings():
        made = drawn[name](NARROW if narrow else WIDE)
        assert isinstance(made, Figure)
        made.draw_without_rendering()  # ticks take the style that holds when they are made
    return made


def figures(run: RunData) -> list[str]:
    """The names of the charts that the report of this run has."""
    return [name for name, _ in _drawings(run)]


def _drawings(run: RunData) -> Iterator[tuple[str, Draw]]:
    summary = summarise(run)
    for chart in draw_charts(run, summary).values():
        yield chart.name, chart.draw
    for section in sections(run, summary):
        for exhibit in section.exhibits:
            if exhibit.chart is not None:
                yield exhibit.chart.name, exhibit.chart.draw
