"""The cost ladder in a terminal: the closing table of a run that climbed it."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from rich.table import Table

from harness.model import Outcome, TrialRecord
from harness.rungs import Rung
from harness.terminal import seconds, table


def ladder_table(records: Sequence[TrialRecord], rungs: Sequence[Rung]) -> Table:
    """Each rung's median READY, and what it adds to the one below; a machine has no rung."""
    ready: dict[str, list[float]] = {}
    failed: dict[str, int] = {}
    for record in records:
        if record.warmup or record.experiment != "ladder":
            continue
        failed[record.runtime] = failed.get(record.runtime, 0) + (record.outcome is not Outcome.OK)
        values = [s.value for s in record.samples if s.metric == "ladder.ready"]
        ready.setdefault(record.runtime, []).extend(values)
    medians = {name: median(values) for name, values in ready.items() if values}
    runtime = {rung.name: rung.runtime for rung in rungs}
    by_runtime = {rung.runtime: rung for rung in rungs}
    rows = []
    for name in sorted(ready, key=lambda n: list(by_runtime).index(n) if n in by_runtime else 999):
        rung = by_runtime.get(name)
        below = medians.get(runtime[rung.over]) if rung and rung.over else None
        added = medians[name] - below if below is not None and name in medians else None
        sign = "" if added is None else "−" if added < 0 else "+"
        rows.append(
            (
                rung.name if rung else name,
                rung.over or "" if rung else "",
                seconds(medians[name]) if name in medians else "–",
                "" if added is None else f"{sign}{seconds(abs(added))}",
                str(failed[name]) if failed[name] else "",
            )
        )
    return table("", ("rung", "over", "ready", "added", "failed"), rows)
