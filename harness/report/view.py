"""Everything that a report of one run shows, as values: templates only arrange it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.analysis import sentences
from harness.analysis.frames import NOT_RUN, RunData
from harness.analysis.sentences import Sentence
from harness.analysis.summary import Summary, summarise
from harness.report import audit, flags, tables
from harness.report.audit import Control
from harness.report.charts import Chart, draw_charts
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

    @property
    def has_startup(self) -> bool:
        """Whether the run asked how long a box takes to be ready."""
        asked = set(self.run.tally["experiment"])
        return "startup" in asked or ("phases" in asked and "ladder" not in asked)

    @property
    def all_charts(self) -> tuple[Chart, ...]:
        """Those of the sections too."""
        own = (e.chart for section in self.sections for e in section.exhibits)
        return (*self.charts.values(), *(chart for chart in own if chart is not None))


def view(run: RunData) -> View:
    """Work out everything, charts included."""
    summary = summarise(run)
    found = sections(run, summary)
    inflation = [tables.inflation(run, row) for row in summary.rows]
    return View(
        run=run,
        summary=summary,
        manifest=run.manifest,
        sentences=sentences.in_order(
            sentences.tell(summary) + tuple(a for s in found for a in s.answers)
        ),
        charts=draw_charts(run, summary),
        tables=_tables(run, summary),
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
    )


def _tables(run: RunData, summary: Summary) -> dict[str, Table]:
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
        "flags": flags.flags(run),
        "warmups": flags.warmups(run),
        "skipped": audit.skipped(run),
        "failures": audit.failures(run),
        "host": audit.host(run),
        "stopping": audit.stopping(run),
    }
