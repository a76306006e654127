"""Intervals of medians over very many blocks, without drawing the blocks.

A bootstrap of ten thousand resamples of a hundred thousand values is a billion draws, and needs
none of them. A resampled median is one of the values, and which one depends on a count alone:
how often values below the median were drawn. Of n values that count is binomial (n, 1/2), so
the percentiles of a resampled median are the values at the percentiles of that count (Efron,
Annals of Statistics 7 (1979) 1-26, sec. 3; Maritz & Jarrett, JASA 73 (1978) 194-196).

The counts of several series whose blocks are drawn together are correlated as often as their
values lie on the same side of their medians. For many blocks they are jointly normal (Serfling,
Approximation Theorems of Mathematical Statistics (1980), 2.3.3); they are drawn as such, and
each is turned into the value that it stands for. That is exact in the values, and approximates
the counts alone: from `MANY` blocks on, the ends differ from those of drawn blocks by less than
these do from seed to seed (tests/unit/test_analysis_large.py measures it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]

MANY = 500
"""From so many blocks on, they are not drawn."""

_DRAWS = 9999


def ends(
    data: Sequence[Floats],
    statistic: Callable[..., Floats],
    confidence: float,
    seed: int,
    *,
    paired: bool,
) -> tuple[float, float]:
    """The percentiles of a statistic that depends on its series by their medians alone.

    `statistic` takes an array a series, and the keyword `axis`. Not `paired`, each series has
    blocks of its own; else all have the same, in the same order.
    """
    tails = ((1 - confidence) / 2, (1 + confidence) / 2)
    if len(data) == 1:
        ranks = np.asarray(stats.binom.ppf(tails, len(data[0]), 0.5))
        low, high = statistic(_values(data[0], ranks)[:, None], axis=-1)
        return float(low), float(high)
    steps = _together(data, paired) @ np.random.default_rng(seed).normal(size=(len(data), _DRAWS))
    medians = [
        _values(values, len(values) / 2 + step * np.sqrt(len(values)) / 2)[:, None]
        for values, step in zip(data, steps, strict=True)
    ]
    low, high = np.quantile(statistic(*medians, axis=-1), tails)
    return float(low), float(high)


def _values(values: Floats, ranks: Floats) -> Floats:
    """The values of these ranks: rank r lies between the r-th and the next of n values."""
    ordered = np.sort(values)
    return np.interp(ranks, np.arange(len(ordered)) + 0.5, ordered)


def _together(data: Sequence[Floats], paired: bool) -> Floats:
    """A matrix that makes independent normal numbers as correlated as the counts are."""
    if not paired:
        return np.eye(len(data))
    sides = np.array([np.sign(values - np.median(values)) for values in data])
    spread = np.sqrt((sides**2).mean(axis=1))
    spread[spread == 0] = 1.0  # of equal values every resample has the same median
    sides /= spread[:, None]
    found, axes = np.linalg.eigh(sides @ sides.T / sides.shape[1])
    return np.asarray(axes * np.sqrt(np.clip(found, 0, None)))
