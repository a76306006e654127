"""Numbers in columns, a line each: one figure over all lines of an output.

The lines of one output are iterations inside one instance, so they become one sample; the
statistic that makes it is the user's, and is written down with the run (METHOD: unit of
inference).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, median
from typing import Annotated, Literal

from msgspec import Meta

from harness.model import Sample
from harness.parsers import unreadable
from harness.parsers.values import MetricName, Value, number_of

Statistic = Literal["first", "last", "min", "max", "median", "mean", "sum"]
_STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "first": lambda numbers: numbers[0], "last": lambda numbers: numbers[-1], "min": min,
    "max": max, "median": median, "mean": fmean, "sum": sum,
}  # fmt: skip


class LinesValue(Value, frozen=True, kw_only=True):
    """`column` counts from 1; columns are parted by `separator`, by white space without one."""

    column: Annotated[int, Meta(ge=1, le=1000)] = 1
    statistic: Statistic = "median"


def samples(
    output: bytes, values: Mapping[MetricName, LinesValue], skip: int = 0, separator: str = ""
) -> Sequence[Sample]:
    """A sample for each value; the first `skip` lines are headings. Raises OutputUnreadable."""
    lines = [line for line in output.decode(errors="replace").splitlines()[skip:] if line.strip()]
    rows = [line.split(separator or None) for line in lines]
    if not rows:
        raise unreadable("the output has no lines", output)
    made = []
    for name, value in values.items():
        short = next((row for row in rows if len(row) < value.column), None)
        if short is not None:
            raise unreadable(f"a line has no column {value.column} for {name}", output)
        numbers = [number_of(row[value.column - 1], name, output) for row in rows]
        try:
            figure = _STATISTICS[value.statistic](numbers)
        except (OverflowError, ValueError):  # a sum of infinities of both signs
            figure = float("nan")
        made.append(value.sample(name, figure, output))
    return made
