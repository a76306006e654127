"""Noisy neighbours: how many times as long a victim takes, pair by pair and box by box."""

from __future__ import annotations

from harness.analysis import interference
from harness.analysis.frames import RunData
from harness.analysis.interference import MEDIAN, WITH, WITHOUT, Found
from harness.analysis.language import clauses, listed, say, strung
from harness.analysis.sentences import Sentence
from harness.analysis.summary import MACHINES, Summary
from harness.analysis.units import MISSING, percent, quantity, times, with_interval
from harness.report.charts import Chart, render
from harness.report.matrix import Matrix, Spot, draw_matrix
from harness.report.section import Exhibit, Section, intervals
from harness.report.style import Subject
from harness.report.tables import Table, label

_STEPS = ((4.0, 1.0), (2.0, 0.7), (1.5, 0.4), (1.1, 0.1))
"""From which slowdown on a cell has which of the matrix's shades."""


def make(run: RunData, summary: Summary) -> Section | None:
    """None where no victim had a neighbour."""
    found = interference.of_run(run, summary.rows)
    if found is None:
        return None
    exhibits = [Exhibit("interference", chart=_chart(found, MEDIAN), table=_table(found))]
    if found.tail is not None:
        exhibits.append(
            Exhibit("interference_tail", "And its slow iterations?", _chart(found, found.tail))
        )
    return Section(
        name="interference",
        title="What does a noisy neighbour take?",
        link="Neighbours",
        exhibits=tuple(exhibits),
        notes=_notes(run, found),
        answers=_answer(summary, found),
    )


def _answer(summary: Summary, found: Found) -> tuple[Sentence, ...]:
    """The worst neighbour of each box, with limits and without; of every box but emulated ones."""
    boxes = [box for box in found.boxes if not box.row.emulated]
    worst = [(box, each) for box in boxes if (each := found.worst(box)) is not None]
    if not worst or summary.blocking:
        return ()
    parts = []
    for limits, words in ((WITH, say("with limits")), (WITHOUT, say("without limits"))):
        own = [
            say("{runtime} {factor}", runtime=box.row.runtime, factor=times(estimate.value))
            for box, (_, estimate) in worst
            if box.limits == limits
        ]
        parts += [say("{limits} {parts}", limits=words, parts=listed(own))] if own else []
    headline = say(
        "Beside the neighbour that disturbs it most, a job takes so many times as long: {parts}.",
        parts=clauses(parts),
    )
    which = say("Which: {pairs}.", pairs=strung(
        [say("{box}: {pair}", box=box.name, pair=pair.title) for box, (pair, _) in worst]
    ))  # fmt: skip
    told = intervals([(box.name, estimate) for box, (_, estimate) in worst], "1")
    decided = any(estimate.interval for _, (_, estimate) in worst)
    return (Sentence("interference", headline, f"{which} {told}", decided=decided),)


def _chart(found: Found, quantile: str) -> Chart:
    name = "interference" if quantile == MEDIAN else "interference-tail"
    subjects = tuple(
        Subject(box.name, box.row.runtime_class, box.row.accel, box.row.emulated)
        for box in found.boxes
    )
    spots = tuple(
        tuple(_spot(found.times(box, pair, quantile)) for box in found.boxes)
        for pair in found.pairs
    )
    reading = say(
        "A number: so many times as long as alone. Shades begin at 1.1, 1.5, 2 and 4 times; "
        "–: not known."
    )
    matrix = Matrix(tuple(pair.title for pair in found.pairs), subjects, spots, reading)
    what = (
        say("the median iteration")
        if quantile == MEDIAN
        else say("the slowest {share} of iterations", share=percent(1 - float(quantile)))
    )
    told = strung(
        [
            say("{pair}, {box}: {factor}", pair=pair.title, box=subject.label, factor=spot.text)
            for pair, line in zip(found.pairs, spots, strict=True)
            for subject, spot in zip(subjects, line, strict=True)
            if spot.share is not None
        ]
    )
    alt = say("How many times as long {what} takes beside a neighbour. {told}.",
              what=what, told=told)  # fmt: skip
    return render(name, alt, lambda layout: draw_matrix(matrix, layout), matrix.numbers)


def _spot(slowdown: float | None) -> Spot:
    if slowdown is None:
        return Spot(None, MISSING, MISSING)
    share = next((share for least, share in _STEPS if slowdown >= least), 0.0)
    return Spot(share, times(slowdown), times(slowdown))


def _table(found: Found) -> Table:
    """A line a pair and box; the tail stands beside the median."""
    tail = found.tail
    rows = []
    for pair in found.pairs:
        for box in found.boxes:
            median = found.slowdown(box, pair)
            if median is None:
                continue
            slow = found.slowdown(box, pair, tail) if tail else None
            alone = found.alone(box, pair)
            rows.append(
                (
                    pair.title,
                    label(box.row),
                    say("with limits") if box.limits == WITH else say("without limits"),
                    quantity(alone.value, "s") if alone else MISSING,
                    with_interval(median, "1"),
                    with_interval(slow, "1"),
                    str(median.n),
                )
            )
    headings = ("Pair", "Runtime", "Limits", "Alone", "Median, times (95 %)",
                "Tail, times (95 %)", "Trials")  # fmt: skip
    return Table("A victim beside a neighbour, over the same alone", headings, tuple(rows))


def _notes(run: RunData, found: Found) -> tuple[str, ...]:
    """Rounds that a box cannot have, and why; how many workers the neighbours had."""
    rows = {box.row.runtime: box.row for box in found.boxes}
    told = {name: run.last_conditions("interference", name) for name in rows}
    notes = []
    for name, row in rows.items():
        if told[name].get("left_out") and row.runtime_class in MACHINES:
            notes.append(
                say("{runtime} is never without limits: a machine has a size.", runtime=name)
            )
        elif told[name].get("left_out"):
            notes.append(
                say("Nothing holds {runtime} to a number of processors, so it has no row with "
                    "limits.", runtime=name)
            )  # fmt: skip
    together = {key: value for each in told.values() for key, value in each.items()}
    notes.append(
        say(
            "The host has {cpus} processors. A neighbour has a worker for each that its box may "
            "use: {on} with limits, {off} without. Nothing was pinned: the scheduler chose where "
            "each box runs.",
            cpus=together.get("host_cpus", MISSING),
            on=together.get("workers_on", MISSING),
            off=together.get("workers_off", MISSING),
        )
    )
    return tuple(notes)
