"""How long the rest of a run will take, judged by what like trials have taken so far."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from harness.model import Trial, TrialRecord


class Pace:
    """A sum and a count for each kind of trial: what is kept does not grow with the run.

    A kind is an experiment on a runtime. The repetition at the very end is left out.
    """

    def __init__(self, planned: Iterable[Trial]) -> None:
        self._left = Counter(_kind(each) for each in planned if each.experiment != "repeat")
        self._seen: Counter[tuple[str, str]] = Counter()
        self._taken_s: dict[tuple[str, str], float] = {}

    def add(self, record: TrialRecord) -> None:
        """A trial of the plan that has ended, here or in an earlier part of the run."""
        kind = _kind(record)
        self._left[kind] -= 1
        self._seen[kind] += 1
        self._taken_s[kind] = self._taken_s.get(kind, 0.0) + record.wall_s

    def left_s(self) -> float | None:
        """Seconds left; None while less than half of what is left is of a kind that was seen."""
        left = +self._left
        known = {kind: count for kind, count in left.items() if kind in self._seen}
        if sum(known.values()) < left.total() / 2:
            return None
        known_s = sum(self._taken_s[kind] / self._seen[kind] * n for kind, n in known.items())
        return known_s / max(1, sum(known.values())) * left.total()


def _kind(each: Trial | TrialRecord) -> tuple[str, str]:
    return each.experiment, each.runtime
