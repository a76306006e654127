"""A history as a picture: a panel a series, a point a run, a line at each step that is claimed."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from itertools import zip_longest
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.analysis.export import write_whole
from harness.analysis.history import History, Trend
from harness.analysis.units import times
from harness.errors import UsageError
from harness.report.style import FAINT, HAIRLINE, INK, QUIET, Subject, settings, tick

MOST_PANELS = 30
_WIDTH_IN, _PANEL_IN, _HEAD_IN, _FOOT_IN = 9.0, 1.15, 0.62, 0.42
_FORMS = {".svg": "svg", ".png": "png", ".pdf": "pdf"}
_NOTE_IN = 0.25
NOTE = (
    "A point is the median of one run, the bar its 95 % interval; runs stand in order, evenly. "
    "Hollow: emulated in software, or not judged."
)
_DATES = 8
"""Dates below a panel, at most."""


def save_trends(found: History, out: Path) -> None:
    """Draw all series into one SVG, PNG or PDF, by the file's ending. Raises UsageError for
    another, or for more panels than a page can show; HarnessError when it cannot be written."""
    form = _FORMS.get(out.suffix.lower())
    if form is None:
        raise UsageError(
            f"a chart cannot be written as {out.suffix or out.name}",
            "end --out in .svg, .png or .pdf",
        )
    if len(found.trends) > MOST_PANELS:
        raise UsageError(
            f"{len(found.trends)} series are more than a chart shows ({MOST_PANELS})",
            "choose some with --metric, --runtime and --scenario",
        )
    buffer = BytesIO()
    with settings():
        figure = draw_trends(found.trends)
        blank = dict.fromkeys(("Creator", "Date", "Format", "Type")) if form == "svg" else {}
        figure.savefig(buffer, format=form, dpi=200, metadata=blank, facecolor="white")
    write_whole(out, buffer.getvalue())


def draw_trends(trends: Sequence[Trend]) -> Figure:
    """The panels below each other."""
    each = _HEAD_IN + _PANEL_IN + _FOOT_IN
    height = each * len(trends) + _NOTE_IN
    figure = Figure(figsize=(_WIDTH_IN, height))
    for number, trend in enumerate(trends):
        bottom = height - (number + 1) * each + _FOOT_IN
        axes = figure.add_axes((0.085, bottom / height, 0.885, _PANEL_IN / height))
        _panel(axes, trend)
    figure.text(0.085, 0.1 / height, NOTE, size=7, color=QUIET)
    return figure


def _panel(axes: Axes, trend: Trend) -> None:
    subject = Subject(trend.runtime, trend.runtime_class, trend.accel, trend.emulated)
    _scale(axes, trend)
    _levels(axes, trend)
    xs = range(len(trend.points))
    for x, point in zip(xs, trend.points, strict=True):
        interval = point.median.interval
        if interval is not None:
            axes.plot([x, x], [interval.low, interval.high], color=subject.colour, alpha=0.35,
                      linewidth=4, solid_capstyle="butt", zorder=2)  # fmt: skip
        hollow = trend.emulated or bool(point.blocked)
        axes.scatter([x], [point.median.value], s=20, zorder=3, edgecolor=subject.colour,
                     facecolor="white" if hollow else subject.colour, linewidth=1.0)  # fmt: skip
    told = ", ".join(f"{key} {value}" for key, value in trend.dimensions.items())
    axes.text(0, 1.30, _cut(trend.runtime, 60), transform=axes.transAxes, weight="bold",
              color=subject.colour, size=9.5, va="bottom")  # fmt: skip
    axes.text(1, 1.30, f"{trend.metric}{': ' if told else ''}{told}", transform=axes.transAxes,
              ha="right", color=INK, size=8.5, va="bottom")  # fmt: skip
    axes.text(0, 1.12, _cut(f"{trend.scenario} · {subject.kind}", 70), size=7, color=QUIET,
              transform=axes.transAxes, va="bottom")  # fmt: skip
    host = trend.host or "a host that is not told"
    axes.text(1, 1.12, f"on {_cut(host, 60)}", transform=axes.transAxes, ha="right", size=7,
              color=QUIET, va="bottom")  # fmt: skip


def _cut(text: str, length: int) -> str:
    """A name as long as there is room, as it can be drawn; `$` would begin a formula."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    short = clean if len(clean) <= length else f"{clean[: length - 1]}…"
    return short.replace("$", r"\$")


def _scale(axes: Axes, trend: Trend) -> None:
    ends = [i for p in trend.points if (i := p.median.interval)]
    low = min(*trend.values, *(i.low for i in ends), *trend.values[:1])
    high = max(*trend.values, *(i.high for i in ends), *trend.values[:1])
    room = (high - low) * 0.12 or abs(high) * 0.1 or 1.0
    axes.set_ylim(low - room, high + room)
    axes.set_xlim(-0.6, max(len(trend.points) - 0.4, 5.0))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: tick(y, trend.unit)))
    axes.tick_params(axis="y", labelsize=8, length=0)
    axes.grid(axis="y", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    dated = np.unique(np.linspace(0, len(trend.points) - 1, _DATES).round().astype(int))
    labels = [trend.points[n].started_utc[:10] for n in dated]
    axes.set_xticks([int(n) for n in dated], labels, size=7)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _levels(axes: Axes, trend: Trend) -> None:
    """The level on each side of a step, and how large the step is."""
    left = -0.5
    for change, after in zip_longest(trend.changes, trend.changes[1:]):
        x = change.position - 0.5
        end = after.position - 0.5 if after else len(trend.points) - 0.4
        axes.axvline(x, color=INK, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)
        axes.plot([left, x], [change.before] * 2, color=FAINT, zorder=1)
        axes.plot([x, end], [change.after] * 2, color=FAINT, zorder=1)
        left = x
        ratio = f"{times(change.ratio)} ×, " if change.ratio is not None else ""
        axes.text(x, 1.0, f" {ratio}{change.verdict}", size=7.5, color=INK, va="bottom",
                  transform=axes.get_xaxis_transform())  # fmt: skip
