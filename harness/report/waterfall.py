"""A waterfall: what each rung adds to the one below, drawn from where that one ends.

Lengths are to be compared, so the scale is linear; rungs that differ by decades are drawn on
two charts, and once more as points on a scale that is logarithmic on both sides of zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness.analysis.language import say
from harness.analysis.statistics import Estimate
from harness.analysis.units import MISSING, beside, quantity
from harness.report.numbers import Numbers, ends
from harness.report.sheet import Layout, sheet
from harness.report.style import (
    EMULATED_GROUND,
    FAINT,
    HAIRLINE,
    INK,
    QUIET,
    is_shown,
    rows_axes,
    tick,
)

GAIN = "#009E73"
"""The colour of a rung that takes less time than the one below."""

_ROW_IN, _NARROW_ROW_IN = 0.33, 0.50
_MARGIN_IN, _TOP_IN = 0.50, 0.24
_LEAST_ROW_IN = 0.165
_MORE_RIGHT_IN = 0.45
_VALUE_IN, _NOTE_IN = 0.69, 0.77
_EDGE_IN = 0.08
_THRESHOLD_S = 1e-4
_TICKS = (-1.0, -1e-1, -1e-2, -1e-3, -1e-4, 0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class Fall:
    """One bar from `start` to `end`, in seconds; `below` is the row of the one it stands on.

    `branch`: it is not on the longest chain. `ground` marks a row whose processor was emulated;
    with `ink` its name has no colour.
    """

    name: str
    start: float
    end: float
    below: int | None
    colour: str
    branch: bool = False
    added: Estimate | None = None
    note: str = ""
    ground: bool = False
    ink: bool = False


@dataclass(frozen=True)
class Cost:
    """One mechanism's cost in turn, and last where that was measured."""

    name: str
    colour: str
    in_turn: Estimate
    last: Estimate | None
    branch: bool = False


def falls_numbers(falls: Sequence[Fall]) -> Numbers:
    """Every bar: where it begins and ends, and what it adds with its interval."""
    rows = tuple(
        (fall.name, "branch" if fall.branch else "", "emulated" if fall.ground else "",
         fall.start, fall.end, *ends(fall.added), "s")
        for fall in falls
    )  # fmt: skip
    headings = ("rung", "branch", "emulated", "start", "end", "added", "low", "high", "unit")
    return Numbers(headings, rows)


def costs_numbers(costs: Sequence[Cost]) -> Numbers:
    """Every mechanism's cost in turn and last."""
    rows = tuple((cost.name, *ends(cost.in_turn), *ends(cost.last), "s") for cost in costs)
    headings = ("rung", "in turn", "low", "high", "last", "last low", "last high", "unit")
    return Numbers(headings, rows)


def signed(value: float) -> str:
    """A cost with its sign: `+1.20 ms`, `\N{MINUS SIGN}340 µs`."""
    text = quantity(value, "s")
    return text if value < 0 else f"+{text}"


def draw_waterfall(falls: Sequence[Fall], axis: str, layout: Layout) -> FigureBase:
    """One row a rung, the first at the top."""
    reading = say("Bars: what a rung adds to the median; lines: 95 % intervals.")
    figure, axes = _rows(layout, len(falls), reading, any(f.ground for f in falls))
    axes.set_xlim(*_range(falls))
    axes.xaxis.set_major_locator(MaxNLocator(4 if layout.few else 7, steps=[1, 2, 5, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: tick(x, "s")))
    axes.grid(axis="x", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)
    for row, fall in enumerate(falls):
        if is_shown(axes, row):
            _draw_fall(axes, row, fall, layout)
    _name(axes, layout, [(say(f.name), INK if f.ink else f.colour, *_value(f)) for f in falls])
    _key(axes, layout, falls)
    axes.set_xlabel(say(axis), labelpad=4, size=8)
    return figure


def _range(falls: Sequence[Fall]) -> tuple[float, float]:
    """All bars, and intervals as far as they do not press the bars together."""
    end = max(fall.end for fall in falls)
    found = [fall.start + fall.added.interval.high for fall in falls
             if fall.added and fall.added.interval]  # fmt: skip
    high = min(max([end, *found]), 1.25 * end)
    return -0.02 * high, 1.03 * high


def _value(fall: Fall) -> tuple[str, str]:
    if fall.added is None:
        return quantity(fall.end, "s"), fall.note
    first = fall.below is None and not fall.ink
    text = quantity(fall.added.value, "s") if first else signed(fall.added.value)
    return text, fall.note or beside(fall.added, "s")


def _draw_fall(axes: Axes, row: int, fall: Fall, layout: Layout) -> None:
    y, half = row + _drop(layout), 0.2 if layout.narrow else 0.28
    if fall.ground:
        axes.axhspan(row - 0.5, row + 0.5, facecolor=EMULATED_GROUND, linewidth=0, zorder=0)
    if fall.below is not None:
        dashed = (0, (2, 2)) if fall.branch else "solid"
        axes.plot(
            [fall.start] * 2, [fall.below + _drop(layout) + half, y + half], color=FAINT,
            linewidth=0.8, linestyle=dashed, zorder=1,
        )  # fmt: skip
    colour = GAIN if fall.end < fall.start else fall.colour
    axes.barh(
        y, fall.end - fall.start, left=fall.start, height=2 * half, zorder=2,
        facecolor="white" if fall.branch else colour, edgecolor=colour, linewidth=1.0,
        hatch="////" if fall.branch else None,
    )  # fmt: skip
    interval = fall.added.interval if fall.added else None
    if interval is not None:
        _draw_interval(axes, y, fall.start + interval.low, fall.start + interval.high)


def _draw_interval(axes: Axes, y: float, low: float, high: float) -> None:
    """A line with strokes at its ends; an arrow where it goes on beyond the chart."""
    left, right = axes.get_xlim()
    inner = (max(low, left), min(high, right))
    axes.plot(inner, [y, y], color=INK, linewidth=1.1, zorder=4)
    for end, edge, arrow in ((low, left, "<"), (high, right, ">")):
        beyond = end < edge if arrow == "<" else end > edge
        axes.plot(
            [edge if beyond else end], [y], color=INK, linestyle="none",
            marker=arrow if beyond else "|", markersize=4 if beyond else 6, zorder=4,
            clip_on=False,
        )  # fmt: skip


def _key(axes: Axes, layout: Layout, falls: Sequence[Fall]) -> None:
    colour = falls[-1].colour
    entries: list[Patch | Line2D] = []
    if any(f.branch for f in falls):
        entries.append(
            Patch(facecolor="white", edgecolor=colour, hatch="////", label=say("branch"))
        )
    if any(f.end < f.start for f in falls):
        entries.append(Patch(color=GAIN, label=say("takes less")))
    if any(f.added and f.added.interval for f in falls):
        entries.append(
            Line2D([], [], color=INK, linewidth=1.1, marker="|", label=say("95 % interval"))
        )
    if entries:
        axes.legend(
            handles=entries, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=len(entries),
            frameon=False, fontsize=7 if layout.narrow else 7.5, handletextpad=0.4,
            columnspacing=0.8 if layout.narrow else 1.6, borderaxespad=0, borderpad=0.2,
            handlelength=1.2,
        )  # fmt: skip


def draw_costs(costs: Sequence[Cost], axis: str, layout: Layout) -> FigureBase:
    """Each mechanism's cost in turn as a dot, and last as a ring, with intervals."""
    reading = say("Differences of medians; bands: 95 % intervals. Logarithmic on both sides of 0.")
    figure, axes = _rows(layout, len(costs), reading)
    values = [v for c in costs for e in (c.in_turn, c.last) if e for v in _ends(e)]
    axes.set_xscale("symlog", linthresh=_THRESHOLD_S, linscale=0.6)
    low, high = min(0.0, *values), max(0.0, *values)
    axes.set_xlim(low * 1.5 if low < 0 else -_THRESHOLD_S / 3, max(high * 1.5, _THRESHOLD_S))
    left, right = axes.get_xlim()
    shown = [t for t in _TICKS if left <= t <= right]
    axes.xaxis.set_major_locator(FixedLocator(_sparse(shown) if layout.few else shown))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: tick(x, "s") if x else "0"))
    axes.grid(axis="x", color=HAIRLINE, linewidth=0.7)
    axes.axvline(0, color=QUIET, linewidth=0.9, zorder=1)
    axes.set_axisbelow(True)
    for row, cost in enumerate(costs):
        if not is_shown(axes, row):
            continue
        y = row + _drop(layout)
        shift = 0.11 if cost.last else 0.0
        _draw_cost(axes, y - shift, cost.in_turn, cost.colour, filled=True)
        if cost.last:
            _draw_cost(axes, y + shift, cost.last, cost.colour, filled=False)
    rows = [
        (say(c.name), c.colour, signed(c.in_turn.value),
         say("last {value}", value=signed(c.last.value)) if c.last else "")
        for c in costs
    ]  # fmt: skip
    _name(axes, layout, rows)
    handles = [
        Line2D([], [], linestyle="none", marker="o", color=INK, markersize=5, label=label,
               markerfacecolor=INK if filled else "white")
        for label, filled in ((say("added in turn"), True), (say("added last"), False))
        if filled or any(c.last for c in costs)
    ]  # fmt: skip
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncol=2, frameon=False,
        fontsize=7.5, handletextpad=0.2, columnspacing=1.6, borderaxespad=0, borderpad=0.2,
    )  # fmt: skip
    axes.set_xlabel(say(axis), labelpad=4, size=8)
    return figure


def _ends(estimate: Estimate) -> tuple[float, ...]:
    interval = estimate.interval
    return (estimate.value, *((interval.low, interval.high) if interval else ()))


def _sparse(ticks: Sequence[float]) -> Sequence[float]:
    """Every other tick, 0 among them: a phone has no room for more."""
    zero = ticks.index(0.0) if 0.0 in ticks else 0
    return [tick for number, tick in enumerate(ticks) if (number - zero) % 2 == 0]


def _draw_cost(axes: Axes, y: float, estimate: Estimate, colour: str, filled: bool) -> None:
    if estimate.interval is not None:
        ends = [estimate.interval.low, estimate.interval.high]
        axes.plot(ends, [y, y], color=colour, linewidth=2.6, alpha=0.35, zorder=2,
                  solid_capstyle="butt")  # fmt: skip
    axes.scatter([estimate.value], [y], s=24, facecolor=colour if filled else "white",
                 edgecolor=colour, linewidth=1.1, zorder=3)  # fmt: skip


def _rows(
    layout: Layout, rows: int, reading: str, emulated: bool = False
) -> tuple[FigureBase, Axes]:
    """Like the style's rows, but closer: names at the left, values at the right, one line."""
    row_in = _NARROW_ROW_IN if layout.narrow else _ROW_IN
    page = sheet(
        layout, _MARGIN_IN + _TOP_IN, rows=rows, row_in=row_in, least_in=_LEAST_ROW_IN,
        reading=reading, emulated=emulated,
    )  # fmt: skip
    sides = (0.045, 0.035) if layout.narrow else (
        layout.left_in / layout.width_in, (layout.right_in + _MORE_RIGHT_IN) / layout.width_in
    )  # fmt: skip
    return page.figure, rows_axes(page, sides, _MARGIN_IN, _TOP_IN)


def _fit(name: Text) -> None:
    """Make a long name smaller, so that it begins on the page."""
    assert name.figure is not None
    place = name.get_window_extent()
    room = place.x1 - _EDGE_IN * name.figure.dpi
    if place.width > room:
        name.set_fontsize(name.get_fontsize() * room / place.width)


def _drop(layout: Layout) -> float:
    """How far below its row's middle a bar lies: on a phone the name is above it."""
    return 0.18 if layout.narrow else 0.0


def _name(axes: Axes, layout: Layout, rows: Sequence[tuple[str, str, str, str]]) -> None:
    place = axes.get_yaxis_transform()
    wide_in = axes.get_window_extent().width / axes.figure.dpi
    for row, (name, colour, value, note) in enumerate(rows):
        if not is_shown(axes, row):
            continue
        if layout.narrow:
            y, behind = row - 0.28, {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
            axes.text(0, y, name, transform=place, weight="bold", va="center", size=8,
                      color=colour, bbox=behind, zorder=5)  # fmt: skip
            text = f"{value}  ({note})" if note and note != MISSING else value
            axes.text(1, y, text, transform=place, va="center", ha="right", size=7.5,
                      bbox=behind, zorder=5)  # fmt: skip
            continue
        _fit(axes.text(-0.015, row, name, transform=place, weight="bold", va="center",
                       ha="right", size=8.5, color=colour))  # fmt: skip
        axes.text(1 + _VALUE_IN / wide_in, row, value, transform=place, weight="bold",
                  va="center", ha="right", size=8.5)  # fmt: skip
        axes.text(
            1 + _NOTE_IN / wide_in, row, note, transform=place, va="center", size=7, color=QUIET
        )
