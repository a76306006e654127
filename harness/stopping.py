"""When a run has enough: fixed blocks, or an interval narrower than asked, or a time budget.

The interval is the distribution-free one of the median between two order statistics
(Conover, Practical Nonparametric Statistics, 3.2). It is looked at after whole blocks only.
Looking repeatedly costs coverage, so the rule in force is recorded with the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from harness.errors import UsageError
from harness.model import Frozen, TrialRecord

_CONFIDENCE = 0.95
_MIN_BLOCKS = 6
MAX_BLOCKS = 1000
_UNITS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


class Rule(Frozen, frozen=True):
    """`relative_width` is half the interval over the median; None where not asked for."""

    blocks: int
    relative_width: float | None = None
    budget_s: float | None = None

    def text(self) -> str:
        parts = []
        if self.relative_width is not None:
            parts.append(
                f"until every median of startup.ready is known to ±{self.relative_width:.1%}"
            )
        if self.budget_s is not None:
            parts.append(f"within {self.budget_s:g} s")
        limit = f"at most {self.blocks} blocks" if parts else f"fixed: {self.blocks} blocks"
        return ", ".join([*parts, limit])

    def enough(self, records: Sequence[TrialRecord], elapsed_s: float) -> bool:
        """Whether to stop after the block that has just ended."""
        if self.budget_s is not None and elapsed_s >= self.budget_s:
            return True
        if self.relative_width is None:
            return False
        values: dict[str, list[float]] = {}
        for record in records:
            for sample in record.samples:
                if sample.metric == "startup.ready" and not record.warmup:
                    values.setdefault(record.runtime, []).append(sample.value)
        return bool(values) and all(
            half_width(each) <= self.relative_width for each in values.values()
        )


def half_width(values: Sequence[float]) -> float:
    """Half the 95 % interval of the median over the median; infinite below six values."""
    n = len(values)
    if n < _MIN_BLOCKS:
        return math.inf
    ordered, tail, k = sorted(values), 0.0, 0
    while (tail := tail + math.comb(n, k) / 2**n) <= (1 - _CONFIDENCE) / 2:
        k += 1
    low, high = ordered[max(0, k - 1)], ordered[min(n - 1, n - k)]
    return (high - low) / 2 / median(ordered)


def parse_percent(text: str) -> float:
    """`5%` as 0.05; raises UsageError."""
    number = text.strip().removesuffix("%")
    try:
        value = float(number) / 100
    except ValueError:
        value = 0.0
    if not 0 < value < 1 or not text.strip().endswith("%"):
        raise UsageError(f"--until {text!r} is not a percentage", "for example --until 5%")
    return value


def parse_duration(text: str) -> float:
    """`90`, `90s`, `10m` or `2h` in seconds; raises UsageError."""
    stripped = text.strip()
    unit = next((u for u in sorted(_UNITS, key=len, reverse=True) if stripped.endswith(u)), "")
    try:
        seconds = float(stripped.removesuffix(unit)) * _UNITS.get(unit, 1.0)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise UsageError(f"--time-budget {text!r} is not a duration", "for example 90s, 10m or 2h")
    return seconds
