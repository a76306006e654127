"""One chart of a run as a matplotlib figure, for a notebook or a program.

It is the chart of the report, drawn by the same functions in the same style.
"""

from __future__ import annotations

from collections.abc import Iterator

from matplotlib.figure import Figure

from harness.analysis.frames import RunData
from harness.analysis.summary import summarise
from harness.errors import UsageError
from harness.report.charts import Draw, drawings
from harness.report.sections import MAKERS
from harness.report.sheet import Layout
from harness.report.style import NARROW, WIDE, settings


def figure(run: RunData, name: str, narrow: bool = False) -> Figure:
    """The chart of this name, wide or for a phone. Raises UsageError, naming those there are."""
    there = []
    for each, draw in _drawings(run):
        if each == name:
            return _drawn(draw, NARROW if narrow else WIDE)
        there.append(each)
    raise UsageError(
        f"the report of this run has no chart {name!r}", f"it has {', '.join(there) or 'none'}"
    )


def figures(run: RunData) -> list[str]:
    """The names of the charts that the report of this run has."""
    return [name for name, _ in _drawings(run)]


def _drawn(draw: Draw, layout: Layout) -> Figure:
    with settings():
        made = draw(layout)
        assert isinstance(made, Figure)
        made.draw_without_rendering()  # ticks take the style that holds when they are made
    return made


def _drawings(run: RunData) -> Iterator[tuple[str, Draw]]:
    """One after the other: what comes after the one that is looked for is never worked out."""
    summary = summarise(run)
    for name, _, draw, _ in drawings(run, summary):
        yield name, draw
    for make in MAKERS:
        section = make(run, summary)
        for exhibit in section.exhibits if section else ():
            if exhibit.chart is not None:
                yield exhibit.chart.name, exhibit.chart.draw
