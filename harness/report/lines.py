"""Curves: the share of starts that were ready by a time, and the canary block by block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure

from harness.analysis.units import quantity
from harness.report.style import (
    ACCENT,
    FAINT,
    HAIRLINE,
    QUIET,
    Layout,
    Subject,
    log_axis,
)


@dataclass(frozen=True)
class Curve:
    """All values of one runtime."""

    subject: Subject
    values: tuple[float, ...]


def draw_ecdf(curves: tuple[Curve, ...], unit: str, axis: str, layout: Layout) -> Figure:
    """Empirical distribution functions, each named where it ends."""
    figure = Figure(figsize=(layout.width_in, 3.0))
    left, right = (0.115, 0.04) if layout.narrow else (0.06, 0.06)
    axes = figure.add_axes((left, 0.165, 1 - left - right, 0.70))
    everything = [v for c in curves for v in c.values if v > 0]
    log_axis(axes, min(everything), max(everything), unit)
    for number, curve in enumerate(curves):
        xs = np.sort(np.asarray(curve.values))
        ys = np.arange(1, len(xs) + 1) / len(xs)
        style = (0, (3, 1.5)) if curve.subject.emulated else "solid"
        axes.step(
            np.concatenate([xs[:1], xs]), np.concatenate([[0.0], ys]), where="post",
            color=curve.subject.colour, linewidth=1.6, linestyle=style,
        )  # fmt: skip
        lift = 1.02 + (0.065 if number % 2 else 0)
        axes.text(
            float(np.median(xs)), lift, curve.subject.name, color=curve.subject.colour, size=8,
            weight="bold", ha="center", va="bottom", transform=axes.get_xaxis_transform(),
        )  # fmt: skip
    axes.set_ylim(0, 1.0)
    axes.set_yticks([0, 0.5, 1], ["0", "½", "all"])
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.axhline(0.5, color=HAIRLINE, linewidth=0.7, zorder=0)
    axes.set_xlabel(axis, labelpad=4, size=8)
    return figure


def draw_canary(blocks: tuple[int, ...], values: tuple[float, ...], layout: Layout) -> Figure:
    """A control by block: flat when the host kept still."""
    figure = Figure(figsize=(layout.width_in, 1.9))
    left, right = (0.17, 0.04) if layout.narrow else (0.085, 0.06)
    axes = figure.add_axes((left, 0.27, 1 - left - right, 0.66))
    middle = float(np.median(values))
    axes.axhline(middle, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)))
    axes.plot(blocks, values, color=ACCENT, marker="o", markersize=3.5, linewidth=1.1)
    top = max(max(values), middle * 1.25)
    axes.set_ylim(0, top * 1.08)
    axes.set_yticks([0, middle], ["0", quantity(middle, "s")])
    axes.set_xticks(list(blocks) if len(blocks) <= 12 else list(blocks)[:: len(blocks) // 8])
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel("block", labelpad=3, size=8, color=QUIET)
    return figure
