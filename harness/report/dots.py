"""Every trial as a point, by runtime, on a logarithmic axis: for times and CPU seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.analysis.statistics import Estimate
from harness.analysis.units import beside, quantity
from harness.report.style import (
    FAINT,
    INK,
    QUIET,
    Layout,
    Subject,
    centre,
    hatch_emulated,
    log_axis,
    name_rows,
    rows_figure,
)


@dataclass(frozen=True)
class DotRow:
    """One runtime's points in the order of its blocks, and its discarded warm-ups."""

    subject: Subject
    values: tuple[float, ...]
    warmups: tuple[float, ...]
    estimate: Estimate | None


@dataclass(frozen=True)
class DotPlot:
    """What to draw: the rows, the unit, and the harness's own limit where it has a meaning."""

    rows: tuple[DotRow, ...]
    unit: str
    axis: str
    floor: float | None = None
    floor_name: str = "the harness's own floor"


def draw_dots(plot: DotPlot, layout: Layout) -> Figure:
    """One line a runtime: all points, the median as a stroke, its interval as a band."""
    figure, axes = rows_figure(layout, len(plot.rows), 0.72 if plot.floor else 0.56)
    everything = [v for r in plot.rows for v in (*r.values, *r.warmups) if v > 0]
    everything += [plot.floor] if plot.floor else []
    log_axis(axes, min(everything, default=1e-3), max(everything, default=1.0), plot.unit)
    subjects = [row.subject for row in plot.rows]
    hatch_emulated(axes, subjects)
    for number, row in enumerate(plot.rows):
        _draw_row(axes, number + centre(layout), row)
    name_rows(axes, layout, subjects, [_value(row, plot.unit) for row in plot.rows])
    if plot.floor:
        _draw_floor(axes, plot.floor, f"{plot.floor_name}, {quantity(plot.floor, plot.unit)}")
    axes.set_xlabel(plot.axis, labelpad=4, size=8)
    return figure


def _value(row: DotRow, unit: str) -> tuple[str, str]:
    if row.estimate is None:
        return "no value", "no trial succeeded"
    return quantity(row.estimate.value, unit), beside(row.estimate, unit)


def _draw_row(axes: Axes, y: float, row: DotRow) -> None:
    face = "white" if row.subject.emulated else row.subject.colour
    axes.scatter(
        row.warmups, _spread(len(row.warmups), y, 0.0), marker="x", s=16, color=FAINT,
        linewidth=0.9, zorder=2,
    )  # fmt: skip
    estimate = row.estimate
    if estimate is not None and estimate.interval is not None:
        axes.fill_betweenx(
            [y - 0.2, y + 0.2], estimate.interval.low, estimate.interval.high,
            color=row.subject.colour, alpha=0.28, linewidth=0, zorder=1,
        )  # fmt: skip
    axes.scatter(
        row.values, _spread(len(row.values), y, 0.26), s=17, facecolor=face,
        edgecolor=row.subject.colour, linewidth=0.9, alpha=0.9, zorder=3,
    )  # fmt: skip
    if estimate is not None:
        axes.plot([estimate.value] * 2, [y - 0.3, y + 0.3], color=INK, linewidth=1.6, zorder=4)


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
