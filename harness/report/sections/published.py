"""What others published, and the reader's own figures beside it, each with what it means.

One table a study, in the order of the file and never by size. What all of its rows share (the
two points between which they were timed, the conditions) stands above it, and only rows that
share their span can be sorted; no chart has their figures and ours on one axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from harness.analysis import published
from harness.analysis.frames import RunData
from harness.analysis.language import later, say
from harness.analysis.published import DISK, HELD, STARTUP, Beside, Published
from harness.analysis.summary import MEMORY, READY, Summary
from harness.analysis.units import MISSING, plural, quantity, with_interval
from harness.report.section import Exhibit, Section
from harness.report.tables import Table

_ASKS = {
    STARTUP: later("{subject}, {year}: until ready"),
    HELD: later("{subject}, {year}: what one holds"),
    DISK: later("{subject}, {year}: what the disk gives"),
}

_YOURS = {
    READY: later("request to READY, all files mounted"),
    MEMORY: later("charged for one more idle instance"),
    "memory.vmm_overhead": later("PSS beyond the guest’s RAM"),
    "density.slope": later("charged for one more, slope of a ramp"),
    "io.randread.iops": later("the same, on this host’s disk"),
}
"""What the run's own figure means, as the head of its column."""

_TOLD: Sequence[tuple[str, Callable[[Published], str]]] = (
    (later("Timed"), lambda figure: _span(figure)),
    (later("How"), lambda figure: figure.method),
    (later("Conditions"), lambda figure: figure.conditions),
)
"""What explains a figure: above the table where all rows share it, else a column."""


def make(run: RunData, summary: Summary) -> Section | None:
    """None where nothing that was published concerns what this run measured."""
    found = published.beside(run, summary)
    if not found:
        return None
    return Section(
        name="published", title=say("What did others find?"), link=say("What others published"),
        exhibits=tuple(_exhibits(found, summary)), notes=(_same(found), *_emulated(found)),
    )  # fmt: skip


def _exhibits(found: Sequence[Beside], summary: Summary) -> Iterator[Exhibit]:
    studies = dict.fromkeys((each.figure.kind, each.figure.subject) for each in found)
    order = list(_ASKS)
    for number, (kind, subject) in enumerate(sorted(studies, key=lambda s: order.index(s[0]))):
        rows = [
            each for each in found if (each.figure.kind, each.figure.subject) == (kind, subject)
        ]
        yield Exhibit(
            f"published_{number}",
            say(_ASKS[kind], subject=subject, year=rows[0].figure.year),
            table=_table(rows, summary), folded=False,
        )  # fmt: skip


def _table(rows: Sequence[Beside], summary: Summary) -> Table:
    figures = [each.figure for each in rows]
    told = [(name, [get(figure) for figure in figures]) for name, get in _TOLD]
    above = [
        say("{what}: {words}.", what=say(name), words=texts[0])
        for name, texts in told
        if texts[0] and len(set(texts)) == 1
    ]
    columns = [(name, texts) for name, texts in told if len(set(texts)) > 1]
    sources = dict.fromkeys(f"{figure.source} ({figure.confidence})" for figure in figures)
    cells = [
        (
            each.figure.runtime,
            quantity(each.figure.value, each.figure.unit),
            _yours(each),
            *(texts[number] for _, texts in columns),
        )
        for number, each in enumerate(rows)
    ]
    source = say("{what}: {words}.", what=say("Source"), words=", ".join(sources))
    yours = say("Yours: {meaning}", meaning=_meaning(rows, summary))
    return Table(
        " ".join([*above, source]),
        (say("Box"), say("Theirs"), yours, *(say(name) for name, _ in columns)),
        tuple(cells), kind="words", ranked=len({_span(figure) for figure in figures}) == 1,
    )  # fmt: skip


def _span(figure: Published) -> str:
    """Between which two points a figure was timed; empty for what was counted."""
    if not figure.span_from:
        return ""
    return say("from: {start}; until: {end}", start=figure.span_from, end=figure.span_to)


def _yours(each: Beside) -> str:
    if each.own is None:
        return say("none: emulated") if each.why else MISSING
    name, value = each.own.runtime, with_interval(each.own.estimate, each.figure.unit)
    if each.same:
        return say("{name}: {value}; counts the same", name=name, value=value)
    return f"{name}: {value}"


def _meaning(rows: Sequence[Beside], summary: Summary) -> str:
    """What the reader's own column means, in words."""
    metrics = dict.fromkeys(published.asked(each.figure) for each in rows if not each.own)
    metrics = dict.fromkeys(each.own.metric for each in rows if each.own) or metrics
    told = [say(_YOURS.get(metric, metric)) for metric in metrics]
    if READY in metrics and summary.cold:
        told.append(say("from a cold page cache"))
    return ", ".join(told)


def _same(found: Sequence[Beside]) -> str:
    same, figures = sum(each.same for each in found), plural(len(found), "figure")
    if not same:
        return say(
            "Of {figures}, none means what yours means: none was timed or counted between the "
            "same two points, so none is smaller or larger than yours.",
            figures=figures,
        )
    return say(
        "Of {figures}, {same} may be compared with yours: they count the same, on another host.",
        figures=figures, same=same,
    )  # fmt: skip


def _emulated(found: Sequence[Beside]) -> Iterator[str]:
    names = dict.fromkeys(each.why for each in found if each.why)
    if names:
        yield say(
            "Every published machine ran on hardware. Yours did not: {names} has no figure "
            "beside them.",
            names=", ".join(names),
        )
