"""Differences with their intervals, one line each, around nothing at all: a forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import FigureBase
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.analysis.language import say
from harness.analysis.statistics import Estimate
from harness.analysis.units import beside, quantity
from harness.report.numbers import Numbers, ends
from harness.report.sheet import Layout
from harness.report.style import (
    HAIRLINE,
    INK,
    Subject,
    centre,
    hatch_emulated,
    name_rows,
    rows_figure,
    tick,
)


@dataclass(frozen=True)
class Difference:
    """One line: what differs, and by how much."""

    subject: Subject
    estimate: Estimate


def draw_differences(
    rows: Sequence[Difference], unit: str, axis: str, layout: Layout
) -> FigureBase:
    """Each difference as a point with its interval, on one ordinary scale with 0 marked."""
    subjects = [row.subject for row in rows]
    reading = say("Point: difference of medians; band: its interval, 95 % for all together.")
    figure, axes = rows_figure(layout, subjects, 0.62, reading)
    hatch_emulated(axes, subjects)
    reach = [0.0]
    for number, row in enumerate(rows):
        y, estimate = number + centre(layout), row.estimate
        reach.append(estimate.value)
        if estimate.interval is not None:
            ends = (estimate.interval.low, estimate.interval.high)
            reach += ends
            axes.plot(ends, [y, y], color=row.subject.colour, linewidth=5, alpha=0.35,
                      solid_capstyle="butt")  # fmt: skip
        face = "white" if row.subject.emulated else row.subject.colour
        axes.plot([estimate.value], [y], marker="o", markersize=6, markerfacecolor=face,
                  markeredgecolor=row.subject.colour)  # fmt: skip
    margin = (max(reach) - min(reach)) * 0.06 or 1.0
    axes.set_xlim(min(reach) - margin, max(reach) + margin)
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    axes.xaxis.set_major_locator(MaxNLocator(4 if layout.few else 7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: tick(x, unit) if x else "0"))
    axes.grid(axis="x", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    texts = [(_signed(r.estimate.value, unit), beside(r.estimate, unit)) for r in rows]
    name_rows(axes, layout, subjects, texts)
    axes.set_xlabel(say(axis), labelpad=4, size=8)
    return figure


def differences_numbers(rows: Sequence[Difference], unit: str) -> Numbers:
    """Every difference with its interval."""
    found = tuple((r.subject.name, r.subject.kind, *ends(r.estimate), unit) for r in rows)
    return Numbers(("what", "class", "difference", "low", "high", "unit"), found)


def _signed(value: float, unit: str) -> str:
    return f"{'+' if value >= 0 else '−'}{quantity(abs(value), unit)}"
