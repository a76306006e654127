"""How charts look: one page of type, colour and measure that every chart shares.

Colours follow Okabe and Ito's, which people with colour-blindness tell apart ("Color Universal
Design", 2008); those of runtime classes are deeper, because names are written in them. A runtime
class has one colour in every chart; what was emulated in software is also hollow and hatched, so
that it is told apart in black and white too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from harness.analysis.language import say
from harness.analysis.units import quantity
from harness.model import RuntimeClass
from harness.report.fonts import accept_one_weight, families
from harness.report.sheet import Layout, Page, sheet

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
    "loader": "#B08D57",
    "kernel": "#E69F00",
    "init": "#009E73",
    "ready": "#8FBF9F",
    "exited": "#CC79A7",
    "removed": "#6F6390",
}


_LEAST_ROW_IN = 0.165
_TWO_LINES_IN = 0.25
_THREE_LINES_IN = 0.36
_MOST_SPREAD = 1.5
_LONG_NAME = 12
"""Characters from which on a phone leaves no room for a name, its whole kind and a value."""


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
    def label(self) -> str:
        """Its name where nothing stands beside it: it never stands alone where it was emulated."""
        return say("{runtime} (emulated)", runtime=self.name) if self.emulated else self.name

    @property
    def kind(self) -> str:
        """Its class in words, with the accelerator where there is one."""
        if self.emulated and self.accel == "none":  # no machine, but of an emulated host
            return say("emulated in software")
        if self.emulated:
            return say("emulated in software ({accel})", accel=self.accel.upper() or "TCG")
        kind = say(self.runtime_class)
        return f"{kind} ({self.accel.upper()})" if self.accel not in ("", "none") else kind


@contextmanager
def settings() -> Iterator[None]:
    """matplotlib's settings for the time of one drawing; nothing global is left changed.

    Raises HarnessError where no font has the letters of the language that is spoken.
    """
    accept_one_weight()
    with rc_context(
        {
            "font.family": families(),
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
            "pdf.fonttype": 42,
            "svg.hashsalt": "tarebench",
            "figure.dpi": 96,
        }
    ):
        yield


def rows_figure(
    layout: Layout,
    subjects: Sequence[Subject],
    extra_in: float,
    reading: str,
    *,
    bottom_in: float = 0.50,
    least_in: float = _LEAST_ROW_IN,
) -> tuple[FigureBase, Axes]:
    """A figure with room for one line a runtime: names at the left, values at the right.

    On a phone, names and values stand above their row instead. `extra_in` is the height of
    everything that is not a row, `bottom_in` of it below; `reading` says how the chart is read;
    `least_in` is the least height of a row that can still be read.
    """
    page = sheet(
        layout, extra_in, rows=len(subjects), row_in=layout.row_in, least_in=least_in,
        reading=reading, emulated=any(s.emulated for s in subjects),
    )  # fmt: skip
    sides = (0.045, 0.035) if layout.narrow else (
        layout.left_in / layout.width_in, layout.right_in / layout.width_in
    )  # fmt: skip
    axes = rows_axes(page, sides, bottom_in, extra_in - bottom_in)
    low, high = axes.get_ylim()
    axes.set_ylim(low + (0.05 if layout.narrow else 0), high)
    return page.figure, axes


def rows_axes(page: Page, sides: tuple[float, float], bottom_in: float, top_in: float) -> Axes:
    """Bare axes for the rows of a page, the first at the top, with a scale below."""
    bottom, top = bottom_in / page.height_in, top_in / page.height_in
    left, right = sides
    axes = page.figure.add_axes((left, bottom, 1 - left - right, 1 - bottom - top))
    axes.set_ylim(page.last - 0.5, page.first - 0.5)
    axes.set_yticks([])
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="x", length=3, width=0.6, pad=3)
    return axes


def is_shown(axes: Axes, row: float) -> bool:
    """Whether a row lies on this page: those of a slide can be too many for one."""
    low, high = sorted(axes.get_ylim())
    return low <= row <= high


def row_height_in(axes: Axes) -> float:
    """How high one row came out."""
    low, high = axes.get_ylim()
    box = axes.get_window_extent()
    return float(box.height / axes.figure.dpi / abs(high - low))


def name_rows(
    axes: Axes, layout: Layout, subjects: Sequence[Subject], values: Sequence[tuple[str, str]]
) -> None:
    """Write each row's name and class, and its value and the value's interval."""
    for row, (subject, value) in enumerate(zip(subjects, values, strict=True)):
        if not is_shown(axes, row):
            continue
        if layout.narrow:
            _name_above(axes, layout, row, subject, value[0])
        else:
            _name_beside(axes, row, subject, value)


def _name_above(axes: Axes, layout: Layout, row: int, subject: Subject, value: str) -> None:
    place = axes.get_yaxis_transform()
    label = subject.name.replace(",", ", ")
    short = len(label) < _LONG_NAME and layout.width_in >= NARROW.width_in
    kind = subject.kind if short else say("emulated")
    label += f" · {kind}" if subject.emulated else ""
    behind = {"facecolor": EMULATED_GROUND if subject.emulated else "white",
              "edgecolor": "none", "pad": 0.8}  # fmt: skip
    axes.text(0, row - 0.33, label, bbox=behind, transform=place, weight="bold",
              va="center", size=8.5, color=subject.colour)  # fmt: skip
    axes.text(1, row - 0.33, value, bbox=behind, transform=place, weight="bold",
              va="center", ha="right", size=8.5)  # fmt: skip


def _name_beside(axes: Axes, row: int, subject: Subject, value: tuple[str, str]) -> None:
    """Two lines, or three with parameters; where rows are low, fewer."""
    place, high = axes.get_yaxis_transform(), row_height_in(axes)
    shrunk = min(max(WIDE.row_in / high, 1.0), _MOST_SPREAD)
    above, below = 0.14 * shrunk, 0.18 * shrunk
    name, _, parameters = subject.name.partition(",")
    lift = 0.1 if parameters else 0.0
    if high < _THREE_LINES_IN:
        name, parameters, lift = subject.name.replace(",", " "), "", 0.0
    small = len(name) > _LONG_NAME and high < _THREE_LINES_IN
    one = high < _TWO_LINES_IN
    axes.text(-0.02, row - (0 if one else above + lift), name, transform=place, weight="bold",
              va="center", ha="right", color=subject.colour, size=7.5 if small else 9)  # fmt: skip
    axes.text(1.015, row - (0 if one else above), value[0], transform=place, weight="bold",
              va="center")  # fmt: skip
    if one:
        return
    axes.text(-0.02, row + 0.07, parameters.replace(",", ", "), transform=place, size=7,
              va="center", ha="right", color=subject.colour)  # fmt: skip
    axes.text(-0.02, row + below + lift, subject.kind, transform=place, va="center",
              ha="right", size=7, color=QUIET)  # fmt: skip
    axes.text(1.015, row + below, value[1], transform=place, va="center", size=7, color=QUIET)


def centre(layout: Layout) -> float:
    """How far below its row's middle the data of a row lie: on a phone the name is above."""
    return 0.12 if layout.narrow else 0.0


def log_axis(axes: Axes, low: float, high: float, unit: str, sparse: bool = False) -> None:
    """A logarithmic x axis whose ticks are quantities: 1 ms, 10 ms, 100 ms."""
    axes.set_xscale("log")
    low, high = low / 1.5, high * 1.5
    axes.set_xlim(low, high)
    shown = (
        [t for t in choice if low <= t <= high]
        for choice in _choices(unit, sparse or high / low > 1e5)
    )
    ticks: Sequence[float] = next((ticks for ticks in shown if len(ticks) > 1), ())
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: tick(x, unit)))
    axes.grid(axis="x", color=HAIRLINE, linewidth=0.7)
    axes.set_axisbelow(True)


def _choices(unit: str, sparse: bool) -> Sequence[Sequence[float]]:
    """Where ticks may stand, the sparsest first; of the last, two fit on any axis."""
    if unit == "bytes":
        powers = [[base**k for k in range(60)] for base in ([16.0] if sparse else []) + [4.0, 2.0]]
        return [*powers, [m * 2.0**k for k in range(60) for m in (1, 1.5)]]
    steps = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7))
    return [[m * 10.0**k for k in range(-9, 8) for m in many] for many in steps]


def sizes(top: float, bins: int) -> MaxNLocator:
    """Ticks at round numbers of the unit that the top has: 1.5 GiB and not 1431 MiB."""
    unit = next(u for u in (1024.0**3, 1024.0**2, 1024.0, 1.0) if top >= u or u == 1.0)
    return _Sizes(unit, bins)


class _Sizes(MaxNLocator):
    def __init__(self, unit: float, bins: int) -> None:
        super().__init__(bins, steps=[1, 2, 2.5, 5, 10])
        self._unit = unit

    def tick_values(self, vmin: float, vmax: float) -> Sequence[float]:
        """Those of plain numbers, scaled."""
        return [
            float(v) * self._unit for v in super().tick_values(vmin / self._unit, vmax / self._unit)
        ]


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
