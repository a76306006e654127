"""Whether the level of a series of runs changed, and where: the run is the unit.

Two questions, two methods. *Whether*: a permutation test. The statistic is the largest
standardised step of the runs' ranks over all places (Pettitt, Applied Statistics 28 (1979)
126-135, with CUSUM's weights), and its p the share of random orders of the same runs that give
as large a one: right whatever the distribution, as long as the order means nothing. *Where*:
PELT (Killick, Fearnhead & Eckley, JASA 107 (2012) 1590-1598, by ruptures) with least absolute
deviations, which one odd run does not move, and the penalty of the modified BIC, 3 log n a
change (Zhang & Siegmund, Biometrics 63 (2007) 22-32), on runs scaled by the noise between
neighbours. Each step found must then pass the first test again
among the runs from the step before it to the step after it; the weakest that does not is taken
back, and so on.

With fewer than `MIN_RUNS` runs nothing is said. docs/history.md has the measured rate of false
alarms, and how large a step is found among how many runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import ruptures
from scipy import stats

Floats = npt.NDArray[np.float64]

MIN_RUNS = 8
MIN_LEVEL = 3
"""Runs on each side of a change."""

ORDERS = 4999
LEVEL = 0.05
"""At most this often is a step seen where there is none."""
PENALTY = 3.0
"""Times log n: what one more change has to save."""

_FINEST = 1e-3
"""Runs that differ by less than a thousandth are alike."""

_GAUSS = 1.4826
_LAPLACE = 2 * math.sqrt(2)
"""Turns absolute deviations in standard deviations into twice a negative log-likelihood."""


@dataclass(frozen=True)
class Tested:
    """`p` that the order of the runs means nothing; None where `why` tells that nothing is said."""

    runs: int
    p: float | None
    why: str = ""


def one_level(values: Sequence[float], seed: int = 0) -> Tested:
    """Whether one level explains all runs, in the order of time."""
    n = len(values)
    if n < MIN_RUNS:
        return Tested(n, None, f"{n} of the {MIN_RUNS} runs that a trend needs")
    return Tested(n, _p_of_one_level(values, seed))


def _p_of_one_level(values: Sequence[float], seed: int) -> float:
    n = len(values)
    ranks = np.asarray(stats.rankdata(values), dtype=np.float64)
    if np.ptp(ranks) == 0:
        return 1.0
    dice = np.random.default_rng(seed)
    orders = dice.permuted(np.broadcast_to(ranks, (ORDERS, n)), axis=1)
    as_large = int((_largest_step(orders) >= _largest_step(ranks[None, :]) - 1e-9).sum())
    return (as_large + 1) / (ORDERS + 1)


def _largest_step(ranks: Floats) -> Floats:
    """Of each row, over all places with `MIN_LEVEL` runs on both sides."""
    n = ranks.shape[1]
    sums = np.cumsum(ranks - ranks.mean(axis=1, keepdims=True), axis=1)
    before = np.arange(MIN_LEVEL, n - MIN_LEVEL + 1)
    weights = np.sqrt(before * (n - before) / n)
    return np.asarray((np.abs(sums[:, before - 1]) / weights).max(axis=1))


def places(values: Sequence[float], seed: int = 0) -> tuple[int, ...]:
    """The first run of each new level, by position; a question for where `one_level` says no."""
    found = _proposed(values) if len(values) >= MIN_RUNS else []
    while found:
        edges = [0, *found, len(values)]
        ps = [_p_of_one_level(values[a:b], seed) for a, b in zip(edges, edges[2:], strict=False)]
        weakest = int(np.argmax(ps))
        if ps[weakest] <= LEVEL:
            break
        del found[weakest]
    return tuple(found)


def _proposed(values: Sequence[float]) -> list[int]:
    given = np.asarray(values, dtype=np.float64)
    signal = np.log(given) if (given > 0).all() else given
    finest = _FINEST if (given > 0).all() else _FINEST * float(np.abs(given).max() or 1.0)
    noise = _GAUSS * float(np.median(np.abs(np.diff(signal)))) / math.sqrt(2)
    scaled = signal * _LAPLACE / max(noise, finest)
    found = ruptures.Pelt(model="l1", min_size=MIN_LEVEL, jump=1).fit(scaled)
    return [int(place) for place in found.predict(pen=PENALTY * math.log(len(given)))[:-1]]
