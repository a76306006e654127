"""Ratios to bare metal with their intervals and the margin of equivalence, test by test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness.analysis.language import later, say
from harness.analysis.statistics import Estimate
from harness.analysis.units import times
from harness.report.dots import MOST_STROKES, drawn
from harness.report.numbers import Cell, Numbers, ends
from harness.report.sheet import Layout, Page, sheet
from harness.report.style import (
    EMULATED_GROUND,
    EMULATED_HATCH,
    FAINT,
    HAIRLINE,
    INK,
    MARGIN_GROUND,
    QUIET,
    Subject,
)

_ABOVE_IN, _BELOW_IN = 0.32, 0.52
_LEAST_HEADING_IN, _LEAST_LINE_IN = 0.2, 0.12
_LINE_IN = 0.19
_HEADING_IN = 0.27
_READING = later(
    "Point: ratio of medians; strokes: blocks, arrows: further ones; bar: 95 % interval; "
    "band: margin of equivalence."
)
_SMALL = 7.0
_LETTER_IN, _NAME_GAP_IN, _MOST_LEFT = 0.057, 0.12, 0.4
_FAR, _PRESSED = 0.05, 1.5
"""The furthest strokes and ends at each side are arrows where they make the axis so much longer."""


@dataclass(frozen=True)
class Line:
    """One runtime's ratio, and those of single blocks."""

    subject: Subject
    ratio: Estimate
    blocks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Group:
    """One test: its name, the margin of equivalence (1 is none), its lines."""

    heading: str
    margin: float
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Panel:
    """One variant of all tests, such as a number of threads."""

    title: str
    groups: tuple[Group, ...]

    @property
    def height_in(self) -> float:
        """What its lines and headings need."""
        return sum(_HEADING_IN + _LINE_IN * len(group.lines) for group in self.groups)


def ratios_numbers(panels: Sequence[Panel]) -> Numbers:
    """Every ratio with its interval and the margin of its test, and those of single blocks."""
    rows: list[tuple[Cell, ...]] = []
    for panel, group, line in ((p, g, each) for p in panels for g in p.groups for each in g.lines):
        head = (panel.title, group.heading, line.subject.name, line.subject.kind)
        margin = group.margin if group.margin > 1 else None
        rows.append((*head, "medians", *ends(line.ratio), margin))
        rows += [
            (*head, "block", ratio, None, None, None) for ratio in drawn(line.blocks, MOST_STROKES)
        ]
    headings = ("panel", "test", "runtime", "class", "what", "ratio", "low", "high", "margin")
    return Numbers(headings, tuple(rows))


def draw_ratios(
    panels: Sequence[Panel], axis: str, layout: Layout, logarithmic: bool = False
) -> FigureBase:
    """Panels side by side, or on a phone one below the other, on one scale."""
    limits = _limits(panels, logarithmic)
    stacked = layout.narrow or len(panels) == 1
    page, panels = _sheet(panels, layout, stacked)
    heights = [panel.height_in for panel in panels]
    total, columns = page.height_in, 1 if stacked else len(panels)
    edges = (_ABOVE_IN + _BELOW_IN) * (len(panels) if stacked else 1)
    squeeze = (total - edges) / (sum(heights) if stacked else max(heights))
    wide_in = layout.width_in
    least, gap = (0.24, 0.1) if layout.narrow else (1.035 / wide_in, 0.675 / wide_in)
    left = min(max(least, _names_in(panels) / wide_in), _MOST_LEFT)
    width = (1 - left - gap * columns) / columns
    top = total
    for number, panel in enumerate(panels):
        column, high = 0 if stacked else number, heights[number] * squeeze
        base = (top if stacked else total) - _ABOVE_IN - high
        axes = page.figure.add_axes(
            (left + column * (width + gap), base / total, width, high / total)
        )
        _draw_panel(axes, panel, limits, axis, named=column == 0, logarithmic=logarithmic)
        if layout.few and not logarithmic:
            axes.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
        top -= high + _ABOVE_IN + _BELOW_IN if stacked else 0.0
        if columns > 1 and layout.few:  # too narrow for one label each
            axes.set_xlabel("")
    if columns > 1 and layout.few:
        page.figure.text(0.5, 0.03 / total, say(axis), size=8, color=QUIET, ha="center",
                         va="bottom")  # fmt: skip
    return page.figure


def _names_in(panels: Sequence[Panel]) -> float:
    """What the longest name takes beside the axis, and the gap to it."""
    names = [line.subject.name for p in panels for g in p.groups for line in g.lines]
    return max(map(len, names), default=0) * _LETTER_IN + _NAME_GAP_IN


def _sheet(panels: Sequence[Panel], layout: Layout, stacked: bool) -> tuple[Page, Sequence[Panel]]:
    """A sheet, and what of the panels is on it: a group is not parted."""
    count = max(len(panel.groups) for panel in panels)
    high = sum(p.height_in for p in panels) if stacked else max(p.height_in for p in panels)
    lines = [line for panel in panels for group in panel.groups for line in group.lines]
    most = max(len(group.lines) for panel in panels for group in panel.groups)
    page = sheet(
        layout, (_ABOVE_IN + _BELOW_IN) * (len(panels) if stacked else 1), rows=count,
        row_in=high / count, least_in=_LEAST_HEADING_IN + most * _LEAST_LINE_IN,
        reading=say(_READING),
        emulated=any(line.subject.emulated for line in lines),
    )  # fmt: skip
    return page, [replace(p, groups=p.groups[page.first : page.last]) for p in panels]


def _limits(panels: Sequence[Panel], logarithmic: bool) -> tuple[float, float]:
    """All points and margins; of strokes and intervals, all that do not press these together."""
    groups = [group for panel in panels for group in panel.groups]
    lines = [line for group in groups for line in group.lines]
    reach = [1.0, *(line.ratio.value for line in lines)]
    reach += [end for group in groups for end in (group.margin, 1 / group.margin)]
    wide = [ratio for line in lines for ratio in drawn(line.blocks, MOST_STROKES)]
    wide += [end for i in (line.ratio.interval for line in lines) if i for end in (i.low, i.high)]
    if wide and not logarithmic:
        most = [float(each) for each in np.quantile(wide, [_FAR, 1 - _FAR])]
        inner, outer = [*reach, *most], [*reach, *wide]
        far = max(outer) - min(outer) > _PRESSED * (max(inner) - min(inner))
        wide = most if far else wide
    low, high = min([*reach, *wide]), max([*reach, *wide])
    if logarithmic:
        return low / 1.3, high * 1.3
    room = 0.06 * (high - low) or 0.05
    return max(low - room, 0.0), high + room


def _draw_panel(
    axes: Axes,
    panel: Panel,
    limits: tuple[float, float],
    axis: str,
    *,
    named: bool,
    logarithmic: bool,
) -> None:
    if logarithmic:
        axes.set_xscale("log")
        ticks = [t for k in range(-6, 7) for t in (10.0**k, 3 * 10.0**k)]
        axes.xaxis.set_major_locator(
            FixedLocator([t for t in ticks if limits[0] <= t <= limits[1]])
        )
        axes.xaxis.set_minor_locator(NullLocator())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    axes.set_xlim(*limits)
    axes.set_ylim(panel.height_in, 0)
    axes.set_yticks([])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="x", length=3, width=0.6, pad=3)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.grid(axis="x", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.axvline(1, color=INK, linewidth=0.8, zorder=1)
    axes.set_title(say(panel.title), pad=6)
    axes.set_xlabel(say(axis), labelpad=4, size=8)
    y = 0.0
    for group in panel.groups:
        _draw_group(axes, group, y, named)
        y += _HEADING_IN + _LINE_IN * len(group.lines)


def _draw_group(axes: Axes, group: Group, y: float, named: bool) -> None:
    place = axes.get_yaxis_transform()
    first, last = y + _HEADING_IN - 0.02, y + _HEADING_IN + _LINE_IN * len(group.lines) - 0.02
    if group.margin > 1:
        axes.fill_betweenx(
            [first, last], 1 / group.margin, group.margin, color=MARGIN_GROUND, linewidth=0,
            zorder=0.5,
        )  # fmt: skip
    axes.text(0, y + _HEADING_IN - 0.075, say(group.heading), transform=place, va="center",
              size=8, weight="bold", color=INK,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # fmt: skip
    for number, line in enumerate(group.lines):
        _draw_line(axes, line, y + _HEADING_IN + _LINE_IN * (number + 0.5), named)


def _draw_line(axes: Axes, line: Line, y: float, named: bool) -> None:
    place, colour, interval = axes.get_yaxis_transform(), line.subject.colour, line.ratio.interval
    if line.subject.emulated:
        axes.axhspan(y - _LINE_IN / 2, y + _LINE_IN / 2, facecolor=EMULATED_GROUND,
                     edgecolor=EMULATED_HATCH, hatch="////", linewidth=0, zorder=0)  # fmt: skip
    low, high = axes.get_xlim()
    if interval is not None:
        axes.plot([interval.low, interval.high], [y, y], color=colour, linewidth=3.2, alpha=0.4,
                  solid_capstyle="butt", zorder=2)  # fmt: skip
    blocks = drawn(line.blocks, MOST_STROKES)
    axes.plot(blocks, [y] * len(blocks), marker="|", markersize=5, markeredgewidth=0.8, zorder=2.5,
              color=colour, alpha=0.55, linestyle="none")  # fmt: skip
    for edge, arrow, beyond in (
        (low, "<", any(ratio < low for ratio in blocks)),
        (high, ">", any(ratio > high for ratio in blocks)),
    ):
        if beyond:
            axes.plot([edge], [y], marker=arrow, markersize=3.6, color=colour, clip_on=False,
                      linestyle="none", zorder=3)  # fmt: skip
    face = "white" if line.subject.emulated else colour
    axes.plot([line.ratio.value], [y], marker="o", markersize=4.2, markerfacecolor=face,
              markeredgecolor=colour, markeredgewidth=0.9, zorder=3)  # fmt: skip
    if named:
        axes.text(-0.02, y, line.subject.name, transform=place, va="center", ha="right",
                  size=_SMALL, color=colour)  # fmt: skip
    axes.text(1.015, y, times(line.ratio.value), transform=place, va="center", size=_SMALL,
              color=QUIET if interval is not None else FAINT)  # fmt: skip
