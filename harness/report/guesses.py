"""Predictions drawn beside what was measured: what a lesson shows after a guess was typed in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.analysis.api import UNITS
from harness.analysis.guesses import KINDS
from harness.analysis.language import say
from harness.analysis.units import MISSING, quantity, times
from harness.report.sheet import Layout
from harness.report.style import (
    INK,
    NARROW,
    QUIET,
    WIDE,
    Subject,
    centre,
    hatch_emulated,
    log_axis,
    name_rows,
    rows_figure,
    settings,
)


@dataclass(frozen=True)
class _Row:
    """One prediction. A value that is not there is NaN; `kind` is empty where none is known."""

    name: str
    kind: str
    emulated: bool
    guess: float
    measured: float
    ends: tuple[float, float]

    @property
    def made(self) -> bool:
        return math.isfinite(self.guess) and math.isfinite(self.measured)

    @property
    def subject(self) -> Subject:
        return Subject(self.name, self.kind, "", self.emulated)

    def texts(self, unit: str) -> tuple[str, str]:
        """What stands at the right: the measured value, and how far off the guess was."""
        if not self.made:
            return MISSING, say("no guess yet")
        size = self.guess / self.measured
        off = times(max(size, 1 / size))
        told = say("guess {times} × too high") if size > 1 else say("guess {times} × too low")
        return quantity(self.measured, unit), told.format(times=off)


def guess_figure(checked: pd.DataFrame, narrow: bool = False) -> Figure:
    """The chart of a table of `check_guesses` or `guesses_beside`: wide, or for a phone.

    A row a guess: a diamond for it, a dot with its interval for what was measured, and the way
    between them, on a scale of ratios, where twice too long is as far off as twice too short.
    A row without a guess stays empty.
    """
    unit = str(checked.attrs.get(UNITS, {}).get("guess", "1"))
    with settings():
        made = _draw(_rows(checked), unit, NARROW if narrow else WIDE)
        made.draw_without_rendering()  # ticks take the style that holds when they are made
    return made


def _rows(checked: pd.DataFrame) -> list[_Row]:
    kinds: Mapping[str, tuple[str, bool]] = checked.attrs.get(KINDS, {})
    measured = checked.columns[list(checked.columns).index("guess") + 1]
    return [
        _Row(say(str(name)), *kinds.get(str(name), ("", False)), float(row["guess"]),
             float(row[measured]), (float(row["low"]), float(row["high"])))
        for name, row in checked.iterrows()
    ]  # fmt: skip


def _draw(rows: Sequence[_Row], unit: str, layout: Layout) -> Figure:
    subjects = [row.subject for row in rows]
    reading = say("Diamond: the guess; dot: the median; band: its 95 % interval.")
    figure, axes = rows_figure(layout, subjects, 0.62, reading)
    assert isinstance(figure, Figure)
    hatch_emulated(axes, subjects)
    made = [row for row in rows if row.made]
    for number, row in enumerate(rows):
        if row.made:
            _draw_row(axes, number + centre(layout), row)
    if made:
        values = [value for row in made for value in (row.guess, row.measured)]
        log_axis(axes, min(values), max(values), unit)
    else:
        axes.set_xticks([])
    name_rows(axes, layout, subjects, [row.texts(unit) for row in rows])
    axes.set_xlabel(reading, labelpad=4, size=8)
    return figure


def _draw_row(axes: Axes, y: float, row: _Row) -> None:
    colour = row.subject.colour
    axes.plot([row.guess, row.measured], [y, y], color=QUIET, linewidth=0.9, linestyle=":")
    if all(math.isfinite(end) and end > 0 for end in row.ends):
        axes.plot(row.ends, [y, y], color=colour, linewidth=5, alpha=0.35, solid_capstyle="butt")
    face = "white" if row.emulated else colour
    axes.plot([row.measured], [y], marker="o", markersize=6, markerfacecolor=face,
              markeredgecolor=colour)  # fmt: skip
    axes.plot([row.guess], [y], marker="D", markersize=6, markerfacecolor="white",
              markeredgecolor=INK, markeredgewidth=1.3)  # fmt: skip
