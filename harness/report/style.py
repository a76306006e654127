"""How charts look: one page of type, colour and measure that every chart shares.

Colours follow Okabe and Ito's, which people with colour-blindness tell apart ("Color Universal
Design", 2008); those of runtime classes are deeper, because names are written in them. A runtime
class has one colour in every chart; what was emulated in software is also hollow and hatched, so
that it is told apart in black and white too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from matplotlib import font_manager, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from harness.analysis.units import quantity
from harness.model import RuntimeClass

INK = "#1c2024"
QUIET = "#646b73"
FAINT = "#a9b0b7"
EMULATED_GROUND = "#f7eef3"
EMULATED_HATCH = "#e3c6d6"
MARGIN_GROUND = "#e3efe8"
HAIRLINE = "#e4e7ea"
ACCENT = "#0072B2"
ON_DEEP, ON_BRIGHT = "#fdfdfe", "#191d21"
"""Words on a deep colour, and on a bright one, on light and dark pages alike (theme.py)."""

CLASS_COLOUR: Mapping[str, str] = {
    RuntimeClass.BARE.value: "#33393e",
    RuntimeClass.JAIL.value: "#A86200",
    RuntimeClass.CONTAINER.value: "#0072B2",
    RuntimeClass.SANDBOX.value: "#4A3FB0",
    RuntimeClass.MACHINE.value: "#0B8457",
    RuntimeClass.EMULATED.value: "#B3457F",
}

# None of these is also a runtime class's: bars keep their colours on a dark page, names do not.
MARK_COLOUR: Mapping[str, str] = {
    "created": "#0072B3",
    "started": "#56B4E9",
    "vmm": "#D55E00",
    "firmware": "#F0E442",
    "kernel": "#E69F00",
    "init": "#009E73",
    "ready": "#8FBF9F",
    "exited": "#CC79A7",
    "removed": "#6F6390",
}

_FONTS = ("Inter", "Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans")


_LONG_NAME = 12
"""Characters from which on a phone leaves no room for a name, its whole kind and a value."""


@dataclass(frozen=True)
class Layout:
    """The two shapes of each chart: for a desk and paper, and for a phone."""

    name: str
    width_in: float
    row_in: float
    narrow: bool


WIDE = Layout("wide", 9.0, 0.52, narrow=False)
NARROW = Layout("narrow", 3.75, 0.72, narrow=True)


@dataclass(frozen=True)
class Subject:
    """A row of a chart: a runtime, and what its class and accelerator make of its colour."""

    name: str
    runtime_class: str
    accel: str
    emulated: bool

    @property
    def colour(self) -> str:
        """The colour of its class."""
        return CLASS_COLOUR.get(self.runtime_class, QUIET)

    @property
    def kind(self) -> str:
        """Its class in words, with the accelerator where there is one."""
        if self.emulated:
            return f"emulated in software ({self.accel.upper() or 'TCG'})"
        suffix = f" ({self.accel.upper()})" if self.accel not in ("", "none") else ""
        return f"{self.runtime_class}{suffix}"


def settings() -> AbstractContextManager[None]:
    """matplotlib's settings for the time of one drawing; nothing global is left changed."""
    there = set(font_manager.get_font_names())
    fonts = [name for name in _FONTS if name in there] or ["sans-serif"]
    return rc_context(
        {
            "font.family": fonts,
            "font.size": 9.0,
            "text.color": INK,
            "axes.edgecolor": FAINT,
            "axes.labelcolor": QUIET,
            "axes.linewidth": 0.6,
            "axes.titlelocation": "left",
            "axes.titlesize": 9.0,
            "axes.titleweight": "bold",
            "xtick.color": FAINT,
            "xtick.labelcolor": QUIET,
            "ytick.color": FAINT,
            "ytick.labelcolor": INK,
            "hatch.linewidth": 0.5,
            "svg.fonttype": "path",
            "svg.hashsalt": "tarebench",
            "figure.dpi": 96,
        }
    )


def rows_figure(layout: Layout, rows: int, extra_in: float = 1.05) -> tuple[Figure, Axes]:
    """A figure with room for one line a runtime: names at the left, values at the right.

    On a phone, names and values stand above their row instead. `extra_in` is the height of
    everything that is not a row.
    """
    height = rows * layout.row_in + extra_in
    figure = Figure(figsize=(layout.width_in, height))
    left, right = (0.045, 0.035) if layout.narrow else (0.175, 0.165)
    bottom, top = 0.50 / height, (extra_in - 0.50) / height
    axes = figure.add_axes((left, bottom, 1 - left - right, 1 - bottom - top))
    axes.set_ylim(rows - 0.5 + (0.05 if layout.narrow else 0), -0.5)
    axes.set_yticks([])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="x", length=3, width=0.6, pad=3)
    return figure, axes


def name_rows(
    axes: Axes, layout: Layout, subjects: Sequence[Subject], values: Sequence[tuple[str, str]]
) -> None:
    """Write each row's name and class, and its value and the value's interval."""
    place = axes.get_yaxis_transform()
    for row, (subject, (value, note)) in enumerate(zip(subjects, values, strict=True)):
        if layout.narrow:
            label = subject.name.replace(",", ", ")
            kind = subject.kind if len(label) < _LONG_NAME else "emulated"
            label += f" · {kind}" if subject.emulated else ""
            behind = {"facecolor": EMULATED_GROUND if subject.emulated else "white",
                      "edgecolor": "none", "pad": 0.8}  # fmt: skip
            axes.text(0, row - 0.33, label, bbox=behind, transform=place, weight="bold",
                      va="center", size=8.5, color=subject.colour)  # fmt: skip
            axes.text(1, row - 0.33, value, bbox=behind, transform=place, weight="bold",
                      va="center", ha="right", size=8.5)  # fmt: skip
            continue
        name, _, parameters = subject.name.partition(",")
        lift = 0.1 if parameters else 0.0
        axes.text(-0.02, row - 0.14 - lift, name, transform=place, weight="bold", va="center",
                  ha="right", color=subject.colour)  # fmt: skip
        axes.text(-0.02, row + 0.07, parameters.replace(",", ", "), transform=place, size=7,
                  va="center", ha="right", color=subject.colour)  # fmt: skip
        axes.text(-0.02, row + 0.18 + lift, subject.kind, transform=place, va="center",
                  ha="right", size=7, color=QUIET)  # fmt: skip
        axes.text(1.015, row - 0.14, value, transform=place, weight="bold", va="center")
        axes.text(1.015, row + 0.18, note, transform=place, va="center", size=7, color=QUIET)


def centre(layout: Layout) -> float:
    """How far below its row's middle the data of a row lie: on a phone the name is above."""
    return 0.12 if layout.narrow else 0.0


def log_axis(axes: Axes, low: float, high: float, unit: str, sparse: bool = False) -> None:
    """A logarithmic x axis whose ticks are quantities: 1 ms, 10 ms, 100 ms."""
    axes.set_xscale("log")
    low, high = low / 1.5, high * 1.5
    axes.set_xlim(low, high)
    scales = ([16.0] if sparse or high / low > 1e5 else []) + [4.0, 2.0] if unit == "bytes" else []
    choices = [[base**k for k in range(60)] for base in scales] or [
        [m * 10.0**k for k in range(-9, 8) for m in many] for many in ((1,), (1, 3), (1, 2, 5))
    ]
    shown = ([t for t in choice if low <= t <= high] for choice in choices)
    ticks: Sequence[float] = next((ticks for ticks in shown if len(ticks) > 1), ())
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: tick(x, unit)))
    axes.grid(axis="x", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)


def tick(value: float, unit: str) -> str:
    """A tick's label without needless zeros."""
    text = quantity(value, unit)
    number = text.removesuffix("/s").partition(" ")[0]
    short = number.rstrip("0").rstrip(".") if "." in number else number
    return short + text.removeprefix(number)


def hatch_emulated(axes: Axes, subjects: Sequence[Subject]) -> None:
    """Mark the rows that say nothing of virtual machines."""
    for row, subject in enumerate(subjects):
        if subject.emulated:
            axes.axhspan(
                row - 0.46, row + 0.46, facecolor=EMULATED_GROUND, edgecolor=EMULATED_HATCH,
                hatch="////", linewidth=0, zorder=0,
            )  # fmt: skip
