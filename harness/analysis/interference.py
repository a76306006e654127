"""What neighbours take from each other, as a run's stored trials tell it: every pair, every box.

A trial gives one slowdown a pair and quantile: that quantile of the victim's iterations beside
the aggressor, over the same alone, in the same box. What stands here is the median over blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import later, say
from harness.analysis.statistics import CONFIDENCE, Estimate
from harness.analysis.summary import RuntimeRow

SLOWDOWN, VICTIM = "interference.slowdown", "interference.victim"
MEDIAN = "0.5"
ALONE = "none"
WITH, WITHOUT = "on", "off"

LOADS: Mapping[str, str] = {
    "cpu": later("computing"),
    "memory": later("writing memory"),
    "disk": later("writing to the disk"),
    "fork": later("forking"),
}


@dataclass(frozen=True)
class Box:
    """One runtime under one kind of limits."""

    row: RuntimeRow
    limits: str

    @property
    def name(self) -> str:
        """Which limits is always said."""
        words = later("{runtime}, limits") if self.limits == WITH else later("{runtime}, no limits")
        return say(words, runtime=self.row.runtime)


@dataclass(frozen=True)
class Pair:
    """A victim and its neighbour."""

    victim: str
    aggressor: str

    @property
    def title(self) -> str:
        """Both in words."""
        return say(
            "{victim} beside {aggressor}",
            victim=say(LOADS.get(self.victim, self.victim)),
            aggressor=say(LOADS.get(self.aggressor, self.aggressor)),
        )


@dataclass(frozen=True)
class Found:
    """All that a run tells: its boxes, its pairs, and the quantiles that it has."""

    run: RunData
    boxes: tuple[Box, ...]
    pairs: tuple[Pair, ...]
    quantiles: tuple[str, ...]

    def slowdown(
        self, box: Box, pair: Pair, quantile: str = MEDIAN, confidence: float = CONFIDENCE
    ) -> Estimate | None:
        """How many times as long an iteration takes; None where no trial tells it."""
        return statistics.median(self._slowdowns(box, pair, quantile), confidence)

    def times(self, box: Box, pair: Pair, quantile: str = MEDIAN) -> float | None:
        """The same without an interval, which takes a while to find."""
        values = statistics.by_block(self._slowdowns(box, pair, quantile))
        return float(values.median()) if len(values) else None

    def _slowdowns(self, box: Box, pair: Pair, quantile: str) -> pd.Series[float]:
        return self.run.values(
            SLOWDOWN, box.row.runtime, limits=box.limits, quantile=quantile,
            victim=pair.victim, aggressor=pair.aggressor,
        )  # fmt: skip

    def alone(self, box: Box, pair: Pair) -> Estimate | None:
        """Seconds of the median iteration with no neighbour."""
        values = self.run.values(
            VICTIM, box.row.runtime, limits=box.limits, quantile=MEDIAN,
            victim=pair.victim, aggressor=ALONE,
        )  # fmt: skip
        return statistics.median(values)

    @property
    def tail(self) -> str | None:
        """The highest quantile above the median that some box has of every pair."""
        told = [q for q in reversed(self.quantiles) if q != MEDIAN]
        return next((q for q in told if all(self._has(pair, q) for pair in self.pairs)), None)

    def _has(self, pair: Pair, quantile: str) -> bool:
        return any(len(self._slowdowns(box, pair, quantile)) for box in self.boxes)

    def worst(self, box: Box) -> tuple[Pair, Estimate] | None:
        """The pair that is slowed down most, with an interval that holds for all pairs of all
        boxes at once: it was picked out of them."""
        known = [(times, pair) for pair in self.pairs if (times := self.times(box, pair))]
        if not known:
            return None
        _, pair = max(known, key=lambda each: each[0])
        sure = statistics.simultaneous(len(self.boxes) * len(self.pairs))
        estimate = self.slowdown(box, pair, confidence=sure)
        assert estimate is not None
        return pair, estimate


def of_run(run: RunData, rows: Sequence[RuntimeRow]) -> Found | None:
    """None where the run has no such trial."""
    series = run.series(SLOWDOWN)
    if not series:
        return None
    seen = {(each.runtime, each.dimensions["limits"]) for each in series}
    pairs = {(each.dimensions["victim"], each.dimensions["aggressor"]) for each in series}
    order = list(LOADS)
    ranked = sorted(pairs, key=lambda pair: [order.index(x) if x in order else 9 for x in pair])
    return Found(
        run,
        tuple(Box(row, limits) for row in rows for limits in (WITH, WITHOUT)
              if (row.runtime, limits) in seen),
        tuple(Pair(*pair) for pair in ranked),
        tuple(sorted({each.dimensions["quantile"] for each in series}, key=float)),
    )  # fmt: skip
