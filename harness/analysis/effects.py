"""How large a difference is, in the metric's own unit and free of it, and whether chance made it.

Three numbers beside a ratio of medians. The *Hodges-Lehmann shift* is the typical difference:
the median of all means of two paired differences, or of all differences between two independent
samples; its interval is the one that the rank test itself gives. *Cliff's delta* says how often
a value of one is above one of the other. The *p-value* is that of a permutation test on ranks,
which a single wild trial cannot decide: signed ranks within blocks (Wilcoxon), ranks over both
samples where they are independent (Mann and Whitney). It is exact for up to 50 blocks without
ties, and for up to 13 with them; beyond, it is the normal approximation with the correction for
ties.

Values are one a block. Paired, only blocks that have both count.

Sources: Hollander, Wolfe & Chicken, Nonparametric Statistical Methods, 3rd ed. (2014), 3.1-3.3
and 4.1-4.3; Hodges & Lehmann, Annals of Mathematical Statistics 34 (1963) 598-611; Cliff,
Psychological Bulletin 114 (1993) 494-509.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis.language import say
from harness.analysis.statistics import (
    CONFIDENCE,
    Estimate,
    Floats,
    Interval,
    by_block,
    in_common,
    why_absent,
)

_MANY = 500
"""Of more values, as many evenly spaced quantiles stand for them in a shift: all their pairs
would be too many, and the shift moves by far less than its interval is wide."""

_PERMUTED = 40
"""Up to so many values in two samples with ties, the permutations themselves are drawn."""


def samples(
    base: pd.Series[float], new: pd.Series[float], *, paired: bool
) -> tuple[Floats, Floats]:
    """The values that are compared, one a block: of the blocks that have both, when paired."""
    if paired:
        first, second = in_common(base, new)
        return first, second
    return np.asarray(by_block(base), np.float64), np.asarray(by_block(new), np.float64)


def p_value(base: pd.Series[float], new: pd.Series[float], *, paired: bool) -> float | None:
    """How likely chance alone sets two equal things this far apart; two-sided.

    Paired, what changes sign is the logarithm of each block's ratio, or its difference where a
    value is not positive. None with fewer than two values a side. The smallest p of n pairs is
    2^(1-n).
    """
    old, fresh = samples(base, new, paired=paired)
    if min(len(old), len(fresh)) < 2:
        return None
    return _signed_ranks(old, fresh) if paired else _ranks(old, fresh)


def _signed_ranks(old: Floats, fresh: Floats) -> float:
    positive = bool((old > 0).all() and (fresh > 0).all())
    apart = np.log(fresh) - np.log(old) if positive else fresh - old
    apart = apart[apart != 0]  # who is equal says nothing of which is more (Wilcoxon)
    if len(apart) == 0:
        return 1.0
    return float(stats.wilcoxon(apart, correction=True, method="auto").pvalue)


def _ranks(old: Floats, fresh: Floats) -> float:
    everything = np.concatenate([old, fresh])
    tied = len(np.unique(everything)) < len(everything)
    if tied and np.ptp(everything) == 0:
        return 1.0
    method: Any = "asymptotic"
    if tied and len(everything) <= _PERMUTED:
        method = stats.PermutationMethod(n_resamples=9999, rng=np.random.default_rng(0))
    elif not tied and max(len(old), len(fresh)) <= 50:
        method = "exact"
    return float(stats.mannwhitneyu(fresh, old, method=method).pvalue)


def cliffs_delta(base: pd.Series[float], new: pd.Series[float], *, paired: bool) -> float | None:
    """How much more often a new value is above an old one than below: -1 to 1; 0 is neither.

    None without values. It is that of the two samples also when they are paired.
    """
    old, fresh = samples(base, new, paired=paired)
    if min(len(old), len(fresh)) == 0:
        return None
    above = float(stats.mannwhitneyu(fresh, old, method="asymptotic").statistic)
    return 2 * above / (len(old) * len(fresh)) - 1


def shift(
    base: pd.Series[float],
    new: pd.Series[float],
    *,
    paired: bool,
    confidence: float = CONFIDENCE,
) -> Estimate | None:
    """The Hodges-Lehmann shift of new against base with the rank test's own interval.

    None without values. The ranks of the interval's ends are the normal approximation's.
    """
    old, fresh = samples(base, new, paired=paired)
    n, m = len(fresh), len(old)
    if min(n, m) == 0:
        return None
    if paired:
        apart = _thinned(fresh - old)
        rows, columns = np.triu_indices(len(apart))
        every = (apart[rows] + apart[columns]) / 2
        relative_sd = math.sqrt(n * (n + 1) * (2 * n + 1) / 24) / (n * (n + 1) / 2)
    else:
        every = np.subtract.outer(_thinned(fresh), _thinned(old)).ravel()
        relative_sd = math.sqrt((n + m + 1) / (12 * n * m))
    every.sort()
    tail = 0.5 - float(stats.norm.isf((1 - confidence) / 2)) * relative_sd
    interval = _between(every, tail, confidence)
    few = min(n, m)
    absent = "" if interval else why_absent(few, confidence) or say("{n} blocks are too few", n=few)
    return Estimate(float(np.median(every)), few, interval, absent)


def _between(ordered: Floats, tail: float, confidence: float) -> Interval | None:
    """Between the two values that leave this share of all below and above; None where the
    share is less than one value."""
    rank = math.floor(tail * len(ordered) + 1e-9)
    if rank < 1:
        return None
    return Interval(float(ordered[rank - 1]), float(ordered[-rank]), confidence)


def _thinned(values: Floats) -> Floats:
    if len(values) <= _MANY:
        return values
    return np.quantile(values, (np.arange(_MANY) + 0.5) / _MANY)
