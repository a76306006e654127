"""Bars of a few amounts a runtime, on one ordinary scale: what was taken, what came back.

An amount that is nothing is as telling as one that is large, so the scale begins below zero
and is not logarithmic; a short stroke at zero says that a value is there.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MultipleLocator

from harness.analysis.language import say
from harness.analysis.statistics import Estimate
from harness.report.numbers import Numbers, ends
from harness.report.sheet import Layout
from harness.report.style import (
    HAIRLINE,
    INK,
    QUIET,
    Subject,
    hatch_emulated,
    name_rows,
    rows_figure,
    tick,
)

_STEPS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_MIB = 1024.0 * 1024.0


@dataclass(frozen=True)
class BarRow:
    """One runtime: an estimate or None for each series, and what stands at the right."""

    subject: Subject
    estimates: tuple[Estimate | None, ...]
    value: tuple[str, str]


@dataclass(frozen=True)
class Bars:
    """What to draw: rows, the names of the series, the axis, and where a line is drawn."""

    rows: tuple[BarRow, ...]
    series: tuple[str, ...]
    axis: str
    line: float

    @property
    def numbers(self) -> Numbers:
        """Every bar with its interval."""
        rows = tuple(
            (row.subject.name, row.subject.kind, name, *ends(estimate), "bytes")
            for row in self.rows
            for name, estimate in zip(self.series, row.estimates, strict=True)
        )
        return Numbers(("runtime", "class", "what", "value", "low", "high", "unit"), rows)


def draw_bars(bars: Bars, layout: Layout) -> FigureBase:
    """A group of thin bars a runtime, each with its interval; bytes."""
    subjects = [row.subject for row in bars.rows]
    reading = say("Bars: medians; lines: 95 % intervals.")
    figure, axes = rows_figure(layout, subjects, 0.86, reading)
    reach = [0.0, bars.line, *(v for row in bars.rows for v in _ends(row))]
    high = max(reach)
    low = min(*reach, -0.02 * high)
    axes.set_xlim(low * 1.05, high * 1.05)
    hatch_emulated(axes, subjects)
    for number, row in enumerate(bars.rows):
        _draw_row(axes, number + (0.14 if layout.narrow else 0.0), row, layout)
    axes.axvline(0, color=INK, linewidth=0.8, zorder=1)
    axes.axvline(bars.line, color=QUIET, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    wanted = high / (4 if layout.few else 8) / _MIB
    axes.xaxis.set_major_locator(
        MultipleLocator(next((s for s in _STEPS if s >= wanted), 1024) * _MIB)
    )
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: tick(x, "bytes").replace("-", "\N{MINUS SIGN}") if x else "0")
    )
    axes.grid(axis="x", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    name_rows(axes, layout, subjects, [row.value for row in bars.rows])
    _draw_key(axes, bars)
    axes.set_xlabel(say(bars.axis), labelpad=4, size=8)
    return figure


def _ends(row: BarRow) -> list[float]:
    known = [e for e in row.estimates if e is not None]
    intervals = [e.interval for e in known if e.interval is not None]
    return [e.value for e in known] + [end for i in intervals for end in (i.low, i.high)]


def _shade(number: int) -> float:
    """The first series is full, further ones are paler."""
    return (0.95, 0.5, 0.22)[number]


def _draw_row(axes: Axes, y: float, row: BarRow, layout: Layout) -> None:
    count = len(row.estimates)
    height = (0.5 if layout.narrow else 0.72) / count
    for number, estimate in enumerate(row.estimates):
        if estimate is None:
            continue
        at = y + (number - (count - 1) / 2) * height
        axes.barh(
            at, estimate.value, height=height * 0.8, color=row.subject.colour,
            alpha=_shade(number), zorder=2, linewidth=0,
            hatch="////" if row.subject.emulated else None, edgecolor="white",
        )  # fmt: skip
        axes.plot([0, 0], [at - height * 0.4, at + height * 0.4], color=row.subject.colour,
                  linewidth=2.4, zorder=3)  # fmt: skip
        if estimate.interval is not None:
            ends = (estimate.interval.low, estimate.interval.high)
            axes.plot(ends, [at, at], color=INK, linewidth=1.0, zorder=4)
            axes.plot(ends, [at, at], color=INK, linestyle="none", marker="|", markersize=4,
                      zorder=4)  # fmt: skip


def _draw_key(axes: Axes, bars: Bars) -> None:
    shown = [n for n in range(len(bars.series)) if any(row.estimates[n] for row in bars.rows)]
    handles = [Patch(facecolor=INK, alpha=_shade(n), label=say(bars.series[n])) for n in shown]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=len(handles),
        frameon=False, fontsize=7.5, handlelength=1.0, handleheight=0.9, handletextpad=0.4,
        columnspacing=1.2, borderaxespad=0, borderpad=0.2,
    )  # fmt: skip
