"""Everything that a report of one run shows, as values: templates only arrange it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.analysis import sentences
from harness.analysis.apart import WORTH, apart
from harness.analysis.frames import NOT_RUN, RunData
from harness.analysis.sentences import Sentence
from harness.analysis.summary import Summary, summarise
from harness.analysis.thin import keep_texts
from harness.report import audit, flags, tables
from harness.report.audit import Control
from harness.report.carried import carried
from harness.report.charts import Chart, begun, draw_charts
from harness.report.section import Section
from harness.report.sections import sections
from harness.report.tables import Table


@dataclass(frozen=True)
class View:
    """One run, ready to be arranged."""

    run: RunData
    summary: Summary
    manifest: Mapping[str, Any]
    sentences: tuple[Sentence, ...]
    charts: Mapping[str, Chart]
    tables: Mapping[str, Table]
    controls: tuple[Control, ...]
    sections: tuple[Section, ...]
    inflation: tuple[str, ...]
    command: str
    stopped: str
    limits: str
    emulated: tuple[str, ...]
    blocks: int
    not_run: int
    planned: int
    carried: Callable[[], Mapping[str, str]]
    drawn: Callable[[], None]

    @property
    def has_startup(self) -> bool:
        """Whether the run asked how long a box takes to be ready."""
        asked = set(self.run.tally["experiment"])
        return "startup" in asked or ("phases" in asked and "ladder" not in asked)

    @property
    def section_charts(self) -> tuple[Chart, ...]:
        """Those of the sections."""
        own = (e.chart for section in self.sections for e in section.exhibits)
        return tuple(chart for chart in own if chart is not None)

    @property
    def all_charts(self) -> tuple[Chart, ...]:
        """Those of the sections too."""
        return (*self.charts.values(), *self.section_charts)


def view(run: RunData, page: bool = False) -> View:
    """Work out everything; what a page carries, and its pictures, once they are asked for.

    For a `page` of a very large run they are begun at once, beside the rest.
    """
    rows = run.rows.length
    early = rows if page else 0
    if rows >= WORTH:  # read here, and not by each process that follows
        run.rows.need(["value", "block"])
        _ = run.rows.index
        keep_texts(run)
    flagged = apart(lambda: flags.flags(run), rows)
    summary = summarise(run)
    charts = draw_charts(run, summary)
    pictures = begun(tuple(charts.values()), early)
    found = sections(run, summary)
    data = apart(lambda: carried(run), early)  # reads every column: not before texts are parsed
    inflation = [tables.inflation(run, row) for row in summary.rows]
    return View(
        run=run,
        summary=summary,
        manifest=run.manifest,
        sentences=sentences.in_order(
            sentences.tell(summary) + tuple(a for s in found for a in s.answers)
        ),
        charts=charts,
        tables=_tables(run, summary, flagged),
        controls=audit.controls(run, summary),
        sections=found,
        inflation=tuple(text for text in inflation if text),
        command=audit.repeat_command(run),
        stopped=audit.stopped_text(run),
        limits=audit.limits_text(run),
        emulated=tuple(row.runtime for row in summary.rows if row.emulated),
        blocks=len(np.unique(run.numbers("block")[run.kinds("warmup").among("no")])),
        not_run=int(run.tally.loc[run.tally["reason"] == NOT_RUN, "count"].sum()),
        planned=int(run.tally["count"].sum()),
        carried=data,
        drawn=pictures,
    )


def _tables(run: RunData, summary: Summary, flagged: Callable[[], Table]) -> dict[str, Table]:
    return {
        "startup": tables.startup(run, summary),
        "marks": tables.marks(run, summary),
        "phases": tables.timeline(run, summary),
        "teardown": tables.timeline(run, summary, end=True),
        "memory": tables.memory(run, summary),
        "machine-memory": tables.machine_memory(run, summary),
        "cpu": tables.cpu(run, summary),
        "channel": tables.channel(run, summary),
        "identity": audit.identity(run, summary),
        "differences": audit.differences(run, summary),
        "guards": audit.guards(run),
        "weather": audit.weather(run),
        "flags": flagged(),
        "warmups": flags.warmups(run),
        "skipped": audit.skipped(run),
        "failures": audit.failures(run),
        "host": audit.host(run),
        "stopping": audit.stopping(run),
    }
