"""What a teaching text says and this run decides: each claim with its numbers and its chart."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis.claims import declared
from harness.analysis.claims.answers import Answer, Part, answer
from harness.analysis.claims.declared import Cost
from harness.analysis.frames import RunData
from harness.analysis.gates import Outcome
from harness.analysis.language import later, say, sentences
from harness.analysis.summary import Summary
from harness.analysis.units import times
from harness.report import claims as told
from harness.report.charts import Chart, render, subject
from harness.report.ratios import Group, Line, Panel, draw_ratios, ratios_numbers
from harness.report.section import Exhibit, Section
from harness.report.tables import Table

_AXIS = later("how many times as dear; the band ends at the claim’s margin")
_LINES = 6


def make(run: RunData, summary: Summary) -> Section | None:
    """None where the run decides nothing of any claim."""
    found = [each for each in answer(declared.read(), [run]) if any(map(_decides, each.parts))]
    if not found:
        return None
    return Section(
        name="claims",
        title="Is it so, what a text says?",
        link="Claims",
        exhibits=(Exhibit("claims", chart=_chart(found, summary), table=_table(found),
                          folded=False),),
    )  # fmt: skip


def _decides(part: Part) -> bool:
    return bool(part.counted) and part.outcomes != {Outcome.UNDECIDED}


def _table(found: Sequence[Answer]) -> Table:
    rows: list[tuple[str, ...]] = []
    for each in found:
        verdict = say(each.verdict)
        if each.on:
            verdict = say("{what}: {words}.", what=verdict, words=each.on)
        for part in each.parts:
            worst = told.telling(part)[:1]
            shown = [
                say("{name}: {said}", name=told.series(f, with_run=False), said=told.number(f))
                for f in worst
            ]
            numbers = say("; ").join(shown) or part.why
            rows.append((say(each.claim.says), verdict, say(part.check.says),
                         say(part.verdict), told.limit(part), numbers))  # fmt: skip
    return Table(
        sentences([say("Claims of which this run decides something."), told.reading()]),
        ("Claim", "Verdict", "Part", "Verdict on it", "Margin", "What speaks most against it"),
        tuple(rows), kind="words", ranked=False,
    )  # fmt: skip


def _chart(found: Sequence[Answer], summary: Summary) -> Chart | None:
    groups = [_group(part, summary) for each in found for part in each.parts]
    groups = [group for group in groups if group.lines]
    if not groups:
        return None
    panel = Panel("", tuple(dict.fromkeys(groups)))
    words = [
        f"{group.heading}, {line.subject.name}: {times(line.ratio.value)}"
        for group in panel.groups
        for line in group.lines
    ]
    alt = say("What the claims are held against. {told}.", told=say("; ").join(words))
    return render(
        "claims", alt, lambda layout: draw_ratios([panel], _AXIS, layout, True),
        ratios_numbers([panel]),
    )  # fmt: skip


def _group(part: Part, summary: Summary) -> Group:
    rows = {row.runtime: row for row in summary.rows}
    lines = []
    for found in told.telling(part) if isinstance(part.check, Cost) else ():
        if found.value is not None and found.box in rows:
            lines.append(Line(subject(rows[found.box]), found.value))
    limit = part.check.limit if isinstance(part.check, Cost) else 1.0
    return Group(say(part.check.says), limit, tuple(lines[:_LINES]))
