"""A few levels of the same thing on one line: the percentiles of a latency, or two depths' rates.

Each runtime has a row, each row a lane or several (a depth of requests each), each lane its
levels on one logarithmic scale. The first level carries its interval; the rest are marks.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D

from harness.analysis.language import say
from harness.analysis.statistics import Estimate
from harness.analysis.units import beside, quantity
from harness.report.dots import MOST_STROKES, drawn
from harness.report.numbers import Cell, Numbers, ends
from harness.report.sheet import Layout
from harness.report.style import (
    INK,
    QUIET,
    Subject,
    centre,
    hatch_emulated,
    log_axis,
    name_rows,
    rows_figure,
)

_LETTER, _LETTER_NARROW = 0.0085, 0.015
"""What share of the axis a letter of a label takes, about."""
_MARKERS = (("o", 5.5), ("D", 4.2), ("^", 4.6), ("s", 4.0))


@dataclass(frozen=True)
class Lane:
    """`levels` by name, in the order of the key; the first must be there, and `points` are its
    values, one a trial."""

    label: str
    levels: Mapping[str, Estimate]
    points: tuple[float, ...] = ()


@dataclass(frozen=True)
class LevelRow:
    """One runtime's lanes, from top to bottom."""

    subject: Subject
    lanes: tuple[Lane, ...]


@dataclass(frozen=True)
class LevelPlot:
    """What to draw; `names` are those of the levels, the first being the one with the band."""

    rows: tuple[LevelRow, ...]
    names: tuple[str, ...]
    unit: str
    axis: str

    @property
    def numbers(self) -> Numbers:
        """Every level of every lane with its interval, and the first level of every trial."""
        rows: list[tuple[Cell, ...]] = []
        for subject, lane in ((row.subject, lane) for row in self.rows for lane in row.lanes):
            head = (subject.name, subject.kind, lane.label)
            rows += [
                (*head, "of trials", name, *ends(estimate), self.unit)
                for name, estimate in lane.levels.items()
            ]
            rows += [
                (*head, "trial", self.names[0], value, None, None, self.unit)
                for value in drawn(lane.points, MOST_STROKES)
            ]
        headings = ("runtime", "class", "lane", "what", "level", "value", "low", "high", "unit")
        return Numbers(headings, tuple(rows))


def draw_levels(plot: LevelPlot, layout: Layout) -> FigureBase:
    """One row a runtime; its value is that of the first lane's first level."""
    names = [n for n in plot.names if any(n in lane.levels for r in plot.rows for lane in r.lanes)]
    several = len(names) > 1
    labelled = any(len(row.lanes) > 1 for row in plot.rows)
    subjects = [row.subject for row in plot.rows]
    reading = say("Marks: medians over blocks; band: 95 % interval of the first.")
    figure, axes = rows_figure(layout, subjects, 0.80 if several else 0.56, reading)
    estimates = [e for r in plot.rows for lane in r.lanes for e in lane.levels.values()]
    ends = [e.interval.high for e in estimates if e.interval] + [e.value for e in estimates]
    starts = [e.interval.low for e in estimates if e.interval and e.interval.low > 0]
    starts += [e.value for e in estimates if e.value > 0]
    points = [
        v for r in plot.rows for lane in r.lanes for v in drawn(lane.points, MOST_STROKES) if v > 0
    ]
    starts, ends = [*starts, *points], [*ends, *points]
    low, high = min(starts, default=1e-6), max(ends, default=1.0)
    if labelled:
        low /= _room(plot, high / low, layout)
    log_axis(axes, low, high, plot.unit, layout.few)
    hatch_emulated(axes, subjects)
    for number, row in enumerate(plot.rows):
        _draw_row(axes, number + centre(layout), row, names, layout)
    name_rows(axes, layout, subjects, [_value(row, plot) for row in plot.rows])
    if several:
        _draw_key(axes, names)
    axes.set_xlabel(say(plot.axis), labelpad=4, size=8)
    return figure


def _room(plot: LevelPlot, span: float, layout: Layout) -> float:
    """By what the axis must begin lower, so that a lane's label has its place left of the lane."""
    letters = max(_width(say(lane.label)) for row in plot.rows for lane in row.lanes)
    share = min(letters * (_LETTER_NARROW if layout.narrow else _LETTER), 0.6)
    return max(2.5 if layout.narrow else 1.6, math.pow(span, share / (1 - share)))


def _width(text: str) -> int:
    """In letters; those of Chinese are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)


def _value(row: LevelRow, plot: LevelPlot) -> tuple[str, str]:
    first = row.lanes[0].levels[plot.names[0]]
    return quantity(first.value, plot.unit), beside(first, plot.unit)


def _draw_row(axes: Axes, y: float, row: LevelRow, names: Sequence[str], layout: Layout) -> None:
    step = 0.26 if layout.narrow else 0.34
    for number, lane in enumerate(row.lanes):
        at = y + (number - (len(row.lanes) - 1) / 2) * step
        _draw_lane(axes, at, lane, row.subject, names, labelled=len(row.lanes) > 1)


def _draw_lane(
    axes: Axes, y: float, lane: Lane, subject: Subject, names: Sequence[str], *, labelled: bool
) -> None:
    colour, first = subject.colour, lane.levels[names[0]]
    known = [lane.levels[name].value for name in names if name in lane.levels]
    axes.plot([min(known), max(known)], [y, y], color=colour, linewidth=0.9, zorder=2)
    left = min(known)
    if first.interval is not None:
        start = max(min(first.interval.low, first.value), axes.get_xlim()[0])
        left = min(left, start)
        axes.plot([start, first.interval.high], [y, y], color=colour, linewidth=5.5, alpha=0.3,
                  solid_capstyle="butt", zorder=1)  # fmt: skip
    points = drawn(lane.points, MOST_STROKES)
    axes.plot(points, [y] * len(points), marker="|", markersize=5.5, markeredgewidth=0.8,
              color=colour, alpha=0.55, linestyle="none", zorder=2.5)  # fmt: skip
    for (marker, size), name in zip(_MARKERS, names, strict=False):
        if name in lane.levels:
            solid = name == names[0] and not subject.emulated
            axes.plot([lane.levels[name].value], [y], marker=marker, markersize=size,
                      markerfacecolor=colour if solid else "white", markeredgecolor=colour,
                      markeredgewidth=1.0, linestyle="none", zorder=3)  # fmt: skip
    if labelled:
        axes.annotate(say(lane.label), (left, y), xytext=(-6, 0), textcoords="offset points",
                      ha="right", va="center", size=7, color=QUIET)  # fmt: skip


def _draw_key(axes: Axes, names: Sequence[str]) -> None:
    handles = [
        Line2D([], [], linestyle="none", marker=marker, markersize=size, label=say(name), color=INK,
               markerfacecolor=INK if name == names[0] else "white")
        for (marker, size), name in zip(_MARKERS, names, strict=False)
    ]  # fmt: skip
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=len(names), frameon=False,
        fontsize=7.5, handletextpad=0.1, columnspacing=1.4, borderaxespad=0, borderpad=0.2,
    )  # fmt: skip
