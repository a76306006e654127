"""The isolation matrix in a terminal: twenty boxes do not fit side by side, so each answer
stands once, with the boxes that gave it."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from harness.analysis import isolation
from harness.model import TrialRecord


def isolation_table(records: Sequence[TrialRecord]) -> Table:
    """Each fact, and below it each answer; the commonest first."""
    found = isolation.of_records(records)
    built = Table(box=None, pad_edge=False, header_style="bold")
    for column, share in (("what is kept apart", 3), ("answer", 3), ("boxes", 4)):
        built.add_column(column, overflow="fold", ratio=share)
    for row, cells in isolation.matrix(found):
        for number, (answer, names) in enumerate(isolation.alike(found, cells)):
            title = row.title if number == 0 else ""
            boxes = "all" if len(names) == len(found) else " ".join(names)
            built.add_row(Text(title, "bold"), Text(answer), Text(boxes))
    return built
