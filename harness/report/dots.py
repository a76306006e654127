"""Every trial as a point over its box, by runtime, on a logarithmic axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from harness.analysis.language import later, say
from harness.analysis.statistics import Estimate
from harness.analysis.units import beside, quantity
from harness.report.numbers import Cell, Numbers, ends
from harness.report.sheet import Layout
from harness.report.style import (
    FAINT,
    INK,
    QUIET,
    Subject,
    centre,
    hatch_emulated,
    log_axis,
    name_rows,
    rows_figure,
)

Point = TypeVar("Point")

MOST = 500
"""Points of one row that are drawn at most; the box and the median are always of all."""
MOST_STROKES = 200
"""The same where a chart has very many rows."""

_MANY, _FEWEST = 60, 5
_BOX_AT, _BOX_HALF = 0.26, 0.075


@dataclass(frozen=True)
class DotRow:
    """One runtime's points in the order of its blocks, and its discarded warm-ups."""

    subject: Subject
    values: tuple[float, ...]
    warmups: tuple[float, ...]
    estimate: Estimate | None


@dataclass(frozen=True)
class DotPlot:
    """What to draw: the rows, the unit, and the harness's own limit where it has a meaning.

    `reading` says what the signs mean, where a point is not a trial."""

    rows: tuple[DotRow, ...]
    unit: str
    axis: str
    floor: float | None = None
    floor_name: str = later("the harness's own floor")
    reading: str = ""

    @property
    def numbers(self) -> Numbers:
        """Every point, and every median with its interval."""
        found: list[tuple[Cell, ...]] = []
        for row in self.rows:
            head = (row.subject.name, row.subject.kind)
            for what, values in (("warm-up", row.warmups), ("trial", row.values)):
                found += [
                    (*head, what, n, value, None, None, self.unit)
                    for n, value in enumerate(drawn(values), start=1)
                ]
            if row.estimate is not None:
                found.append((*head, "median", None, *ends(row.estimate), self.unit))
        if self.floor is not None:
            found.append((self.floor_name, "", "line", None, self.floor, None, None, self.unit))
        headings = ("runtime", "class", "what", "number", "value", "low", "high", "unit")
        return Numbers(headings, tuple(found))


def draw_dots(plot: DotPlot, layout: Layout) -> FigureBase:
    """One line a runtime: all points and their box, the median a stroke, its interval a band."""
    subjects = [row.subject for row in plot.rows]
    figure, axes = rows_figure(layout, subjects, 0.72 if plot.floor else 0.56, _reading(plot))
    everything = [v for r in plot.rows for v in (*r.values, *r.warmups) if v > 0]
    everything += [plot.floor] if plot.floor else []
    log_axis(axes, min(everything, default=1e-3), max(everything, default=1.0), plot.unit)
    hatch_emulated(axes, subjects)
    for number, row in enumerate(plot.rows):
        _draw_row(axes, number + centre(layout), row, layout)
    name_rows(axes, layout, subjects, [_value(row, plot.unit) for row in plot.rows])
    if plot.floor:
        _draw_floor(axes, plot.floor, f"{say(plot.floor_name)}, {quantity(plot.floor, plot.unit)}")
    most = max((len(row.values) for row in plot.rows), default=0)
    axis = say(plot.axis)
    if most > MOST:
        axis += say("; {some} of up to {all} points drawn", some=MOST, all=most)
    axes.set_xlabel(axis, labelpad=4, size=8)
    return figure


def _reading(plot: DotPlot) -> str:
    if plot.reading:
        return plot.reading
    if any(row.warmups for row in plot.rows):
        return say("Points: trials; crosses: warm-ups; stroke: median; band: its 95 % interval.")
    return say("Points: trials; stroke: median; band: its 95 % interval.")


def _value(row: DotRow, unit: str) -> tuple[str, str]:
    if row.estimate is None:
        return say("no value"), say("no trial succeeded")
    return quantity(row.estimate.value, unit), beside(row.estimate, unit)


def _draw_row(axes: Axes, y: float, row: DotRow, layout: Layout) -> None:
    """Points above, and below them their box; the median's interval as a band behind both."""
    strip, half = (y - 0.04, 0.15) if layout.narrow else (y - 0.1, 0.21)
    face = "white" if row.subject.emulated else row.subject.colour
    axes.scatter(
        row.warmups, _spread(len(row.warmups), strip, 0.0), marker="x", s=16, color=FAINT,
        linewidth=0.9, zorder=2,
    )  # fmt: skip
    estimate, top, bottom = row.estimate, strip - half - 0.06, y + _BOX_AT + _BOX_HALF
    if estimate is not None and estimate.interval is not None:
        axes.fill_betweenx(
            [top, bottom], estimate.interval.low, estimate.interval.high,
            color=row.subject.colour, alpha=0.22, linewidth=0, zorder=1,
        )  # fmt: skip
    values, many = drawn(row.values), len(row.values) > _MANY
    axes.scatter(
        values, _spread(len(values), strip, half), s=7 if many else 17, facecolor=face,
        edgecolor=row.subject.colour, linewidth=0.5 if many else 0.9,
        alpha=0.6 if many else 0.9, zorder=3,
    )  # fmt: skip
    _draw_box(axes, y + _BOX_AT, row)
    if estimate is not None:
        axes.plot([estimate.value] * 2, [top, bottom], color=INK, linewidth=1.6, zorder=4)


def _draw_box(axes: Axes, y: float, row: DotRow) -> None:
    """Quartiles, and whiskers to the last point within 1.5 times their distance (Tukey)."""
    if len(row.values) < _FEWEST:
        return
    values = np.asarray(row.values)
    low, high = np.quantile(values, (0.25, 0.75))
    reach = 1.5 * (high - low)
    inside = values[(values >= low - reach) & (values <= high + reach)]
    colour = row.subject.colour
    for end, quartile in ((inside.min(), low), (inside.max(), high)):
        axes.plot([end, quartile], [y, y], color=colour, linewidth=0.9, zorder=2)
    axes.fill_between([low, high], y - _BOX_HALF, y + _BOX_HALF, linewidth=0.9, zorder=2,
                      facecolor="white", edgecolor=colour)  # fmt: skip


def drawn(values: Sequence[Point], most: int = MOST) -> Sequence[Point]:
    """All values, or of very many a seeded sample in their order: a page must stay readable."""
    if len(values) <= most:
        return values
    chosen = np.sort(np.random.default_rng(0).choice(len(values), most, replace=False))
    return [values[n] for n in chosen]


def _spread(count: int, y: float, half: float) -> Sequence[float]:
    """Points from top to bottom in the order of their blocks: a drift shows as a slant."""
    if count < 2:
        return [y] * count
    return [y - half + 2 * half * i / (count - 1) for i in range(count)]


def _draw_floor(axes: Axes, floor: float, words: str) -> None:
    """The words stand on the side where there is room for them."""
    axes.axvline(floor, color=QUIET, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    low, high = axes.get_xlim()
    right = floor > (low * high) ** 0.5  # the middle of a logarithmic axis
    axes.text(
        floor, 1.0, f"{words} " if right else f" {words}", size=7, color=QUIET, va="bottom",
        ha="right" if right else "left", transform=axes.get_xaxis_transform(),
    )  # fmt: skip
