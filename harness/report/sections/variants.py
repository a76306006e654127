"""The price of a parameter: the same runtime with one thing changed."""

from __future__ import annotations

from harness.analysis.frames import RunData
from harness.analysis.language import later, say
from harness.analysis.summary import Summary
from harness.analysis.units import MISSING, quantity, span_or_why, times
from harness.analysis.variants import Variant, variants
from harness.report.charts import render
from harness.report.forest import Difference, differences_numbers, draw_differences
from harness.report.section import Exhibit, Section
from harness.report.style import Subject
from harness.report.tables import Table, label


def make(run: RunData, summary: Summary) -> Section | None:
    """None unless two rows of the run differ in one parameter alone."""
    found = variants(run, summary)
    if not found:
        return None
    rows = [Difference(_subject(each), each.added) for each in found]
    told = "; ".join(
        f"{v.base.runtime}, {v.changed}: {quantity(v.added.value, 's')}" for v in found
    )
    chart = render(
        "variants",
        say("What one parameter adds to the time until READY. {told}.", told=told),
        lambda layout: draw_differences(rows, "s", later("added to the time until READY"), layout),
        differences_numbers(rows, "s"),
    )
    return Section(
        name="variants",
        title="What does one parameter cost?",
        link="Variants",
        exhibits=(Exhibit("variants", chart=chart, table=_table(found)),),
    )


def _subject(variant: Variant) -> Subject:
    """Named by the parameter; its runtime stands below, as parameters do elsewhere."""
    row = variant.row
    return Subject(
        f"{variant.changed},{say('on {base}', base=variant.base.runtime.replace(',', ' '))}",
        row.runtime_class, row.accel, row.emulated,
    )  # fmt: skip


def _table(found: tuple[Variant, ...]) -> Table:
    rows = tuple(
        (
            label(v.row),
            label(v.base),
            v.changed,
            quantity(v.added.value, "s"),
            span_or_why(v.added, "s"),
            times(v.ratio.value) if v.ratio else MISSING,
            str(v.added.n),
        )
        for v in found
    )
    headings = ("Runtime", "Beside", "Changed", "Added", "95 % for all together", "Factor",
                "Blocks")  # fmt: skip
    return Table("What one parameter adds to READY, paired within blocks", headings, rows)
