"""Counters over time: one panel a runtime, each with a time axis of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import FuncFormatter, MaxNLocator

from harness.analysis.language import say
from harness.report.numbers import Numbers
from harness.report.sheet import Layout, sheet
from harness.report.style import FAINT, HAIRLINE, QUIET, Subject, sizes, tick

_PANEL_IN = 0.95
_GAP_IN = 0.52
_TOP_IN, _BOTTOM_IN = 0.34, 0.42
_LEAST_PANEL_IN = 0.5
_ROOM = 1.15

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Panel:
    """One runtime: the sum over its instances, and the whole host, at seconds of the trial."""

    subject: Subject
    note: str
    seconds: Floats
    boxes: Floats
    host: Floats | None


def traces_numbers(panels: Sequence[Panel], unit: str) -> Numbers:
    """Every point of every line."""
    rows = tuple(
        (panel.subject.name, panel.subject.kind, panel.note, float(panel.seconds[n]),
         float(panel.boxes[n]), None if panel.host is None else float(panel.host[n]), unit)
        for panel in panels
        for n in range(len(panel.seconds))
    )  # fmt: skip
    headings = ("runtime", "class", "trial", "seconds", "boxes", "host", "unit")
    return Numbers(headings, rows)


def draw_traces(panels: Sequence[Panel], unit: str, suffix: str, layout: Layout) -> FigureBase:
    """Boxes as a filled line in the colour of their class, the host in grey behind.

    `suffix` follows the unit of the axis, such as `/s`.
    """
    page = sheet(
        layout, _TOP_IN + _BOTTOM_IN - _GAP_IN, rows=len(panels), row_in=_PANEL_IN + _GAP_IN,
        least_in=_LEAST_PANEL_IN + _GAP_IN, emulated=any(p.subject.emulated for p in panels),
        reading=say("The trial of median length. Coloured: the boxes; grey: the whole host."),
    )  # fmt: skip
    figure, height, shown = page.figure, page.height_in, panels[page.first : page.last]
    panel_in = (height - _TOP_IN - _BOTTOM_IN + _GAP_IN) / len(shown) - _GAP_IN
    left, right = (0.185, 0.03) if layout.narrow else (0.855 / layout.width_in, 0.02)
    for number, panel in enumerate(shown):
        top = _TOP_IN + number * (panel_in + _GAP_IN)
        bottom = 1 - (top + panel_in) / height
        axes = figure.add_axes((left, bottom, 1 - left - right, panel_in / height))
        _draw(axes, panel, unit, suffix)
        place = (left, 1 - (top - 0.07) / height)
        figure.text(*place, panel.subject.label, weight="bold", color=panel.subject.colour)
        figure.text(
            1 - right, place[1], panel.note, size=7.5, color=QUIET, ha="right", va="baseline"
        )
    axes.set_xlabel(say("seconds since the trial began"), labelpad=2, size=8)
    return figure


def _draw(axes: Axes, panel: Panel, unit: str, suffix: str) -> None:
    colour, hollow = panel.subject.colour, panel.subject.emulated
    if panel.host is not None:
        axes.plot(panel.seconds, panel.host, color=FAINT, linewidth=0.9, zorder=1)
    axes.plot(
        panel.seconds, panel.boxes, color=colour, linewidth=1.4, zorder=3,
        linestyle=(0, (3, 1.2)) if hollow else "solid",
    )  # fmt: skip
    if not hollow:
        axes.fill_between(panel.seconds, 0, panel.boxes, color=colour, alpha=0.16, linewidth=0)
    seen = [panel.boxes] if panel.host is None else [panel.boxes, panel.host]
    top = max(float(values.max()) for values in seen) or 1.0
    low = min(0.0, *(float(values.min()) for values in seen))
    axes.set_ylim(low * _ROOM, top * _ROOM)
    axes.yaxis.set_major_locator(sizes(top, 3) if unit == "bytes" else MaxNLocator(3))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _label(v, unit, suffix)))
    axes.tick_params(axis="y", labelsize=7.5, length=0, pad=3)
    axes.tick_params(axis="x", labelsize=7.5, length=3, pad=2)
    axes.grid(axis="y", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlim(float(panel.seconds[0]), float(panel.seconds[-1]))
    axes.locator_params(axis="x", nbins=6)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def _label(value: float, unit: str, suffix: str) -> str:
    if value == 0:
        return "0"
    return tick(value, unit) + suffix
