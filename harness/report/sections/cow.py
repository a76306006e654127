"""Copy-on-write: roots as layers and as copies, the first write to a file, and bytes of many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import later, listed, say
from harness.analysis.sentences import Sentence
from harness.analysis.statistics import Estimate
from harness.analysis.summary import MACHINES, RuntimeRow, Summary
from harness.analysis.units import MISSING, quantity
from harness.report.charts import Chart
from harness.report.lanes import lane, lanes_chart, level_rows
from harness.report.levels import Lane, LevelPlot
from harness.report.section import Exhibit, Section, intervals
from harness.report.tables import Table, how_often, label, with_number
from harness.sizes import size_bytes

CREATE, CREATED = "cow.create", "cow.create_bytes"
FIRST, AGAIN, TAKEN = "cow.first_write", "cow.next_write", "cow.first_write_bytes"
FLEET, ADDED, SHARED = "cow.fleet_bytes", "cow.added_bytes", "cow.shared_bytes"

COPY = "copy"
FORMS = {
    "overlay": later("overlay layer"),
    "qcow2": later("qcow2 overlay"),
    COPY: later("whole copy"),
}
_FIRST, _AGAIN = later("first write"), later("the same once more")


@dataclass(frozen=True)
class _Form:
    """A form of root of one runtime."""

    run: RunData
    row: RuntimeRow
    form: str

    @property
    def text(self) -> str:
        return say(FORMS.get(self.form, self.form))

    def values(self, metric: str, **dimensions: str) -> pd.Series[float]:
        return self.run.values(metric, self.row.runtime, form=self.form, **dimensions)

    def median(self, metric: str, confidence: float = 0.95, **dimensions: str) -> Estimate | None:
        return statistics.median(self.values(metric, **dimensions), confidence)


def make(run: RunData, summary: Summary) -> Section | None:
    """None where no root was made."""
    rows = [row for row in summary.rows if len(run.values(CREATE, row.runtime))]
    if not rows:
        return None
    sizes = _sizes(run)
    writes = tuple(
        Exhibit(
            f"cow_write_{number}",
            _asked(size) if number else _first_asked(size),
            _writes(run, rows, size, number),
            _write_table(run, rows) if size == sizes[-1] else None,
        )
        for number, size in enumerate(sizes)
    )
    exhibits = (
        Exhibit("cow_create", "How long does a root take to make?", _creates(run, rows),
                _create_table(run, rows)),
        *writes,
        Exhibit("cow_fleet", "How much disk do several boxes take?", _fleets(run, rows),
                _fleet_table(run, rows)),
        Exhibit("cow_second", "And a second image?", table=_second_table(run, rows), folded=False),
    )  # fmt: skip
    return Section(
        name="cow",
        title="What does copy-on-write save, and cost?",
        link="Copy-on-write",
        exhibits=tuple(e for e in exhibits if e.chart or (e.table and e.table.rows)),
        answers=_answers(run, summary, rows),
    )


def _first_asked(size: str) -> str:
    return say("What does the first write to a file of about {size} cost?", size=size)


def _asked(size: str) -> str:
    return say("And to one of about {size}?", size=size)


def _forms(run: RunData, row: RuntimeRow) -> Iterator[_Form]:
    """The forms that a runtime has, layers before copies."""
    found = {s.dimensions["form"] for s in run.series(CREATE) if s.runtime == row.runtime}
    known = [form for form in FORMS if form in found]
    yield from (_Form(run, row, form) for form in [*known, *sorted(found - set(known))])


def _sizes(run: RunData) -> Sequence[str]:
    return sorted({s.dimensions["size"] for s in run.series(FIRST)}, key=size_bytes)


def _creates(run: RunData, rows: Sequence[RuntimeRow]) -> Chart | None:
    lanes = [(row, [_lane(form, form.text, CREATE) for form in _forms(run, row)]) for row in rows]
    axis = later("until the root is made, logarithmic scale")
    plot = LevelPlot(level_rows(lanes), ("median",), "s", axis)
    return lanes_chart("cow-create", say("Time to make the root of a box, by form"), plot)


def _writes(run: RunData, rows: Sequence[RuntimeRow], size: str, number: int) -> Chart | None:
    lanes = []
    for row in rows:
        own = []
        for form in _forms(run, row):
            levels = {_FIRST: form.median(FIRST, size=size), _AGAIN: form.median(AGAIN, size=size)}
            own.append(lane(form.text, form.values(FIRST, size=size), levels))
        lanes.append((row, own))
    axis = later("until a page is written and synced, logarithmic scale")
    plot = LevelPlot(level_rows(lanes), (_FIRST, _AGAIN), "s", axis)
    title = say("Time of a write to a file of about {size}, the first and the next", size=size)
    return lanes_chart(f"cow-write-{number}", title, plot)


def _fleets(run: RunData, rows: Sequence[RuntimeRow]) -> Chart | None:
    lanes = [(row, [_lane(form, _boxes(form), FLEET) for form in _forms(run, row)]) for row in rows]
    axis = later("on the disk, all together, logarithmic scale")
    plot = LevelPlot(level_rows(lanes), ("median",), "bytes", axis)
    return lanes_chart("cow-fleet", say("Bytes on the disk of several boxes, by form"), plot)


def _lane(form: _Form, text: str, metric: str) -> Lane | None:
    return lane(text, form.values(metric), {"median": form.median(metric)})


def _boxes(form: _Form) -> str:
    return say("{n} boxes, {form}", n=_count(form), form=form.text)


def _count(form: _Form) -> str:
    own = (s for s in form.run.series(FLEET) if s.runtime == form.row.runtime)
    return next((s.dimensions["instances"] for s in own), MISSING)


def _create_table(run: RunData, rows: Sequence[RuntimeRow]) -> Table:
    cells = tuple(
        (
            _named(form),
            with_number(form.median(CREATE), "s"),
            _against_copy(form, CREATE),
            with_number(form.median(CREATED), "bytes"),
            str(len(form.values(CREATE))),
        )
        for row in rows
        for form in _forms(run, row)
    )
    names = ("Made in (95 %)", "A copy takes longer", "On the disk", "Trials")
    return Table("The root of one box, medians", ("Runtime, form", *names), cells)


def _write_table(run: RunData, rows: Sequence[RuntimeRow]) -> Table:
    cells = tuple(
        (
            f"{_named(form)}, {size}",
            with_number(form.median(FIRST, size=size), "s"),
            with_number(form.median(AGAIN, size=size), "s"),
            how_often(form.values(FIRST, size=size), form.values(AGAIN, size=size)),
            with_number(form.median(TAKEN, size=size), "bytes"),
        )
        for row in rows
        for form in _forms(run, row)
        for size in _sizes(run)
    )
    names = ("First write (95 %)", "Once more (95 %)", "First over next", "First takes on the disk")
    caption = "A page written and synced in a file of the image, medians"
    return Table(caption, ("Runtime, form, file", *names), cells)


def _fleet_table(run: RunData, rows: Sequence[RuntimeRow]) -> Table:
    cells = tuple(
        (
            _named(form),
            _count(form),
            with_number(form.median(FLEET), "bytes"),
            _against_copy(form, FLEET),
        )
        for row in rows
        for form in _forms(run, row)
    )
    names = ("Boxes", "On the disk, all together (95 %)", "As copies, more")
    return Table("Several boxes of one image, medians", ("Runtime, form", *names), cells)


def _second_table(run: RunData, rows: Sequence[RuntimeRow]) -> Table:
    cells = tuple(
        (
            _named(form),
            with_number(form.median(ADDED), "bytes"),
            with_number(form.median(SHARED), "bytes"),
        )
        for row in rows
        for form in _forms(run, row)
    )
    caption = "A second image that differs by what was written, medians"
    return Table(caption, ("Runtime, form", "It adds (95 %)", "It shares (95 %)"), cells)


def _named(form: _Form) -> str:
    return f"{label(form.row)}, {form.text}"


def _against_copy(form: _Form, metric: str) -> str:
    """How many times as much a copy takes as a layer, in the same blocks."""
    if form.form == COPY:
        return MISSING
    copies = form.run.values(metric, form.row.runtime, form=COPY)
    return how_often(copies, form.values(metric))


def _answers(run: RunData, summary: Summary, rows: Sequence[RuntimeRow]) -> tuple[Sentence, ...]:
    """What is said at the top: roots as layers and as copies, of boxes on the host's kernel."""
    told = [row for row in rows if row.runtime_class not in MACHINES and not row.emulated]
    forms = [form for row in told for form in _forms(run, row)]
    if not forms or summary.blocking:
        return ()
    sure = statistics.simultaneous(len(forms))
    found = [(form, estimate) for form in forms if (estimate := form.median(CREATE, sure))]
    parts = [f"{_named(form)} {quantity(estimate.value, 's')}" for form, estimate in found]
    headline = say("The root of a box is made in: {parts}.", parts=listed(parts))
    named = [(_named(form), estimate) for form, estimate in found]
    return (Sentence("cow", headline, intervals(named, "s")),)
