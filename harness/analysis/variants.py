"""What one parameter of a runtime costs: pairs of rows that differ in nothing else.

`docker,client=cli` beside `docker` tells the price of the command line, and
`docker,network=none` beside it what the bridge adds. Each pair is one variant and the row
without that parameter, which then has its default; differences are paired within blocks, and
their intervals are simultaneous over all pairs of a run.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.statistics import Estimate
from harness.analysis.summary import READY, RuntimeRow, Summary


@dataclass(frozen=True)
class Variant:
    """`changed` is the one parameter (`client=cli`) by which `row` differs from `base`."""

    row: RuntimeRow
    base: RuntimeRow
    changed: str
    added: Estimate
    ratio: Estimate | None


def variants(run: RunData, summary: Summary) -> tuple[Variant, ...]:
    """Every pair of the run whose blocks allow a difference of READY."""
    rows = {_parts(row.runtime): row for row in summary.rows if row.ready}
    pairs = [
        (row, rows[parts - {word}], word)
        for parts, row in rows.items()
        for word in sorted(word for word in parts if "=" in word)
        if parts - {word} in rows
    ]
    confidence = statistics.simultaneous(len(pairs))
    found = []
    for row, base, word in pairs:
        ours, theirs = run.values(READY, row.runtime), run.values(READY, base.runtime)
        added = statistics.difference(ours, theirs, confidence)
        if added is not None:
            ratio = statistics.ratio(ours, theirs, confidence)
            found.append(Variant(row, base, word, added, ratio))
    return tuple(sorted(found, key=lambda variant: (variant.changed, variant.base.runtime)))


def _parts(runtime: str) -> frozenset[str]:
    return frozenset(runtime.split(","))
