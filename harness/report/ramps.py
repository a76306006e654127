"""Curves over the number of instances: a panel a runtime, each to its own scale.

Runtimes hold from tens to thousands of instances of sizes that differ by a hundred times, so
one scale for all would show one of them alone. What is to be compared stands in the title of
each panel, in figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness.analysis.language import say
from harness.report.numbers import Numbers
from harness.report.sheet import Layout, sheet
from harness.report.style import (
    EMULATED_GROUND,
    HAIRLINE,
    INK,
    QUIET,
    Subject,
    sizes,
    tick,
)

_PANEL_IN = 1.75
_LEAST_PANEL_IN = 1.2
_KEY_IN = 0.32
_DASHED = (0, (3, 1.5))


@dataclass(frozen=True)
class Trace:
    """One ramp's values. `solid` is the main quantity of the panel, the other stands beside."""

    points: Sequence[tuple[int, float]]
    solid: bool = True
    dots: bool = False


@dataclass(frozen=True)
class Panel:
    """One runtime. `note` is what the curves come to, `aside` stands small under it; `line` is
    a level with its name, drawn where the scale reaches that far."""

    subject: Subject
    note: str
    traces: tuple[Trace, ...]
    aside: str = ""
    line: tuple[float, str] | None = None


@dataclass(frozen=True)
class Ramps:
    """All panels; `solid` and `beside` name the two quantities, `log` is the scale of values."""

    panels: tuple[Panel, ...]
    unit: str
    solid: str
    beside: str = ""
    log: bool = False

    @property
    def numbers(self) -> Numbers:
        """Every point of every ramp."""
        rows = tuple(
            (panel.subject.name, panel.subject.kind, self.solid if trace.solid else self.beside,
             curve, n, value, self.unit)
            for panel in self.panels
            for curve, trace in enumerate(panel.traces, start=1)
            for n, value in trace.points
        )  # fmt: skip
        headings = ("runtime", "class", "what", "curve", "instances", "value", "unit")
        return Numbers(headings, rows)


def draw_ramps(ramps: Ramps, layout: Layout) -> FigureBase:
    """Two panels side by side; one below the other on a phone, and a slide each."""
    columns = 1 if layout.few or len(ramps.panels) == 1 else 2
    rows = math.ceil(len(ramps.panels) / columns)
    page = sheet(
        layout, _KEY_IN + 0.2, rows=rows, row_in=_PANEL_IN, least_in=_LEAST_PANEL_IN,
        emulated=any(p.subject.emulated for p in ramps.panels),
        reading=say("A curve a ramp; each panel has its own scale."),
    )  # fmt: skip
    figure, height = page.figure, page.height_in
    panel_in = (height - _KEY_IN - 0.2) / (page.last - page.first)
    for number, panel in enumerate(ramps.panels[page.first * columns : page.last * columns]):
        row, column = divmod(number, columns)
        left, right = (0.62, 0.14) if layout.few else (0.68, 0.22)
        width = layout.width_in / columns
        bottom = height - _KEY_IN - (row + 1) * panel_in + 0.32
        axes = figure.add_axes(
            (
                (column * width + left) / layout.width_in,
                bottom / height,
                (width - left - right) / layout.width_in,
                (panel_in - 0.32 - 0.42) / height,
            )
        )
        _draw_panel(axes, panel, ramps)
    _draw_key(figure, ramps, height, layout)
    figure.text(
        0.5, 0.05 / height, say("instances running"), size=8, color=QUIET, ha="center", va="bottom"
    )
    return figure


def _draw_panel(axes: Axes, panel: Panel, ramps: Ramps) -> None:
    colour = panel.subject.colour
    if panel.subject.emulated:
        axes.set_facecolor(EMULATED_GROUND)
    faint = 0.9 if sum(trace.solid for trace in panel.traces) == 1 else 0.55
    for trace in panel.traces:
        xs, ys = zip(*trace.points, strict=True)
        if trace.dots:
            axes.scatter(xs, ys, s=5 if len(xs) > 60 else 11, facecolor="none" if
                         panel.subject.emulated else colour, edgecolor=colour, linewidth=0.7,
                         alpha=faint, zorder=3)  # fmt: skip
        else:
            axes.plot(xs, ys, color=colour if trace.solid else INK,
                      linestyle="solid" if trace.solid else _DASHED,
                      linewidth=1.3 if trace.solid else 0.9, marker="o" if trace.solid else "D",
                      markersize=3 if trace.solid else 2.4, alpha=faint,
                      markerfacecolor=colour if trace.solid else "white",
                      zorder=3 if trace.solid else 2)  # fmt: skip
    _scale(axes, panel, ramps)
    high_in = axes.get_window_extent().height / axes.figure.dpi
    upper, lower = 1 + 0.222 / high_in, 1 + 0.061 / high_in
    axes.text(0, upper, panel.subject.name, transform=axes.transAxes, weight="bold", size=8.5,
              color=colour, va="bottom")  # fmt: skip
    axes.text(1, upper, panel.note, transform=axes.transAxes, weight="bold", size=8, ha="right",
              va="bottom")  # fmt: skip
    axes.text(0, lower, panel.subject.kind, transform=axes.transAxes, size=7, color=QUIET,
              va="bottom")  # fmt: skip
    axes.text(1, lower, panel.aside, transform=axes.transAxes, size=7, color=QUIET, ha="right",
              va="bottom")  # fmt: skip
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=3, width=0.6, pad=2, labelsize=7.5)
    axes.grid(axis="y", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)


def _scale(axes: Axes, panel: Panel, ramps: Ramps) -> None:
    points = [point for trace in panel.traces for point in trace.points]
    most, values = max(n for n, _ in points), [v for _, v in points]
    axes.set_xlim(0, most * 1.03)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if ramps.log:
        low, high = min(v for v in values if v > 0) / 1.6, max(values) * 1.6
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        ticks = [t for k in range(-7, 4) for m in (1, 3) if low <= (t := m * 10.0**k) <= high]
        ticks = ticks if len(ticks) <= 4 else [t for t in ticks if f"{t:e}"[0] == "1"]
        axes.yaxis.set_major_locator(FixedLocator(ticks))
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        top = max(values)
        if panel.line is not None and panel.line[0] <= 2 * top:
            top = max(top, panel.line[0])
            axes.axhline(panel.line[0], color=INK, linewidth=0.9, zorder=1)
            axes.text(0.01, panel.line[0], panel.line[1], size=7, color=INK, va="top",
                      transform=axes.get_yaxis_transform())  # fmt: skip
        axes.set_ylim(min(0.0, *values), top * 1.08)
        axes.yaxis.set_major_locator(sizes(top, 4) if ramps.unit == "bytes" else MaxNLocator(4))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: tick(v, ramps.unit) if v else "0"))


def _draw_key(figure: FigureBase, ramps: Ramps, height: float, layout: Layout) -> None:
    handles = [Line2D([], [], color=QUIET, marker="o", markersize=3.5, linewidth=1.3,
                      label=say(ramps.solid))]  # fmt: skip
    if all(trace.dots for panel in ramps.panels for trace in panel.traces):
        handles[0].set_linestyle("none")
    if ramps.beside:
        handles.append(
            Line2D([], [], color=INK, marker="D", markersize=3, linewidth=0.9, linestyle=_DASHED,
                   markerfacecolor="white", label=say(ramps.beside))
        )  # fmt: skip
    left = (0.05 if layout.narrow else 0.1) / layout.width_in
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(left, 1 - 0.02 / height), ncol=2,
        frameon=False, fontsize=7.5, handletextpad=0.4, columnspacing=1.4, borderaxespad=0,
    )  # fmt: skip
