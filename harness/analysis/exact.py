"""The interval of one series' median by resampled blocks, without resampling: it is known.

A resampled median is one of the values, or the mean of two, and how probable each is follows
from n alone: of n draws so many lie at or below the i-th value, which is binomial (Efron, Annals
of Statistics 7 (1979) 1-26, sec. 3; Maritz & Jarrett, JASA 73 (1978) 194-196). Of an even number
the two in the middle are asked for jointly (Hutson & Ernst, JRSS B 62 (2000) 89-94). So the
percentiles are those that a bootstrap without end would give, and no draw decides them.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special, stats

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]

_NEVER = 1e-15
"""What is less probable than this is left out: of the pairs of many values nearly all are."""


class Middles(NamedTuple):
    """The medians that n draws of n values in order may have: each the mean of two of them."""

    lower: Places
    upper: Places
    probability: Floats


def percentiles(values: Floats, shares: tuple[float, float]) -> tuple[Floats, Floats]:
    """Two percentiles of the resampled median of the values along the last axis; shares of the
    probability, both above nothing."""
    found = middles(values.shape[-1])
    ordered = np.sort(values, axis=-1)
    medians = (ordered[..., found.lower] + ordered[..., found.upper]) / 2
    order = np.argsort(medians, axis=-1)
    sure = np.cumsum(found.probability[order], axis=-1)
    sure[..., -1] = 1.0
    low, high = (
        np.take_along_axis(
            medians,
            np.take_along_axis(order, np.argmax(sure >= share, axis=-1)[..., None], axis=-1),
            axis=-1,
        )[..., 0]
        for share in shares
    )
    return low, high


@functools.lru_cache(maxsize=256)
def middles(n: int) -> Middles:
    """What a resampled median of n values may be."""
    half, ends = n // 2, np.arange(n + 1) / n
    at = np.diff(stats.binom.sf((n - 1) // 2, n, ends))  # the lower middle is the i-th value
    every = np.arange(n)
    if n % 2:
        return _probable(every, every, at)
    powers = (2 * ends) ** half  # twice, for else they are smaller than a float can be
    below, above = np.diff(powers), np.diff(powers)[::-1]
    ways = np.exp(special.gammaln(n + 1) - 2 * special.gammaln(half + 1) - n * np.log(2))
    lower, upper = np.triu_indices(n, 1)
    apart = ways * below[lower] * above[upper]
    same = np.clip(at - ways * below * powers[::-1][1:], 0, None)
    return _probable(
        np.concatenate([every, lower]), np.concatenate([every, upper]),
        np.concatenate([same, apart]),
    )  # fmt: skip


def _probable(lower: Places, upper: Places, probability: Floats) -> Middles:
    some = probability > _NEVER
    return Middles(lower[some], upper[some], probability[some] / probability[some].sum())
