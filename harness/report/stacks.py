"""Stacked bars: the phases of a start and of an end, and what a machine's memory is made of.

From bare metal to an emulated machine, times span more than three decades, so bars on one
scale would show one runtime alone; each bar is drawn to its own total, which stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import FigureBase
from matplotlib.offsetbox import AnchoredOffsetbox, DrawingArea, HPacker, TextArea, VPacker
from matplotlib.patches import Rectangle

from harness.analysis.language import later, say
from harness.analysis.units import quantity
from harness.report.numbers import Numbers
from harness.report.sheet import Layout, is_alone, is_numbered, letters
from harness.report.style import (
    FAINT,
    INK,
    ON_BRIGHT,
    ON_DEEP,
    QUIET,
    Subject,
    centre,
    hatch_emulated,
    is_shown,
    name_rows,
    row_height_in,
    rows_figure,
)

INSTRUMENTED = later("instrumented")
_LETTER_IN = 0.066
_BAR, _LOW_BAR = 0.42, 0.72
_NUMBER_SHARE = 0.03
_LEAST_ROW_IN = 0.2
_LOW_ROW_IN = 0.32


@dataclass(frozen=True)
class Part:
    """One piece of a bar."""

    label: str
    value: float
    colour: str


@dataclass(frozen=True)
class Bar:
    """One runtime's bar; `note` stands small under its total."""

    subject: Subject
    parts: tuple[Part, ...]
    note: str

    @property
    def total(self) -> float:
        """The sum of the parts."""
        return sum(part.value for part in self.parts)


@dataclass(frozen=True)
class Stack:
    """A panel of bars; `key` gives the colour of each label, in the order of the key."""

    bars: tuple[Bar, ...]
    unit: str
    key: tuple[tuple[str, str], ...]

    @property
    def numbers(self) -> Numbers:
        """Every part of every bar, in the order of the bar."""
        rows = tuple(
            (bar.subject.name, bar.subject.kind, bar.note, part.label, part.value, self.unit)
            for bar in self.bars
            for part in bar.parts
        )
        return Numbers(("runtime", "class", "shown", "part", "value", "unit"), rows)


def draw_stack(stack: Stack, layout: Layout) -> FigureBase:
    """Bars of equal length, divided by share."""
    key_lines = _key_lines(stack, layout)
    bottom = 0.1 if is_alone() else 0.50
    extra = bottom + 0.08 + 0.19 * len(key_lines)
    subjects = [bar.subject for bar in stack.bars]
    own_total = say("Each bar is drawn to its own total: compare within a row, not between rows.")
    figure, axes = rows_figure(
        layout, subjects, extra, own_total, bottom_in=bottom, least_in=_LEAST_ROW_IN
    )
    numbers = {label: n for n, (label, _) in enumerate((e for line in key_lines for e in line), 1)}
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    hatch_emulated(axes, subjects)
    for row, bar in enumerate(stack.bars):
        if is_shown(axes, row):
            _draw_bar(axes, row + centre(layout), bar, stack, layout, numbers)
    values = [(_total(bar, stack.unit, layout), bar.note) for bar in stack.bars]
    name_rows(axes, layout, subjects, values)
    _draw_key(axes, key_lines)
    if len(stack.bars) > 1 and not is_alone():
        axes.text(0, -0.03, own_total, transform=axes.transAxes, size=7, color=QUIET, va="top",
                  wrap=True)  # fmt: skip
    return figure


def _total(bar: Bar, unit: str, layout: Layout) -> str:
    """A bar's total; on a phone, where no note fits, with what must not be missed."""
    text = quantity(bar.total, unit)
    instrumented = say(INSTRUMENTED)
    return f"{instrumented}, {text}" if layout.narrow and bar.note == instrumented else text


def _draw_bar(
    axes: Axes, y: float, bar: Bar, stack: Stack, layout: Layout, numbers: Mapping[str, int]
) -> None:
    start, total = 0.0, bar.total or 1.0
    high = _BAR if row_height_in(axes) > _LOW_ROW_IN else _LOW_BAR
    width_in = layout.width_in - layout.left_in - layout.right_in
    least = 0.22 if layout.narrow else 0.535 / width_in
    for part in bar.parts:
        share = part.value / total
        axes.barh(
            y, share, left=start, height=high, color=part.colour, edgecolor="white",
            linewidth=0.8, hatch="////" if bar.subject.emulated else None, zorder=2,
        )  # fmt: skip
        text = quantity(part.value, stack.unit) if share > least else ""
        if is_numbered() and share > _NUMBER_SHARE:
            text = f"{numbers[part.label]}: {text}" if text else str(numbers[part.label])
        if text:
            axes.text(
                start + share / 2, y, text, ha="center", va="center",
                size=7.5, color=on(part.colour), zorder=3, clip_on=True,
                bbox={"facecolor": part.colour, "edgecolor": "none", "pad": 1.2}
                if bar.subject.emulated else None,
            )  # fmt: skip
        start += share
    axes.barh(y, start, height=high, facecolor="none", edgecolor=FAINT, linewidth=0.5, zorder=2.5)


def on(colour: str) -> str:
    """Black or white, whichever is read better on a colour (relative luminance, WCAG 2)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return ON_BRIGHT if luminance > 0.22 else ON_DEEP


def _key_lines(stack: Stack, layout: Layout) -> list[list[tuple[str, str]]]:
    """The key, broken into lines that fit the chart's width."""
    used_labels = {p.label for bar in stack.bars for p in bar.parts}
    key = {label: colour for label, colour in stack.key if label in used_labels}
    taken_in = 0.3 if layout.narrow else layout.left_in + 0.4
    room = (layout.width_in - taken_in) / _LETTER_IN
    lines: list[list[tuple[str, str]]] = [[]]
    used = 0.0
    for label, colour in key.items():
        used += letters(label) + 5
        if used > room and lines[-1]:
            lines.append([])
            used = letters(label) + 5
        lines[-1].append((label, colour))
    return lines


def _draw_key(axes: Axes, lines: list[list[tuple[str, str]]]) -> None:
    numbers = iter(range(1, 1000))
    packed: list[Artist] = []
    for line in lines:
        named = [(f"{next(numbers)} {e[0]}" if is_numbered() else e[0], e[1]) for e in line]
        packed.append(HPacker(children=[_entry(*e) for e in named], pad=0, sep=11))
    box = VPacker(children=packed, pad=0, sep=4, align="left")
    axes.add_artist(
        AnchoredOffsetbox(
            loc="lower left", child=box, frameon=False, pad=0, borderpad=0,
            bbox_to_anchor=(0, 1.0), bbox_transform=axes.transAxes,
        )
    )  # fmt: skip


def _entry(label: str, colour: str) -> HPacker:
    square = DrawingArea(7, 7, 0, 0)
    square.add_artist(Rectangle((0, 0), 7, 7, color=colour))
    text = TextArea(label, textprops={"size": 7.5, "color": INK})
    return HPacker(children=[square, text], pad=0, sep=4, align="center")
