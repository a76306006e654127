"""The numbers of a chart as a table: the very values that were drawn, one click away as CSV.

Each kind of chart tells its own; values are in base units, an absent one is an empty cell. Names
of runtimes are other people's text, so cells are made harmless as in every export.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from io import StringIO

from harness.analysis.export import harmless
from harness.analysis.statistics import Estimate

Cell = str | float | None


@dataclass(frozen=True)
class Numbers:
    """Headings and rows of a chart's numbers."""

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def csv(self) -> bytes:
        """UTF-8, a heading line, `\\n` at the end of each line (RFC 4180 otherwise)."""
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.headings)
        writer.writerows([_plain(cell) for cell in row] for row in self.rows)
        return text.getvalue().encode("utf-8", errors="replace")


def ends(estimate: Estimate | None) -> tuple[Cell, Cell, Cell]:
    """A value with the ends of its interval, as three cells."""
    if estimate is None:
        return None, None, None
    if estimate.interval is None:
        return estimate.value, None, None
    return estimate.value, estimate.interval.low, estimate.interval.high


def _plain(cell: Cell) -> str:
    if cell is None:
        return ""
    return _word(cell) if isinstance(cell, str) else f"{cell:.12g}"


@lru_cache(maxsize=1024)
def _word(text: str) -> str:
    """Nearly all rows have the same few words."""
    return harmless(text)
