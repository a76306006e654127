"""What boxes keep apart: the isolation matrix as a chart and as a table, and what its rows mean."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis import isolation
from harness.analysis.frames import RunData
from harness.analysis.isolation import Box, Cell, Row
from harness.analysis.language import later, say, strung
from harness.analysis.sentences import Sentence
from harness.analysis.summary import Summary
from harness.model import RuntimeClass
from harness.report.charts import Chart, render
from harness.report.matrix import Matrix, Spot, draw_matrix
from harness.report.section import Exhibit, Section
from harness.report.style import Subject
from harness.report.tables import Table

_DETAILS = (
    ("capabilities.effective.root", later("Capabilities of root")),
    ("devices.root", later("Devices for root")),
    ("mounts", later("Mounts of the host’s filesystems")),
    ("interfaces", later("Network interfaces")),
)


def make(run: RunData, summary: Summary) -> Section | None:
    """None where no box was probed."""
    boxes = isolation.of_run(run, summary.rows)
    found = isolation.matrix(boxes)
    if not found:
        return None
    subjects = tuple(_subject(box, summary) for box in boxes)
    return Section(
        name="isolation",
        title="What does the box keep apart?",
        link="Isolation",
        exhibits=(
            Exhibit("isolation", chart=_chart(found, subjects), table=_table(found, subjects),
                    folded=False),
            Exhibit("isolation_rows", "What each row means", table=_meanings(found), folded=False),
            Exhibit("isolation_details", "In full", table=_details(boxes, subjects), folded=False),
        ),
        answers=_answers(boxes),
    )  # fmt: skip


def _subject(box: Box, summary: Summary) -> Subject:
    accel = next(row.accel for row in summary.rows if row.runtime == box.runtime)
    return Subject(box.runtime, box.runtime_class, accel, box.emulated)


def _answers(boxes: Sequence[Box]) -> tuple[Sentence, ...]:
    """Facts that need no statistics: who has a kernel of its own, and who was escaped from."""
    own = [box.runtime for box in boxes if box.own_kernel]
    tried = [box for box in boxes if box.value("escape") is not None]
    left = [box.runtime for box in tried if box.value("escape")]
    if own:
        first = say("A kernel of its own has: {names}.", names=strung(own))
    else:
        first = say("Every box of this run runs on the host’s kernel.")
    detail = ""
    if tried and left:
        detail = say("The classic escape from a chroot was tried in {n} boxes, and succeeded in: "
                     "{names}.", n=len(tried), names=strung(left))  # fmt: skip
    elif tried:
        detail = say("The classic escape from a chroot was tried in {n} boxes, and failed in "
                     "each.", n=len(tried))  # fmt: skip
    return (Sentence("isolation", first, detail),)


def _chart(found: Sequence[tuple[Row, tuple[Cell, ...]]], subjects: tuple[Subject, ...]) -> Chart:
    matrix = Matrix(
        tuple(say(row.title) for row, _ in found),
        subjects,
        tuple(tuple(Spot(c.share, c.sign, c.text) for c in cells) for _, cells in found),
    )
    alt = say(
        "What boxes keep apart, a fact a row and a box a column. Boxes: {names}. All answers "
        "stand in the table below.",
        names=strung([subject.label for subject in subjects]),
    )
    return render("isolation", alt, lambda layout: draw_matrix(matrix, layout), matrix.numbers)


def _table(found: Sequence[tuple[Row, tuple[Cell, ...]]], subjects: tuple[Subject, ...]) -> Table:
    """One row a fact; the second row of the heading, so to speak, is the class."""
    kinds = (say("Class"), *(subject.kind for subject in subjects))
    rows = ((say(row.title), *(cell.text for cell in cells)) for row, cells in found)
    headings = ("What is kept apart", *(subject.label for subject in subjects))
    return Table("The isolation matrix", headings, (kinds, *rows), kind="matrix", ranked=False)


def _meanings(found: Sequence[tuple[Row, tuple[Cell, ...]]]) -> Table:
    rows = tuple((say(row.title), say(row.why)) for row, _ in found)
    return Table("What each row means, and how it was found out", ("Row", "Meaning"), rows,
                 kind="words", ranked=False)  # fmt: skip


def _details(boxes: Sequence[Box], subjects: tuple[Subject, ...]) -> Table:
    """Names behind the numbers, a line a box and kind; of calls, what bare metal answers."""
    bare = next((box for box in boxes if box.runtime_class == RuntimeClass.BARE), None)
    rows: list[tuple[str, ...]] = []
    for box, subject in zip(boxes, subjects, strict=True):
        found = [(say(title), box.words.get(key, "")) for key, title in _DETAILS]
        calls = isolation.silent_calls(box, bare)
        found.insert(1, (say("System calls that do not answer root"), calls))
        rows += [(subject.label, title, words) for title, words in found if words]
    headings = ("Runtime", "What", "Names")
    return Table("The names behind the numbers", headings, tuple(rows), "words", ranked=False)
