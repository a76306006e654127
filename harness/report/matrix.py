"""A matrix of signs: facts in rows, boxes in columns, each cell shaded by how much is shared.

The shade is one hue from light to dark, and a sign or a number stands in each cell, so that
nothing is told by colour alone. Boxes that do not fit side by side go on below.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.patches import Rectangle

from harness.analysis.language import say
from harness.report.numbers import Numbers
from harness.report.sheet import Layout, Page, letters, sheet, wrapped
from harness.report.style import (
    EMULATED_HATCH,
    HAIRLINE,
    ON_BRIGHT,
    ON_DEEP,
    QUIET,
    Subject,
    row_height_in,
)

SHADES = ("#e8eef4", "#b4cfe6", "#6aa5d2", "#2a75b0", "#0b4a80")
"""From none of the host's to all of it, with steps that differ in lightness."""

_COLUMN_IN, _ROW_IN, _LEAST_ROW_IN = 0.30, 0.25, 0.155
_LETTER_IN = 0.062
_NAMES_IN = 2.55
_MOST_HEAD_IN = 1.5
_EDGE_IN = 0.08
_SIZE_PT, _SMALL_PT = 7.5, 7.0
_LETTER_EM = 0.53
_TWO_LINES_IN = 0.22


@dataclass(frozen=True)
class Spot:
    """One cell: a share of the host's from 0 to 1, or None, and what stands in it."""

    share: float | None
    sign: str
    text: str


@dataclass(frozen=True)
class Matrix:
    """Titles of the rows, the boxes of the columns, and a spot each. `reading` says what signs
    and shades mean, where they do not mean what they do in the matrix of isolation."""

    titles: tuple[str, ...]
    subjects: tuple[Subject, ...]
    spots: tuple[tuple[Spot, ...], ...]
    reading: str = ""

    @property
    def numbers(self) -> Numbers:
        """Every cell on a line of its own."""
        rows = tuple(
            (title, subject.name, subject.kind, spot.text, spot.share)
            for title, line in zip(self.titles, self.spots, strict=True)
            for subject, spot in zip(self.subjects, line, strict=True)
        )
        return Numbers(("fact", "runtime", "class", "answer", "share"), rows)


def draw_matrix(matrix: Matrix, layout: Layout) -> FigureBase:
    """The whole matrix; on a phone in several blocks, one below the other."""
    narrow = layout.height_in is not None or layout.narrow
    names_in = min(_NAMES_IN, layout.width_in * (0.44 if narrow else 0.3))
    room = layout.width_in - names_in - _EDGE_IN
    fit = max(int(room / (0.2 if narrow else _COLUMN_IN)), 1)
    count = len(matrix.subjects)
    blocks = 1 if layout.height_in is not None else -(-count // fit)
    each = -(-count // blocks)
    longest = max((letters(subject.name) for subject in matrix.subjects), default=0)
    head_in = min(longest * _LETTER_IN + 0.1, _MOST_HEAD_IN)
    page = sheet(
        layout,
        blocks * head_in + _EDGE_IN,
        rows=len(matrix.titles) * blocks,
        row_in=_ROW_IN,
        least_in=_LEAST_ROW_IN,
        reading=matrix.reading or reading(),
        emulated=any(subject.emulated for subject in matrix.subjects),
    )
    rows = (page.first, page.last) if blocks == 1 else (0, len(matrix.titles))
    body_in = (page.height_in - _EDGE_IN) / blocks - head_in
    for block in range(blocks):
        columns = range(block * each, min((block + 1) * each, count))
        top = block * (head_in + body_in) + head_in
        width = min(_COLUMN_IN * 2, room / each) * len(columns)
        axes = _axes(page, layout, (names_in, top, width, body_in))
        _draw_block(axes, matrix, rows, columns, _SMALL_PT if narrow else _SIZE_PT)
        _name_rows(axes, matrix, rows, columns.start, names_in)
    return page.figure


def reading() -> str:
    """What the signs and shades mean."""
    return say(
        "● or dark: as on the host; ○ or light: kept apart or of its own; a number: how many; "
        "no shade: a matter of the box’s own kernel; –: not known."
    )


def _axes(page: Page, layout: Layout, place_in: tuple[float, float, float, float]) -> Axes:
    left, top, width, height = place_in
    whole = page.height_in
    return page.figure.add_axes(
        (
            left / layout.width_in,
            (whole - top - height) / whole,
            width / layout.width_in,
            height / whole,
        )
    )


def _name_rows(
    axes: Axes, matrix: Matrix, rows: tuple[int, int], left: int, names_in: float
) -> None:
    """At the left of a block, on two lines where there is no room on one."""
    size = _SIZE_PT if names_in >= _NAMES_IN else _SMALL_PT
    high = row_height_in(axes) >= _TWO_LINES_IN
    room = (names_in - 3 * _EDGE_IN) / (size * _LETTER_EM / 72)
    for row in range(*rows):
        lines = wrapped(matrix.titles[row], room) if high else [matrix.titles[row]]
        axes.text(left - 0.62, row, "\n".join(lines), ha="right", va="center", size=size,
                  linespacing=0.95)  # fmt: skip


def _draw_block(
    axes: Axes, matrix: Matrix, rows: tuple[int, int], columns: range, size: float
) -> None:
    first, last = rows
    axes.set_xlim(columns.start - 0.5, columns.stop - 0.5)
    axes.set_ylim(last - 0.5, first - 0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    for row in range(first, last):
        for column in columns:
            _draw_spot(axes, column, row, matrix.spots[row][column], size)
    for column in columns:
        subject = matrix.subjects[column]
        axes.text(
            column,
            first - 0.62,
            subject.name,
            rotation=90,
            ha="center",
            va="bottom",
            size=size,
            weight="bold",
            color=subject.colour,
        )
        if subject.emulated:
            axes.add_patch(
                Rectangle(
                    (column - 0.5, first - 0.5),
                    1,
                    last - first,
                    fill=False,
                    linewidth=0,
                    edgecolor=EMULATED_HATCH,
                    hatch="////",
                    zorder=0,
                )
            )


def shade(share: float) -> int:
    """Which of `SHADES`: the first for nothing at all, the last for everything and no less."""
    last = len(SHADES) - 1
    if share <= 0:
        return 0
    return last if share >= 1 else 1 + min(int(share * (last - 1)), last - 2)


def _draw_spot(axes: Axes, x: float, y: float, spot: Spot, size: float) -> None:
    if spot.share is None:
        _sign(axes, x, y, spot.sign, QUIET, size)
        return
    step = shade(spot.share)
    axes.add_patch(
        Rectangle(
            (x - 0.43, y - 0.43),
            0.86,
            0.86,
            facecolor=SHADES[step],
            edgecolor=HAIRLINE,
            linewidth=0.4,
            zorder=1,
        )
    )
    _sign(axes, x, y, spot.sign, sign_colour(step), size)


def sign_colour(step: int) -> str:
    """In which colour a sign stands on a shade."""
    return ON_DEEP if step >= 3 else ON_BRIGHT


def _sign(axes: Axes, x: float, y: float, sign: str, ink: str, size: float) -> None:
    """Rings and discs are drawn: not every font has them."""
    if sign in ("●", "○"):
        face = ink if sign == "●" else "none"
        axes.plot(
            [x],
            [y],
            marker="o",
            markersize=size * 0.5,
            markerfacecolor=face,
            markeredgecolor=ink,
            markeredgewidth=0.8,
            zorder=2,
        )
        return
    axes.text(x, y, sign, ha="center", va="center", size=_SMALL_PT, color=ink, zorder=2)
