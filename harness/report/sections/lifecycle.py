"""What else can be done with a box: stopping, pausing, saving, and the times of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import later, listed, recorded, say
from harness.analysis.sentences import Sentence
from harness.analysis.summary import RuntimeRow, Summary
from harness.analysis.units import quantity, times, with_interval
from harness.model import RuntimeClass
from harness.report.charts import Chart, dot_rows, dots, render
from harness.report.dots import DotPlot, DotRow
from harness.report.section import Exhibit, Section, intervals
from harness.report.tables import Table, label

READY, RESTORE, STOP = "lifecycle.ready", "lifecycle.restore", "lifecycle.stop"
_BYTES = "lifecycle.save_bytes"

STEPS: Mapping[str, str] = {
    READY: later("start"),
    RESTORE: later("start from a file"),
    "lifecycle.save": later("save to a file"),
    "lifecycle.pause": later("pause"),
    "lifecycle.resume": later("go on"),
    STOP: later("stop"),
}
"""What is timed, in the order of the report."""


def make(run: RunData, summary: Summary) -> Section | None:
    """None where no box was led through its life."""
    rows = [row for row in summary.rows if len(run.values(STOP, row.runtime))]
    if not rows:
        return None
    return Section(
        name="lifecycle",
        title="What does it cost to stop, pause and save a box?",
        link="Life of a box",
        exhibits=(Exhibit("lifecycle", chart=_chart(run, rows), table=_table(run, rows)),),
        notes=_notes(run, rows),
        answers=(*_saved(run, summary, rows), *_stopped(run, summary, rows)),
    )


def _chart(run: RunData, rows: Sequence[RuntimeRow]) -> Chart | None:
    """A row a step and runtime, those of a step together."""
    found: list[DotRow] = []
    for metric, words in STEPS.items():
        for row in dot_rows(run, rows, metric):
            name = f"{row.subject.name},{say(words)}"  # as a parameter: on a line of its own
            found.append(replace(row, subject=replace(row.subject, name=name)))
    plot = DotPlot(tuple(found), "s", "from asking until it is done, logarithmic scale")
    made = dots("lifecycle", plot, say("Time of each step in the life of a box"))
    return render(*made) if made else None


def _table(run: RunData, rows: Sequence[RuntimeRow]) -> Table:
    units = {**dict.fromkeys(STEPS, "s"), _BYTES: "bytes"}
    cells = tuple(
        (
            label(row),
            *(
                with_interval(statistics.median(run.values(metric, row.runtime)), unit)
                for metric, unit in units.items()
            ),
            str(len(run.values(STOP, row.runtime))),
        )
        for row in rows
    )
    words = (*STEPS.values(), later("the file"), later("trials"))
    return Table(
        "Each step of a life, medians (95 %)",
        ("Runtime", *(say(word) for word in words)),
        cells,
    )


def _saved(run: RunData, summary: Summary, rows: Sequence[RuntimeRow]) -> tuple[Sentence, ...]:
    """Of boxes that were not emulated: the start from files beside the start anew."""
    told = [row for row in rows if not row.emulated and len(run.values(RESTORE, row.runtime))]
    if not told or summary.blocking:
        return ()
    sure = statistics.simultaneous(len(told))
    pairs = {
        row.runtime: statistics.ratio(
            run.values(READY, row.runtime), run.values(RESTORE, row.runtime), sure
        )
        for row in told
    }
    known = [(name, ratio) for name, ratio in pairs.items() if ratio is not None]
    parts = [
        say("{runtime} {factor}", runtime=name, factor=times(ratio.value)) for name, ratio in known
    ]
    headline = say(
        "Starting anew takes so many times as long as coming back from files: {parts}.",
        parts=listed(parts),
    )
    decided = any(ratio.interval for _, ratio in known)
    return (Sentence("lifecycle", headline, intervals(known, "1"), decided=decided),)


def _stopped(run: RunData, summary: Summary, rows: Sequence[RuntimeRow]) -> tuple[Sentence, ...]:
    told = [row for row in rows if not row.emulated]
    if not told or summary.blocking:
        return ()
    sure = statistics.simultaneous(len(told))
    found = [(row.runtime, statistics.median(run.values(STOP, row.runtime), sure)) for row in told]
    known = sorted(((n, e) for n, e in found if e is not None), key=lambda pair: pair[1].value)
    parts = [f"{name} {quantity(estimate.value, 's')}" for name, estimate in known]
    headline = say("Asked to end, a box is dead after: {parts}.", parts=listed(parts))
    return (Sentence("lifecycle", headline, intervals(known, "s")),)


def _notes(run: RunData, rows: Sequence[RuntimeRow]) -> tuple[str, ...]:
    """Which containers were checkpointed, and why others were not, once for each reason."""
    whys: dict[str, list[str]] = {}
    for row in rows:
        why = run.last_conditions("lifecycle", row.runtime).get("checkpoint")
        if why:
            whys.setdefault(str(why), []).append(row.runtime)
    missing = tuple(
        say("No checkpoint was taken of {names}: {why}.", names=listed(names), why=recorded(why))
        for why, names in whys.items()
    )
    containers = [row.runtime for row in rows if row.runtime_class == RuntimeClass.CONTAINER.value]
    taken = [name for name in containers if len(run.values(RESTORE, name))]
    if not taken:
        return missing
    told = say(
        "Saved by CRIU was a container of {names} with a shell of the image in it, which started "
        "beside the one with the agent; of a machine it is the whole guest.",
        names=listed(taken),
    )
    return (told, *missing)
