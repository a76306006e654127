"""Whether values fall into two groups: Silverman's test for more than one mode.

A density is drawn over the values with the narrowest smoothing that still gives it one hump.
Then samples of the same size are drawn from that one-humped density; where few of them need as
much smoothing, the values have more than one mode. The test is on logarithms, and is known to
be conservative for densities with a peak (Hall & York), which suits a warning; for flat ones it
errs in one of eight tests at 5 % (tests/unit/test_flags.py). What it must not be fooled by:

- *A few far values* make humps of their own in the tail, so that values beyond Tukey's fences
  (1.5 interquartile ranges) are set aside here; and each mode must hold a fifth of the values,
  and three at least.
- *Ties*: values that a coarse clock or a page size rounds are heaps. Where values are tied,
  they are spread evenly over the smallest step between two of them.

Sources: Silverman, JRSS B 43 (1981) 97-99, and for the smoothing by Fourier transform Applied
Statistics 31 (1982) 93-99; Hall & York, Statistica Sinica 11 (2001) 515-536; Besag & Clifford,
Biometrika 78 (1991) 301-304, for drawing no more samples than the answer needs; Tukey,
Exploratory Data Analysis (1977), 2D.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

from harness.analysis.statistics import Floats

FEWEST = 10
_SHARE, _LEAST = 0.2, 3
_BATCH, _DRAWS, _HITS = 50, 2000, 10
"""Samples are drawn in batches, until so many show two modes or so many are drawn in all."""

_CELLS = 512
_HALVINGS = 12


@dataclass(frozen=True)
class TwoModes:
    """The two groups that values fall into: the middle and the number of each, and how likely
    one group alone looks like this."""

    low: float
    high: float
    n_low: int
    n_high: int
    p: float

    @property
    def apart(self) -> float:
        """The upper mode's median over the lower's."""
        return self.high / self.low


def two_modes(values: Floats, apart: float = 1.0, seed: int = 0) -> TwoModes | None:
    """The most likely division into two groups, with Silverman's p for one mode.

    None where there is nothing to test: fewer than ten values, a value that is not positive,
    all equal, a group too small to be one, or two that are less than `apart` times apart.
    """
    if len(values) < FEWEST or not (values > 0).all():
        return None
    logs = _spread_ties(_within_fences(np.sort(np.log(values))))
    if len(logs) < FEWEST or np.ptp(logs) <= 1e-12:
        return None
    heights = _histogram(logs)
    width = _critical(heights)
    valley = _valley(heights, width)
    if valley is None:
        return None
    middle = logs[0] + (valley + 0.5) * 3 * np.ptp(logs) / _CELLS - np.ptp(logs)
    low, high = np.exp(logs[logs <= middle]), np.exp(logs[logs > middle])
    if min(len(low), len(high)) < max(_LEAST, _SHARE * len(logs)):
        return None
    if np.median(high) < apart * np.median(low):
        return None
    p = _p_value(heights, width, np.random.default_rng(seed))
    return TwoModes(float(np.median(low)), float(np.median(high)), len(low), len(high), p)


def _within_fences(ordered: Floats) -> Floats:
    quarter, three = np.quantile(ordered, (0.25, 0.75))
    reach = 1.5 * (three - quarter)
    return np.asarray(ordered[(ordered >= quarter - reach) & (ordered <= three + reach)])


def _spread_ties(ordered: Floats) -> Floats:
    """Tied values evenly over the smallest step between different ones; others as they are."""
    distinct, counts = np.unique(ordered, return_counts=True)
    if len(distinct) == len(ordered) or len(distinct) < 2:
        return ordered
    step = float(np.diff(distinct).min())
    of_each = np.repeat(counts, counts)
    place = np.arange(len(ordered)) - np.repeat(np.cumsum(counts) - counts, counts)
    spread = np.repeat(distinct, counts) + step * ((place + 0.5) / of_each - 0.5)
    return np.sort(spread, kind="stable")  # only neighbours can have changed places


def _histogram(ordered: Floats) -> Floats:
    """Counts on a grid that is three times as wide as the values reach, with them in its middle."""
    reach = np.ptp(ordered)
    edges = (ordered[0] - reach, ordered[-1] + reach)
    return np.histogram(ordered, bins=_CELLS, range=edges)[0].astype(float)


def _smooth(heights: Floats, width: float) -> Floats:
    """Counts under a Gaussian kernel; `width` in cells, along the last axis."""
    waves = np.arange(_CELLS // 2 + 1) * 2 * math.pi / _CELLS
    kernel = np.exp(-0.5 * (waves * width) ** 2)
    return np.asarray(fft.irfft(fft.rfft(heights) * kernel, n=_CELLS))


def _peaks(smooth: Floats) -> npt.NDArray[np.bool_]:
    """Where each row rises before and falls after; ripples of the arithmetic, far below any
    value's own hump, are none."""
    steps = np.diff(smooth, axis=-1)
    high = smooth[..., 1:-1] > 1e-6 * smooth.max(axis=-1, keepdims=True)
    return np.asarray((steps[..., :-1] > 0) & (steps[..., 1:] <= 0) & high)


def _modes(smooth: Floats) -> npt.NDArray[np.int_]:
    return np.asarray(_peaks(smooth).sum(axis=-1))


def _critical(heights: Floats) -> float:
    """The narrowest kernel that leaves one mode (by halving: modes only vanish as it widens)."""
    low, high = 0.5, _CELLS / 3
    for _ in range(_HALVINGS):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if _modes(_smooth(heights, middle)) > 1 else (low, middle)
    return high


def _valley(heights: Floats, width: float) -> int | None:
    """The cell of the lowest place between the two modes that a narrower kernel shows."""
    smooth = _smooth(heights, width * 0.95)
    peaks = np.flatnonzero(_peaks(smooth))
    if len(peaks) < 2:
        return None
    first, second = sorted(peaks[np.argsort(smooth[peaks + 1])[-2:]])
    return int(first + np.argmin(smooth[first : second + 1]))


def _p_value(heights: Floats, width: float, dice: np.random.Generator) -> float:
    """The share of samples of the one-humped density that show two at this smoothing.

    Smoothing widens a sample; its kernel is widened alike instead of the sample narrowed."""
    cells = np.arange(_CELLS)
    spread = math.sqrt(np.cov(cells, fweights=heights.astype(int)))
    wider = width * math.sqrt(1 + (width / spread) ** 2)
    density = np.clip(_smooth(heights, width), 0, None)
    density /= density.sum()
    hits = drawn = 0
    while hits < _HITS and drawn < _DRAWS:
        again = dice.multinomial(int(heights.sum()), density, size=_BATCH).astype(float)
        hits += int((_modes(_smooth(again, wider)) > 1).sum())
        drawn += _BATCH
    return (hits + 1) / (drawn + 1)
