"""What was flagged in single series, and what the discarded first block looked like."""

from __future__ import annotations

from harness.analysis.flags import Flag, discarded
from harness.analysis.flags import flags as find_flags
from harness.analysis.frames import RunData
from harness.analysis.language import say
from harness.analysis.units import digits, quantity, span, times
from harness.report.tables import Table


def flags(run: RunData) -> Table:
    """A row a flag: in which series, what was seen, and by which test."""
    rows = tuple(
        (
            flag.runtime, _series(flag), say(flag.kind), flag.text, str(flag.n),
            digits(flag.p, 2), say(flag.method),
        )
        for flag in find_flags(run)
    )  # fmt: skip
    headings = ("Runtime", "Series", "Flag", "What was seen", "Blocks", "p", "By")
    return Table("Series that one median does not tell", headings, rows)


def _series(flag: Flag) -> str:
    return " ".join([flag.metric, *(f"{k}={v}" for k, v in sorted(flag.dimensions.items()))])


def warmups(run: RunData) -> Table:
    """A row a runtime and experiment: the discarded trials beside the measured."""
    rows = tuple(
        (
            each.runtime,
            each.experiment,
            say(each.until),
            ", ".join(quantity(value, "s") for value in each.seconds),
            quantity(each.measured.value, "s"),
            span(each.measured.interval, "s"),
            times(each.seconds[0] / each.measured.value) if each.measured.value else "",
        )
        for each in discarded(run)
        if each.seconds
    )
    headings = ("Runtime", "Experiment", "Time", "Discarded", "Measured median", "95 %",
                "First / median")  # fmt: skip
    return Table("The discarded first block beside the measured ones", headings, rows)
