"""The memory account of one instance: two totals that should agree, and two views beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D

from harness.analysis.language import later, say
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

CHARGED, HOST, PSS, RSS = ("memory.charged", "memory.host_delta", "memory.pss", "memory.rss")
TOTALS = (CHARGED, HOST)
_LOOK: Mapping[str, tuple[str, str, float, float]] = {
    CHARGED: (later("charged"), "o", 40, -0.14),
    HOST: (later("host's fall"), "D", 26, 0.02),
    PSS: ("PSS", "|", 60, 0.18),
    RSS: ("RSS", "s", 18, 0.18),
}


@dataclass(frozen=True)
class LedgerRow:
    """One runtime's medians by metric, in bytes, and the values of single trials of the two
    totals."""

    subject: Subject
    estimates: Mapping[str, Estimate | None]
    trials: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def drawn(self, metric: str) -> Sequence[float]:
        """The trials of one of the two totals that can be shown; PSS and RSS are medians alone."""
        return self._drawn.get(metric, ())

    @cached_property
    def _drawn(self) -> Mapping[str, Sequence[float]]:
        return {
            metric: drawn([value for value in self.trials.get(metric, ()) if value > 0],
                          MOST_STROKES)
            for metric in TOTALS
            if not self.hides(metric)
        }  # fmt: skip

    def hides(self, metric: str) -> bool:
        """Too few trials told the host's fall from noise: those that did are the large ones."""
        estimate = self.estimates.get(metric)
        return metric == HOST and estimate is not None and estimate.interval is None


def draw_ledger(rows: tuple[LedgerRow, ...], layout: Layout) -> FigureBase:
    """One line a runtime; the two totals carry their intervals."""
    reading = say(
        "Medians of one idle instance; strokes: trials; bands: 95 % intervals. PSS and RSS beside, "
        "never added."
    )
    figure, axes = rows_figure(layout, [row.subject for row in rows], 0.78, reading, least_in=0.2)
    everything = [v for r in rows for v in _positive(r)]
    log_axis(axes, min(everything, default=1e5), max(everything, default=1e6), "bytes", layout.few)
    hatch_emulated(axes, [row.subject for row in rows])
    for number, row in enumerate(rows):
        _draw_row(axes, number + centre(layout), row)
    name_rows(axes, layout, [row.subject for row in rows], [_value(row) for row in rows])
    _draw_key(axes, layout)
    axes.set_xlabel(say("memory an instance, logarithmic scale"), labelpad=4, size=8)
    return figure


def ledger_numbers(rows: tuple[LedgerRow, ...]) -> Numbers:
    """Every median with its interval, and the trials that are drawn."""
    found: list[tuple[Cell, ...]] = []
    for row in rows:
        for metric, estimate in row.estimates.items():
            head = (row.subject.name, row.subject.kind, metric)
            found.append((*head, "median", *ends(estimate), "bytes"))
            found += [(*head, "trial", v, None, None, "bytes") for v in row.drawn(metric)]
    headings = ("runtime", "class", "metric", "what", "value", "low", "high", "unit")
    return Numbers(headings, tuple(found))


def _positive(row: LedgerRow) -> list[float]:
    found = [e for e in row.estimates.values() if e is not None and e.value > 0]
    ends = [e.interval.high for e in found if e.interval]
    starts = [e.interval.low for e in found if e.interval and e.interval.low > 0]
    trials = [v for metric in TOTALS for v in row.drawn(metric)]
    return [e.value for e in found] + ends + starts + trials


def _value(row: LedgerRow) -> tuple[str, str]:
    estimate = row.estimates.get(CHARGED)
    if estimate is None:
        return say("no value"), say("below the host's variation")
    return quantity(estimate.value, "bytes"), beside(estimate, "bytes")


def _draw_row(axes: Axes, y: float, row: LedgerRow) -> None:
    for metric, (_, marker, size, shift) in _LOOK.items():
        estimate = row.estimates.get(metric)
        if estimate is None or estimate.value <= 0:
            continue
        if row.hides(metric):
            continue
        hollow = row.subject.emulated or metric in (HOST, RSS)
        colour = QUIET if metric in (PSS, RSS) else row.subject.colour
        interval = estimate.interval
        trials = row.drawn(metric)
        axes.plot(trials, [y + shift] * len(trials), marker="|", markersize=7, linestyle="none",
                  markeredgewidth=0.8, color=colour, alpha=0.55, zorder=2.5)  # fmt: skip
        if interval is not None and metric in TOTALS:
            axes.plot(
                [max(interval.low, axes.get_xlim()[0]), interval.high], [y + shift] * 2,
                color=colour, linewidth=4, alpha=0.25, solid_capstyle="butt", zorder=2,
            )  # fmt: skip
        face = {"color": colour} if marker == "|" else {
            "facecolor": "white" if hollow else colour, "edgecolor": colour}  # fmt: skip
        axes.scatter([estimate.value], [y + shift], marker=marker, s=size, zorder=3,
                     linewidth=1.1, **face)  # type: ignore[arg-type]  # fmt: skip


def _draw_key(axes: Axes, layout: Layout) -> None:
    handles = [
        Line2D([], [], linestyle="none", marker=marker, label=say(label), color=INK, markersize=5,
               markerfacecolor=INK if metric == CHARGED else "white")
        for metric, (label, marker, _, _) in _LOOK.items()
    ]  # fmt: skip
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=4, frameon=False,
        fontsize=7.5, handletextpad=0.1, columnspacing=0.9 if layout.narrow else 1.6,
        borderaxespad=0, borderpad=0.2,
    )  # fmt: skip
