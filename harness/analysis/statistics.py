"""Numbers with their uncertainty: pure functions over arrays, by scipy and numpy.

The unit of inference is the trial, paired within its block, and whole blocks are resampled
(METHOD): one value a block goes in, and a block that has several counts as their median. All
random draws are seeded, so the same run always gives the same report.

Coverage. A plain percentile interval of a median is too narrow where there are few blocks: at
n = 10 it covers about 93 % where 95 % is asked, and joint intervals far less than they claim.
The percentiles are therefore expanded as Hesterberg proposes, which brings ten blocks to at
least what is asked (tests/unit/test_analysis_statistics.py measures it). No interval is given
where even the whole range of n values cannot be that sure of the median, 2^(1-n) > 1 - c.

The median of one series alone needs no draws: its resampled distribution is known (`exact`).

Sources: Efron & Tibshirani, An Introduction to the Bootstrap (1993), ch. 13, for percentile
intervals; Hesterberg, What Teachers Should Know About the Bootstrap, The American Statistician
69 (2015) 371-386, sec. 4.4, for the expansion; Clopper & Pearson, Biometrika 26 (1934) 404-413;
Bonferroni's inequality for simultaneous intervals (Dunn, JASA 56 (1961) 52-64).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from harness.analysis import exact, large
from harness.analysis.language import say
from harness.stopping import fewest

MIN_BLOCKS = 5
"""With fewer blocks nothing is said of a trend."""

_ENOUGH_FOR_T = 10
"""From so many blocks on, Spearman's rho has its usual approximate p."""

RESAMPLES = 9999
RESAMPLES_OF_MANY = 1999
"""Where each draw holds every value of a run."""

CONFIDENCE = 0.95

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A range that covers the true value in `confidence` of repetitions of the whole run."""

    low: float
    high: float
    confidence: float


@dataclass(frozen=True)
class Estimate:
    """A median or ratio of n blocks; `absent` says why there is no interval."""

    value: float
    n: int
    interval: Interval | None
    absent: str = ""


@dataclass(frozen=True)
class Drift:
    """Whether a control moved during the run.

    `rho` and `p` are Spearman's, against the block's number; `change` is the median of the
    later half over that of the earlier half.
    """

    n: int
    rho: float
    p: float
    change: float

    @property
    def moved(self) -> bool:
        """A trend that chance would rarely show and that matters (5 %), or a large step (20 %)."""
        size = abs(self.change - 1)
        return size > 0.2 or (self.p < 0.05 and size > 0.05)


def by_block(values: pd.Series[float]) -> pd.Series[float]:
    """One value a block: the median of a block's values. Missing values are left out."""
    known = values.dropna() if values.hasnans else values
    ordered = known.index.is_monotonic_increasing  # asked first: it often tells uniqueness too
    if known.index.is_unique:
        return known if ordered else known.sort_index()
    return known.groupby(level=0).median().sort_index()


def median(
    values: pd.Series[float], confidence: float = CONFIDENCE, seed: int = 0
) -> Estimate | None:
    """The median over blocks with its percentile bootstrap interval; None without values."""
    blocks = _floats(by_block(values))
    if len(blocks) == 0:
        return None
    interval = _bootstrap((blocks,), median_of, confidence, seed)
    absent = why_absent(len(blocks), confidence)
    return Estimate(float(np.median(blocks)), len(blocks), interval, absent)


def ratio(
    numerator: pd.Series[float],
    denominator: pd.Series[float],
    confidence: float = CONFIDENCE,
    seed: int = 0,
    *,
    paired: bool = True,
) -> Estimate | None:
    """The ratio of two medians over the blocks that have both, resampled jointly.

    Not `paired` (two runs), each has blocks of its own, which are resampled independently, and
    n is the smaller number. None when no block has both, or when a value is not positive (a
    ratio means nothing then).
    """
    if paired:
        return _paired(numerator, denominator, ratio_of_medians, confidence, seed, positive=True)
    data = (_floats(by_block(numerator)), _floats(by_block(denominator)))
    if not all(len(each) and (each > 0).all() for each in data):
        return None
    fewest = min(map(len, data))
    interval = _bootstrap(data, ratio_of_medians, confidence, seed, paired=False)
    value = float(ratio_of_medians(*data))
    return Estimate(value, fewest, interval, why_absent(fewest, confidence))


def difference(
    minuend: pd.Series[float],
    subtrahend: pd.Series[float],
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Estimate | None:
    """The difference of two medians over the blocks that have both, resampled jointly."""
    return _paired(minuend, subtrahend, _difference_of_medians, confidence, seed, positive=False)


def combined(
    values: Sequence[pd.Series[float]],
    statistic: Callable[..., Floats],
    confidence: float = CONFIDENCE,
    seed: int = 0,
) -> Estimate | None:
    """Any statistic of several series over the blocks that have all of them, resampled jointly.

    `statistic` takes an array a series and the keyword `axis`, and depends on its series by
    their medians alone (above `large.MANY` blocks it is given nothing else). None when no block
    has all.
    """
    return _jointly(in_common(*values), statistic, confidence, seed)


def in_common(*values: pd.Series[float]) -> tuple[Floats, ...]:
    """The values of each series, one a block, in the blocks that all of them have."""
    first = by_block(values[0])
    shared, found = first.index, [_floats(first)]
    for each in map(by_block, values[1:]):
        shared, earlier, own = shared.join(each.index, how="inner", return_indexers=True)
        found = found if earlier is None else [known[earlier] for known in found]
        found.append(_floats(each) if own is None else _floats(each)[own])
    return tuple(found)


def _jointly(
    columns: tuple[Floats, ...], statistic: Callable[..., Floats], confidence: float, seed: int
) -> Estimate | None:
    n = len(columns[0])
    if n == 0:
        return None
    interval = _bootstrap(columns, statistic, confidence, seed)
    value = float(statistic(*columns, axis=-1))
    return Estimate(value, n, interval, why_absent(n, confidence))


def simultaneous(family: int, confidence: float = CONFIDENCE) -> float:
    """The confidence that each of `family` intervals needs so that all hold together."""
    return 1 - (1 - confidence) / max(family, 1)


def blocks_needed(confidence: float = CONFIDENCE) -> int:
    """The fewest values whose whole range holds the median with this confidence; 6 for 95 %."""
    return fewest(confidence)


def why_absent(n: int, confidence: float) -> str:
    """Why n blocks give no interval; empty where they do."""
    needed = blocks_needed(confidence)
    return (
        ""
        if n >= needed
        else say("{n} of the {needed} blocks that an interval needs", n=n, needed=needed)
    )


def bounds(
    data: tuple[Floats, ...],
    statistic: Callable[..., Floats],
    confidence: float = CONFIDENCE,
    seed: int = 0,
    *,
    paired: bool = True,
    resamples: int | None = None,
) -> tuple[Floats, Floats]:
    """The ends of the expanded percentile interval of a statistic of blocks.

    Blocks lie along the last axis of each array; for further axes (many runs at once, in a
    simulation) there are as many intervals, from the same draws. Not `paired`, each array is
    resampled by itself. `resamples` is `RESAMPLES` if not given; the median of one series needs
    none (`exact`).
    """
    level = _expanded(confidence, min(each.shape[-1] for each in data))
    if statistic is median_of:
        (own,) = data
        return exact.percentiles(own, ((1 - level) / 2, (1 + level) / 2))
    result: Any = stats.bootstrap(
        data,
        statistic,
        n_resamples=resamples or RESAMPLES,
        vectorized=True,
        paired=paired,
        axis=-1,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    found = result.confidence_interval
    return np.asarray(found.low), np.asarray(found.high)


def success_rate(ok: int, tried: int, confidence: float = CONFIDENCE) -> Interval | None:
    """The exact interval of a share (Clopper-Pearson); None when nothing was tried."""
    if tried == 0:
        return None
    exact = stats.binomtest(ok, tried).proportion_ci(confidence_level=confidence, method="exact")
    return Interval(float(exact.low), float(exact.high), confidence)


def quantile(values: Sequence[float], q: float) -> float | None:
    """The quantile, or None with fewer than 10 / (1 - q) values (METHOD, small samples).

    For q below a half the thin tail is the lower one, and 10 / q values are needed.
    """
    clean = np.asarray([v for v in values if not math.isnan(v)], dtype=float)
    if len(clean) == 0 or len(clean) < 10 / (1 - max(q, 1 - q)) - 1e-9:
        return None
    return float(np.quantile(clean, q))


def pooled_quantile(
    values: pd.Series[float], q: float, confidence: float = CONFIDENCE, seed: int = 0
) -> Estimate | None:
    """A quantile of all values of a run, with whole blocks resampled for its interval.

    For launches, which are many a block. None with fewer than `quantile` asks for.
    """
    found = quantile([float(v) for v in values], q)
    if found is None:
        return None
    blocks = [_floats(block) for _, block in values.groupby(level=0)]
    absent = why_absent(len(blocks), confidence)
    if absent:
        return Estimate(found, len(blocks), None, absent)
    dice = np.random.default_rng(seed)
    picks = dice.integers(len(blocks), size=(RESAMPLES_OF_MANY, len(blocks)))
    again = [np.quantile(np.concatenate([blocks[n] for n in pick]), q) for pick in picks]
    tail = (1 - _expanded(confidence, len(blocks))) / 2
    low, high = np.quantile(again, (tail, 1 - tail))
    return Estimate(found, len(blocks), Interval(float(low), float(high), confidence))


def upper_percentile(values: Sequence[float], q: float) -> float | None:
    """The smallest value that at least a share q of the values does not exceed.

    For the channel's round trips, which are iterations and not trials: 100 of them give a
    bound, never an interpolated figure.
    """
    if not values:
        return None
    return float(np.quantile(np.asarray(values, dtype=float), q, method="inverted_cdf"))


def drift(values: pd.Series[float]) -> Drift | None:
    """Whether values move with their block's number; None with fewer than `MIN_BLOCKS`."""
    blocks = by_block(values)
    if len(blocks) < MIN_BLOCKS:
        return None
    found = _floats(blocks)
    half = len(found) // 2
    early, late = float(np.median(found[:half])), float(np.median(found[-half:]))
    change = late / early if early else math.nan
    if np.ptp(found) == 0:
        return Drift(len(found), 0.0, 1.0, 1.0)
    order = _floats(blocks.index.to_series())
    test: Any = stats.spearmanr(order, found)
    p = float(test.pvalue) if len(found) >= _ENOUGH_FOR_T else _permuted(order, found)
    return Drift(len(found), float(test.statistic), p, change)


def _permuted(order: Floats, found: Floats) -> float:
    """The p of Spearman's rho where the usual approximation is too bold, as with ties it is:
    the ranks in every order, or in very many."""
    first, second = (np.asarray(stats.rankdata(each)) for each in (order, found))
    centred = first - first.mean()
    test: Any = stats.permutation_test(
        (second - second.mean(),), lambda ranks, axis: np.sum(ranks * centred, axis=axis),
        permutation_type="pairings", vectorized=True, n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    return float(test.pvalue)


def _floats(values: pd.Series[float]) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _paired(
    first: pd.Series[float],
    second: pd.Series[float],
    statistic: Callable[..., Floats],
    confidence: float,
    seed: int,
    positive: bool,
) -> Estimate | None:
    both = in_common(first, second)
    if positive and any((each <= 0).any() for each in both):
        return None
    return _jointly(both, statistic, confidence, seed)


def _bootstrap(
    data: tuple[Floats, ...],
    statistic: Callable[..., Floats],
    confidence: float,
    seed: int,
    *,
    paired: bool = True,
) -> Interval | None:
    if min(map(len, data)) < blocks_needed(confidence):
        return None
    if max(map(len, data)) > large.MANY:
        level = _expanded(confidence, min(map(len, data)))
        return Interval(*large.ends(data, statistic, level, seed, paired=paired), confidence)
    values = tuple(each.tobytes() for each in data)
    low, high = _ends(values, statistic, confidence, seed, paired, RESAMPLES)
    return Interval(low, high, confidence)


@functools.lru_cache(maxsize=4096)
def _ends(
    values: tuple[bytes, ...],
    statistic: Callable[..., Floats],
    confidence: float,
    seed: int,
    paired: bool,
    resamples: int,
) -> tuple[float, float]:
    """`bounds` of these blocks. The draws are seeded, and a report asks for the same interval
    again for its sentence, its chart and its table."""
    data = tuple(np.frombuffer(each, dtype=np.float64) for each in values)
    low, high = bounds(data, statistic, confidence, seed, paired=paired, resamples=resamples)
    return float(low), float(high)


def median_of(a: Floats, axis: int = -1) -> Floats:
    """The median along an axis, of values that are numbers.

    All is put in order, which of so few numpy does three times as fast as it finds their middle;
    the medians are the same to the last bit.
    """
    ordered, n = np.sort(a, axis=axis), np.shape(a)[axis]
    lower, upper = (np.take(ordered, place, axis=axis) for place in ((n - 1) // 2, n // 2))
    return np.asarray(lower if n % 2 else (lower + upper) / 2)


def ratio_of_medians(a: Floats, b: Floats, axis: int = -1) -> Floats:
    """The median of one over that of another along an axis."""
    return np.asarray(median_of(a, axis) / median_of(b, axis))


def _difference_of_medians(a: Floats, b: Floats, axis: int = -1) -> Floats:
    return np.asarray(median_of(a, axis) - median_of(b, axis))


@functools.lru_cache(maxsize=4096)
def _expanded(confidence: float, n: int) -> float:
    """The level whose percentiles, at n blocks, cover as much as is asked."""
    tail = stats.t.ppf((1 - confidence) / 2, n - 1) * math.sqrt(n / (n - 1))
    return float(1 - 2 * stats.norm.cdf(tail))
