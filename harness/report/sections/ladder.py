"""The cost ladder: what each mechanism of a box adds until it is ready."""

from __future__ import annotations

from harness.analysis import ladder
from harness.analysis.frames import RunData
from harness.analysis.ladder import Ladder
from harness.analysis.statistics import Estimate
from harness.analysis.summary import Summary
from harness.analysis.units import MISSING, quantity, span
from harness.report.section import Exhibit, Section
from harness.report.tables import Table


def make(run: RunData, summary: Summary) -> Section | None:
    """None where the run climbed no ladder."""
    del summary
    found = ladder.read(run)
    if found is None:
        return None
    exhibits = [Exhibit("ladder-rungs", table=rungs_table(found))]
    if found.remainders:
        exhibits.append(
            Exhibit("ladder-remainder", "What do the sums leave over?", table=remainders(found))
        )
    return Section(
        name="ladder",
        title="What does each mechanism add?",
        link="The cost ladder",
        exhibits=tuple(exhibits),
    )


def rungs_table(found: Ladder) -> Table:
    """Every rung with its base, what it adds in turn and last, and its READY."""
    rows = tuple(
        (
            step.name,
            step.over or MISSING,
            *_cells(step.added if step.over else step.ready),
            *(_cells(step.last) if found.whole else ()),
            quantity(step.ready.value, "s") if step.ready else step.absent,
            step.runtime,
        )
        for step in found.steps
    )
    last = ("Added last", "95 %") if found.whole else ()
    return Table(
        "What each rung adds to the time until READY, medians over blocks",
        ("Rung", "Over", "Added in turn", "95 %", *last, "READY", "Runtime"),
        rows,
    )


def remainders(found: Ladder) -> Table:
    """Chain by chain: the measured total, the sums of its costs, and what is left."""
    rows = tuple(
        (
            each.rung,
            quantity(each.total.value, "s"),
            quantity(each.in_turn, "s"),
            *_cells(each.left_in_turn),
            MISSING if each.independent is None else quantity(each.independent, "s"),
            *_cells(each.left),
        )
        for each in found.remainders
    )
    return Table(
        "Measured READY of a chain's last rung, less the sum of what was timed below it",
        ("Chain to", "READY", "Sum in turn", "Remainder", "95 %", "Sum of costs timed alone",
         "Remainder", "95 %"),
        rows,
    )  # fmt: skip


def _cells(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None:
        return MISSING, ""
    text = span(estimate.interval, "s") if estimate.interval else f"none: {estimate.absent}"
    return quantity(estimate.value, "s"), text
