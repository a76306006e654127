"""What another tool measured: its commands or tests side by side, and what is not known of them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import later, recorded, say, strung
from harness.analysis.sentences import Sentence
from harness.analysis.summary import RuntimeRow, Summary
from harness.analysis.units import MISSING, plural, quantity, span
from harness.metrics import METRICS
from harness.report.charts import Chart, dots, render, subject
from harness.report.dots import DotPlot, DotRow
from harness.report.section import Exhibit, Section
from harness.report.style import Subject
from harness.report.tables import Table

_METRICS = (("imported.wall", later("Time")), ("imported.memory", later("Most memory")))
_NAME = 20
"""Characters of a command that stand beside a row of a chart; the table has the whole."""


def make(run: RunData, summary: Summary) -> Section | None:
    """None where nothing was imported."""
    said = run.manifest.get("imported")
    if not isinstance(said, dict):
        return None
    tool = str(said.get("tool") or say("another tool"))
    order = recorded(str(said.get("order", "")))
    unknown = [recorded(str(each)) for each in said.get("unknown", ())]
    exhibits = [
        Exhibit(f"imported_{metric.partition('.')[2]}", heading, _chart(run, summary, metric),
                _table(run, summary, metric, heading))
        for metric, heading in _METRICS
        if len(run.values(metric))
    ]  # fmt: skip
    return Section(
        name="imported",
        title=say("What did {tool} measure?", tool=tool),
        link=later("Imported"),
        notes=(order,) if order else (),
        exhibits=tuple(exhibits),
        answers=(
            Sentence(
                "imported",
                say(
                    "These values were measured by {tool}, not by tarebench: {rows}, and nothing "
                    "is concluded from one beside another.",
                    tool=tool, rows=plural(len(summary.rows), "row"),
                ),
                say("Not known: {unknown}.", unknown=say("; ").join(unknown)),
            ),
        ),
    )  # fmt: skip


def _chart(run: RunData, summary: Summary, metric: str) -> Chart | None:
    unit = METRICS[metric].unit
    rows, whole, told = [], [], []
    for row, values in _measured(run, summary, metric):
        estimate = statistics.median(values)
        told.append(f"{row.runtime} {quantity(float(values.median()), unit)}")
        look = Subject(_short(row.runtime), row.runtime_class, row.accel, row.emulated)
        rows.append(DotRow(look, tuple(values), (), estimate))
        whole.append(DotRow(subject(row), tuple(values), (), estimate))
    axis = say("one point a run of the command, logarithmic scale")
    name = metric.replace(".", "-")
    made = dots(name, DotPlot(tuple(rows), unit, axis), "")
    title = say("Values by command or test, one point a run")
    alt = say("{title}. Medians: {medians}.", title=title, medians=strung(told))
    return render(name, alt, made[2], DotPlot(tuple(whole), unit, axis).numbers) if made else None


def _table(run: RunData, summary: Summary, metric: str, heading: str) -> Table:
    unit = METRICS[metric].unit
    found = []
    for row in summary.rows:
        values = run.values(metric, row.runtime)
        estimate = statistics.median(values)
        failed = sum(row.failures.values())
        found.append(
            (
                row.runtime,
                quantity(estimate.value if estimate else None, unit),
                span(estimate.interval if estimate else None, unit),
                _reach(values, unit),
                str(len(values)),
                str(failed) if failed else MISSING,
            )
        )
    reach = later("Least to most") if unit == "bytes" else later("Fastest to slowest")
    headings = ("What", "Median", "95 % interval", reach, later("Good runs"), "Failed")
    caption = say("{heading}, as imported", heading=say(heading))
    return Table(caption, headings, tuple(found))


def _reach(values: pd.Series[float], unit: str) -> str:
    if len(values) == 0:
        return MISSING
    low, high = quantity(float(values.min()), unit), quantity(float(values.max()), unit)
    return say("{low} to {high}", low=low, high=high)


def _measured(
    run: RunData, summary: Summary, metric: str
) -> Sequence[tuple[RuntimeRow, pd.Series[float]]]:
    found = [(row, run.values(metric, row.runtime)) for row in summary.rows]
    return [(row, values) for row, values in found if len(values)]


def _short(name: str) -> str:
    """Both ends of a command, where two differ most often; `$` would begin a formula."""
    half = (_NAME - 1) // 2
    told = name if len(name) <= _NAME else f"{name[:half]}…{name[-half:]}"
    return told.replace("$", r"\$")
