"""One application of several processes, in a box for each and in one with all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import later, listed, say
from harness.analysis.sentences import Sentence
from harness.analysis.statistics import CONFIDENCE, Estimate
from harness.analysis.summary import RuntimeRow, Summary
from harness.analysis.units import MISSING, times, with_interval
from harness.report.charts import Chart, dots, render, subject
from harness.report.dots import DotPlot, DotRow
from harness.report.section import Exhibit, Section, intervals
from harness.report.tables import Table, label

SERVED, MEMORY = "system.served", "system.memory"
EACH, ONE = "one-each", "one-box"
LAYOUTS: Mapping[str, str] = {EACH: later("a box for each"), ONE: later("one with all")}


def make(run: RunData, summary: Summary) -> Section | None:
    """None where no such application was started."""
    rows = [row for row in summary.rows if len(run.values(SERVED, row.runtime))]
    if not rows:
        return None
    served = say("Time from the request until the last part has answered")
    memory = say("Memory that is charged to the whole application")
    return Section(
        name="system",
        title="A box for each part, or one with all?",
        link="Systems",
        exhibits=(
            Exhibit("system", "Until all parts answer",
                    _chart(run, rows, SERVED, "s", served,
                           "from request to the last part's answer, logarithmic scale"),
                    _table(run, rows)),
            Exhibit("system_memory", "What it holds then",
                    _chart(run, rows, MEMORY, "bytes", memory, "charged, logarithmic scale")),
        ),
        answers=_answers(run, summary, rows),
    )  # fmt: skip


def _chart(
    run: RunData, rows: Sequence[RuntimeRow], metric: str, unit: str, title: str, axis: str
) -> Chart | None:
    found: list[DotRow] = []
    for row in rows:
        for layout, words in LAYOUTS.items():
            values = run.values(metric, row.runtime, layout=layout)
            if len(values):
                name = f"{row.runtime},{say(words)}"  # as a parameter: on a line of its own
                named = replace(subject(row), name=name)
                found.append(DotRow(named, tuple(values), (), statistics.median(values)))
    made = dots(metric.replace(".", "-"), DotPlot(tuple(found), unit, axis), title)
    return render(*made) if made else None


def ratio(
    run: RunData, runtime: str, metric: str, confidence: float = CONFIDENCE
) -> Estimate | None:
    """A box for each over one with all, paired by block; None where either is missing."""
    each, one = (run.values(metric, runtime, layout=layout) for layout in (EACH, ONE))
    return statistics.ratio(each, one, confidence) if len(each) and len(one) else None


def _table(run: RunData, rows: Sequence[RuntimeRow]) -> Table:
    cells: list[tuple[str, ...]] = []
    for row in rows:
        over = {metric: ratio(run, row.runtime, metric) for metric in (SERVED, MEMORY)}
        for layout, words in LAYOUTS.items():
            served = run.values(SERVED, row.runtime, layout=layout)
            memory = run.values(MEMORY, row.runtime, layout=layout)
            if not len(served):
                continue
            cells.append(
                (
                    label(row),
                    say(words),
                    with_interval(statistics.median(served), "s"),
                    with_interval(over[SERVED], "1") if layout == EACH else MISSING,
                    with_interval(statistics.median(memory), "bytes"),
                    with_interval(over[MEMORY], "1") if layout == EACH else MISSING,
                    str(len(served)),
                )
            )
    headings = ("Runtime", "Layout", "All answer after (95 %)", "Over one with all (95 %)",
                "Memory charged (95 %)", "Memory over one with all (95 %)", "Trials")  # fmt: skip
    return Table("An application of three processes", headings, tuple(cells))


def _answers(run: RunData, summary: Summary, rows: Sequence[RuntimeRow]) -> tuple[Sentence, ...]:
    """Both ratios of every box but emulated ones."""
    told = [row for row in rows if not row.emulated]
    heads = {
        SERVED: later(
            "With a box for each part, an application takes so many times as long to answer as "
            "with all in one: {parts}."
        ),
        MEMORY: later(
            "With a box for each part, an application holds so many times the memory: {parts}."
        ),
    }
    found = []
    for metric, head in heads.items():
        sure = statistics.simultaneous(len(told))
        known = [(r.runtime, e) for r in told if (e := ratio(run, r.runtime, metric, sure))]
        if not known or summary.blocking:
            continue
        parts = [
            say("{runtime} {factor}", runtime=name, factor=times(estimate.value))
            for name, estimate in known
        ]
        decided = any(estimate.interval for _, estimate in known)
        headline = say(head, parts=listed(parts))
        found.append(Sentence("system", headline, intervals(known, "1"), decided=decided))
    return tuple(found)
