"""Curves: the share of starts that were ready by a time, and the canary block by block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from harness.analysis.language import say
from harness.analysis.summary import CONTAINERS, MACHINES, MANY
from harness.analysis.units import quantity
from harness.report.numbers import Numbers
from harness.report.sheet import Layout, letters, sheet
from harness.report.style import (
    ACCENT,
    FAINT,
    HAIRLINE,
    QUIET,
    Subject,
    log_axis,
)

Floats = npt.NDArray[np.float64]

MOST = 1000
"""Steps of one curve that are drawn at most."""

_CURVES_IN, _PANEL_IN, _LEAST_PANEL_IN = 2.1, 1.2, 0.5
_SCALE_IN = 0.5
_LEVEL_IN = 0.14
_LETTER_IN = 0.074


@dataclass(frozen=True)
class Curve:
    """All values of one runtime."""

    subject: Subject
    values: tuple[float, ...]

    @cached_property
    def steps(self) -> tuple[Floats, Floats]:
        """The values in order with the share that does not exceed each; of very many, those of
        evenly spaced ranks, the least and the largest among them."""
        ordered, count = np.sort(np.asarray(self.values)), len(self.values)
        ranks = np.unique(np.linspace(0, count - 1, min(count, MOST)).round().astype(int))
        return ordered[ranks], (ranks + 1) / count


def draw_ecdf(curves: tuple[Curve, ...], unit: str, axis: str, layout: Layout) -> FigureBase:
    """Empirical distribution functions, each named above its median.

    Very many stand in panels of neighbouring classes below each other, on one scale.
    """
    left, right = (0.115, 0.04) if layout.narrow else (0.54 / layout.width_in,) * 2
    everything = [v for c in curves for v in c.values if v > 0]
    panels = _panels(curves)
    places = [_places(panel, everything, layout.width_in, left, right) for panel in panels]
    levels = [_levels(each) for each in places]
    names_in = [0.1 + _LEVEL_IN * (max(each) + 1) for each in levels]
    page = sheet(
        layout, _SCALE_IN + sum(names_in), rows=len(panels),
        row_in=_CURVES_IN if len(panels) == 1 else _PANEL_IN, least_in=_LEAST_PANEL_IN,
        reading=say("Share of trials that were ready by then; a name stands above its median."),
        emulated=any(curve.subject.emulated for curve in curves),
    )  # fmt: skip
    shown = range(page.first, page.last)
    curves_in = (page.height_in - _SCALE_IN - sum(names_in[n] for n in shown)) / len(shown)
    bottom_in = page.height_in
    for number in shown:
        bottom_in -= names_in[number] + curves_in
        place = (left, bottom_in / page.height_in, 1 - left - right, curves_in / page.height_in)
        axes = page.figure.add_axes(place)
        log_axis(axes, min(everything), max(everything), unit)
        named = zip(panels[number], places[number], levels[number], strict=True)
        for curve, (start, end), level in named:
            lift = 1.02 + level * _LEVEL_IN / curves_in
            _draw_curve(axes, curve, ((start + end) / 2, lift))
        _dress_panel(axes, last=number == shown[-1])
    axes.set_xlabel(say(axis), labelpad=4, size=8)
    return page.figure


def _panels(curves: tuple[Curve, ...]) -> Sequence[Sequence[Curve]]:
    """All in one, or those on the host's kernel, the containers, and the machines apart."""
    if len(curves) <= MANY:
        return [curves]
    own = {**dict.fromkeys(CONTAINERS, 1), **dict.fromkeys(MACHINES, 2)}
    found: dict[int, list[Curve]] = {}
    for curve in curves:
        found.setdefault(own.get(curve.subject.runtime_class, 0), []).append(curve)
    return [panel for _, panel in sorted(found.items())]


def _draw_curve(axes: Axes, curve: Curve, name_at: tuple[float, float]) -> None:
    """A curve, and its name above, at a place in parts of the axes' width and height."""
    xs, ys = curve.steps
    style = (0, (3, 1.5)) if curve.subject.emulated else "solid"
    axes.step(
        np.concatenate([xs[:1], xs]), np.concatenate([[0.0], ys]), where="post",
        color=curve.subject.colour, linewidth=1.6, linestyle=style,
    )  # fmt: skip
    colour, middle = curve.subject.colour, float(np.median(xs))
    axes.plot([middle] * 2, [0.5, name_at[1]], color=colour, linewidth=0.6, alpha=0.45,
              transform=axes.get_xaxis_transform(), clip_on=False, zorder=1)  # fmt: skip
    axes.plot([middle], [0.5], marker="o", markersize=3.6, markeredgewidth=1, zorder=3,
              markeredgecolor=colour, markerfacecolor="white" if curve.subject.emulated
              else colour)  # fmt: skip
    axes.text(
        *name_at, curve.subject.label, color=colour, size=8, weight="bold", ha="center",
        va="bottom", transform=axes.transAxes, zorder=4,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.3},
    )  # fmt: skip


def _dress_panel(axes: Axes, *, last: bool) -> None:
    axes.set_ylim(0, 1.0)
    axes.set_yticks([0, 0.5, 1], ["0", "½", say("all")])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.axhline(0.5, color=HAIRLINE, linewidth=0.7, zorder=0)
    if not last:
        axes.tick_params(axis="x", labelbottom=False)


def ecdf_numbers(curves: tuple[Curve, ...], unit: str) -> Numbers:
    """The values that are drawn, with the share of all that does not exceed each."""
    rows = tuple(
        (curve.subject.name, curve.subject.kind, float(value), float(share), unit)
        for curve in curves
        for value, share in zip(*curve.steps, strict=True)
    )
    return Numbers(("runtime", "class", "value", "share", "unit"), rows)


def _places(
    curves: Sequence[Curve], everything: Sequence[float], width_in: float, left: float, right: float
) -> Sequence[tuple[float, float]]:
    """Where each curve's name begins and ends, as shares of the axes: about its median, and
    wholly on the sheet."""
    low, high = np.log(min(everything) / 1.5), np.log(max(everything) * 1.5)
    wide = 1 - left - right
    found = []
    for curve in curves:
        middle = float((np.log(np.median(curve.values)) - low) / (high - low))
        half = (letters(curve.subject.label) / 2 + 1) * _LETTER_IN / (width_in * wide)
        middle = min(max(middle, half - left / wide), 1 + right / wide - half)
        found.append((middle - half, middle + half))
    return found


def _levels(places: Sequence[tuple[float, float]]) -> Sequence[int]:
    """How high each name stands above the curves, so that no two names meet."""
    taken: list[list[tuple[float, float]]] = []
    levels: list[int] = []
    for place in places:
        level = next(
            (n for n, row in enumerate(taken) if not any(_meet(place, other) for other in row)),
            len(taken),
        )
        if level == len(taken):
            taken.append([])
        taken[level].append(place)
        levels.append(level)
    return levels


def _meet(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def draw_canary(blocks: tuple[int, ...], values: tuple[float, ...], layout: Layout) -> FigureBase:
    """A control by block: flat when the host kept still."""
    reading = say("A fixed piece of work, done once a block: flat where the host kept still.")
    page = sheet(layout, 0.64, row_in=1.26, reading=reading)
    figure, high = page.figure, page.height_in
    left, right = (0.17, 0.04) if layout.narrow else (0.765 / layout.width_in, 0.06)
    axes = figure.add_axes((left, 0.51 / high, 1 - left - right, 1 - 0.64 / high))
    middle = float(np.median(values))
    axes.axhline(middle, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.plot(blocks, values, color=ACCENT, marker="o", markersize=3.5, linewidth=1.1)
    top = max(max(values), middle * 1.25)
    axes.set_ylim(0, top * 1.08)
    axes.set_yticks([0, middle], ["0", quantity(middle, "s")])
    axes.set_xticks(list(blocks) if len(blocks) <= 12 else list(blocks)[:: len(blocks) // 8])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel(say("block number"), labelpad=3, size=8, color=QUIET)
    return figure
