"""Starts from a cold page cache: what was dropped, what was read, and what stayed warm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import say
from harness.analysis.summary import RuntimeRow, Summary
from harness.analysis.units import MISSING, quantity, with_interval
from harness.report.charts import Chart, dot_rows, dots, render
from harness.report.dots import DotPlot
from harness.report.section import Exhibit, Section
from harness.report.tables import Table, label

_READ = "startup.read"


def make(run: RunData, summary: Summary) -> Section | None:
    """None where no start was cold."""
    rows = [row for row in summary.rows if len(run.values(_READ, row.runtime))]
    if not rows:
        return None
    conditions = {row.runtime: run.last_conditions("startup", row.runtime) for row in rows}
    told = dict.fromkeys(str(c.get("cache_backing", "")) for c in conditions.values())
    return Section(
        name="cold",
        title="How cold was it?",
        link="Cold",
        notes=tuple(f"{text[:1].upper()}{text[1:]}." for text in told if text),
        exhibits=(Exhibit("cold", chart=_chart(run, rows), table=_table(run, rows, conditions)),),
    )


def _chart(run: RunData, rows: Sequence[RuntimeRow]) -> Chart | None:
    axis = "read from the device between request and READY, logarithmic scale"
    plot = DotPlot(dot_rows(run, rows, _READ), "bytes", axis)
    made = dots("cold", plot, say("Bytes read from the device by a cold start, by runtime"))
    return render(*made) if made else None


def _table(
    run: RunData, rows: Sequence[RuntimeRow], conditions: Mapping[str, Mapping[str, Any]]
) -> Table:
    cells = []
    for row in rows:
        known = conditions[row.runtime]
        cells.append(
            (
                label(row),
                str(known.get("cold_files", MISSING)),
                quantity(known.get("cold_bytes"), "bytes"),
                quantity(known.get("cold_resident_bytes"), "bytes"),
                with_interval(statistics.median(run.values(_READ, row.runtime)), "bytes"),
                str(known.get("device", MISSING)),
                str(known.get("cache_box") or MISSING),
            )
        )
    headings = ("Runtime", "Files proven absent", "Their size", "Back after READY",
                "Read from the device (95 %)", "Device", "What else is so")  # fmt: skip
    return Table("Cold starts: sizes of the last trial, medians of what was read", headings,
                 tuple(cells))  # fmt: skip
