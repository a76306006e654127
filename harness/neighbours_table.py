"""Noisy neighbours in a terminal: the closing table of a run that had some."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.table import Table

from harness.model import Outcome, TrialRecord
from harness.terminal import table


def neighbours_table(records: Sequence[TrialRecord]) -> Table:
    """How many times as long a victim's median iteration takes: a line a victim, a column each
    neighbour."""
    found: dict[tuple[str, str, str], dict[str, list[float]]] = {}
    for record in records:
        if record.warmup or record.outcome is not Outcome.OK:
            continue
        for sample in record.samples if record.experiment == "interference" else ():
            told = sample.dimensions
            if sample.metric == "interference.slowdown" and told["quantile"] == "0.5":
                line = found.setdefault((record.runtime, told["limits"], told["victim"]), {})
                line.setdefault(told["aggressor"], []).append(sample.value)
    neighbours = sorted({name for line in found.values() for name in line})
    rows = [
        (*key, *(f"{median(line[name]):.2f} ×" if name in line else "–" for name in neighbours))
        for key, line in sorted(found.items())
    ]
    return table("", ("box", "limits", "victim", *(f"beside {n}" for n in neighbours)), rows)
