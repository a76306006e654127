"""The sheet that a chart is drawn on: bare in a report, with its conditions where it stands alone.

The functions that draw know nothing of styles: they ask for a sheet with room for so many rows,
and draw on what they get. Inside a report that is a plain figure, for the page says the rest.
Under `alone(…)` it is one that carries a foot (how it is read, of how many blocks, on what host)
and, on a slide, a title; a slide has the height that it has, so what does not fit at a legible
size goes on to further pages, on the same scale.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from matplotlib import rcParams
from matplotlib.figure import Figure, FigureBase
from matplotlib.gridspec import GridSpec

from harness.analysis.language import say, sentences

_SMALL_PT, _TITLE_PT = 7.0, 9.5
_SMALL_LINE_IN, _TITLE_LINE_IN = 0.135, 0.18
_EDGE_IN = 0.09
_LETTER_EM = 0.53
"""The mean width of a Latin letter; a Chinese character is as wide as it is high."""
_STRETCH = 1.35
"""How much higher than wanted the rows of a slide may come out, where there are few."""


@dataclass(frozen=True)
class Layout:
    """A shape of a chart. `narrow`: names stand above their rows, and ticks are few.

    `left_in` and `right_in` are what names and values need where they stand beside the rows.
    With `height_in` the sheet is so high, whatever stands on it, and its ticks are few too.
    """

    name: str
    width_in: float
    row_in: float
    narrow: bool
    left_in: float = 1.575
    right_in: float = 1.485
    height_in: float | None = None

    @property
    def few(self) -> bool:
        """Whether there is room for few ticks only."""
        return self.narrow or self.height_in is not None


@dataclass(frozen=True)
class Style:
    """How charts look that stand alone. All of a sheet is enlarged by `scale`."""

    name: str
    layouts: tuple[Layout, ...]
    scale: float = 1.0
    slide: bool = False
    numbered: bool = False


_MM = 1 / 25.4
_SLIDE_IN = (40 / 3, 7.5)
_SLIDE_SCALE = 18 / _SMALL_PT

PUBLICATION = Style(
    "publication",
    (
        Layout("180mm", 180 * _MM, 0.40, narrow=False, left_in=1.5, right_in=1.25),
        Layout("88mm", 88 * _MM, 0.60, narrow=True),
    ),
    numbered=True,
)
"""For two columns and for one: type of 7 to 9 points, no title, keys told without colour."""

SLIDES = Style(
    "slides",
    (
        Layout(
            "", _SLIDE_IN[0] / _SLIDE_SCALE, 0.36, narrow=False, left_in=1.5, right_in=1.12,
            height_in=_SLIDE_IN[1] / _SLIDE_SCALE,
        ),
    ),
    scale=_SLIDE_SCALE,
    slide=True,
)  # fmt: skip
"""16:9, and no letter smaller than 18 points on a slide of 13.33 by 7.5 inches."""

STYLES = (PUBLICATION, SLIDES)


@dataclass(frozen=True)
class Page:
    """What a drawing gets: where to draw, how high that is, and which rows it is to show."""

    figure: FigureBase
    height_in: float
    first: int
    last: int


@dataclass(frozen=True)
class Conditions:
    """Under which conditions a chart's run was measured, in full, and as far as a slide can."""

    full: str
    brief: str


@dataclass
class Alone:
    """A chart that stands alone: what it is told, and after a drawing, what came of it."""

    style: Style
    title: str
    conditions: Conditions
    page: int = 0
    pages: int = 1
    root: Figure | None = None


_alone: ContextVar[Alone | None] = ContextVar("alone", default=None)


@contextmanager
def alone(style: Style, title: str, conditions: Conditions) -> Iterator[Alone]:
    """Drawings are charts that stand alone: under a title or none, above their conditions."""
    chart = Alone(style, title, conditions)
    token = _alone.set(chart)
    try:
        yield chart
    finally:
        _alone.reset(token)


def is_alone() -> bool:
    """Whether the chart has a foot of its own for what would else stand below it."""
    return _alone.get() is not None


def is_numbered() -> bool:
    """Whether the parts of a key are told by numbers too, for a printer without colours."""
    chart = _alone.get()
    return chart is not None and chart.style.numbered


def sheet(
    layout: Layout, extra_in: float, *, rows: int = 1, row_in: float, least_in: float = 0.0,
    reading: str, emulated: bool = False,
) -> Page:  # fmt: skip
    """A sheet for `rows` rows of `row_in` inches each, and `extra_in` for all else.

    `least_in` is the least height at which a row can be read. `reading` says what the signs
    mean; `emulated`, that what is hatched, hollow or dashed needs an explanation.
    """
    wanted, chart = extra_in + rows * row_in, _alone.get()
    if chart is None:
        return Page(Figure(figsize=(layout.width_in, wanted)), wanted, 0, rows)
    foot = _foot(layout, chart, reading, emulated)
    head = wrapped(chart.title, _room(layout, _TITLE_PT)) if chart.style.slide else []
    foot_in = len(foot) * _SMALL_LINE_IN + 1.5 * _EDGE_IN
    head_in = len(head) * _TITLE_LINE_IN + 1.5 * _EDGE_IN if head else 0.0
    first, last, height = 0, rows, wanted
    slack = 0.0
    if layout.height_in is not None:
        body = layout.height_in - foot_in - head_in
        most = max(int((body - extra_in) / least_in), 1) if least_in else rows
        chart.pages = -(-rows // most)
        each = -(-rows // chart.pages)
        first = chart.page * each
        last = min(first + each, rows)
        height = min(body, extra_in + _STRETCH * row_in * (last - first))
        slack = body - height
    total = head_in + slack + height + foot_in
    chart.root = Figure(figsize=(layout.width_in, total))
    _write(chart.root, head, foot, total)
    return Page(_part(chart.root, head_in + slack / 2, height, foot_in + slack / 2), height,
                first, last)  # fmt: skip


def _part(root: Figure, above_in: float, height_in: float, below_in: float) -> FigureBase:
    grid = GridSpec(3, 1, figure=root, height_ratios=[above_in or 1e-9, height_in, below_in])
    return root.add_subfigure(grid[1])


def _foot(layout: Layout, chart: Alone, reading: str, emulated: bool) -> list[str]:
    told = [reading]
    if emulated:
        told.append(
            say("Hatched, hollow or dashed: emulated in software, no word on virtual machines.")
        )
    if chart.pages > 1:
        told.append(say("Page {page} of {pages}.", page=chart.page + 1, pages=chart.pages))
    conditions = chart.conditions.brief if chart.style.slide else chart.conditions.full
    text = sentences([*told, conditions])
    return wrapped(text, _room(layout, _SMALL_PT))


def _room(layout: Layout, size_pt: float) -> float:
    """How many Latin letters fit on a line."""
    return (layout.width_in - 2 * _EDGE_IN) * 72 / (size_pt * _LETTER_EM)


def _write(root: Figure, head: list[str], foot: list[str], total_in: float) -> None:
    left = _EDGE_IN / root.get_figwidth()
    for number, line in enumerate(head):
        y = 1 - (_EDGE_IN + (number + 0.5) * _TITLE_LINE_IN) / total_in
        root.text(left, y, line, size=_TITLE_PT, weight="bold", va="center")
    for number, line in enumerate(foot):
        y = (_EDGE_IN + (len(foot) - number - 0.5) * _SMALL_LINE_IN) / total_in
        root.text(left, y, line, size=_SMALL_PT, color=rcParams["axes.labelcolor"], va="center")


def wrapped(text: str, width: float) -> list[str]:
    """Lines of at most so many Latin letters; between Chinese characters any place will do."""
    lines, used = [""], 0.0
    for piece in _pieces(text):
        size = letters(piece)
        if used + size > width and lines[-1].strip():
            lines.append("")
            used, piece = 0.0, piece.lstrip()
        lines[-1] += piece
        used += size
    return [each.strip() for each in lines if each.strip()]


def _pieces(text: str) -> Iterator[str]:
    """A text cut where a line may end: before a space, and around each Chinese character."""
    piece = ""
    for character in text:
        wide = _letters(character) > 1 and unicodedata.category(character)[0] != "P"
        if piece and (character == " " or wide):
            yield piece
            piece = ""
        piece += character
    if piece:
        yield piece


def _letters(character: str) -> float:
    wide = unicodedata.east_asian_width(character) in "WF"
    return 1 / _LETTER_EM if wide else 1.0


def letters(text: str) -> float:
    """How wide a text is, in Latin letters."""
    return sum(map(_letters, text))
