"""Pairs of ours and a peer, interleaved in one run, judged by the lower bound of an interval.

Timings are noisy on shared machines, so no row here fails on a median: it fails only when the
95 % interval of the ratio (or difference) of medians lies wholly beyond the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture
from scipy import stats

_RESAMPLES = 2000
_SEED = 20261123


def median_low(values: Sequence[float]) -> float:
    """The order statistic that the true median lies below with at most 2.5 % (binomial)."""
    n, tail, rank = len(values), 0.0, 0
    while (tail := tail + math.comb(n, rank) / 2**n) <= 0.025:
        rank += 1
    assert rank, f"{n} values bound no median"
    return sorted(values)[rank - 1]


@dataclass(frozen=True)
class Pairs:
    """Seconds of ours and of the peer, by round."""

    ours: Sequence[float]
    peer: Sequence[float]

    def ratio_low(self) -> float:
        """Lower 95 % bound of the ratio of medians, rounds resampled in pairs."""
        return self._low(lambda a, b, axis: np.median(a, axis) / np.median(b, axis))

    def difference_low(self) -> float:
        """The same of the difference of medians, in seconds."""
        return self._low(lambda a, b, axis: np.median(a, axis) - np.median(b, axis))

    def _low(self, statistic: Callable[..., Any]) -> float:
        found = stats.bootstrap(
            (np.asarray(self.ours), np.asarray(self.peer)), statistic, paired=True,
            vectorized=True, n_resamples=_RESAMPLES, method="percentile",
            confidence_level=0.95, rng=np.random.default_rng(_SEED),
        )  # fmt: skip
        return float(found.confidence_interval.low)


def measure(
    benchmark: BenchmarkFixture,
    ours: Callable[[], float],
    peer: Callable[[], float],
    rounds: int,
) -> Pairs:
    """Run peer, ours, peer, ours, …; both return the seconds that count. The first is dropped.

    pytest-benchmark shows the wall time of our side; the seconds that count go beside it.
    """
    own: list[float] = []
    other: list[float] = []
    benchmark.pedantic(
        lambda: own.append(ours()), setup=lambda: other.append(peer()), rounds=rounds + 1
    )
    found = Pairs(own[1:], other[1:])
    benchmark.extra_info.update(
        ours_median_s=float(np.median(found.ours)), peer_median_s=float(np.median(found.peer)),
        ratio_low=found.ratio_low(), difference_low_s=found.difference_low(),
    )  # fmt: skip
    return found
