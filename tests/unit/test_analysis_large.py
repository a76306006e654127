"""Intervals over very many blocks: those that drawing the blocks would give, and quickly."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from harness.analysis import statistics

Floats = npt.NDArray[np.float64]
N = 800


def drawn(seed: int, correlation: float = 0.6) -> tuple[Floats, Floats]:
    """Two log-normal series that share a part of their noise."""
    dice = np.random.default_rng(seed)
    both, own, other = dice.normal(size=(3, N))
    mixed = correlation * both + np.sqrt(1 - correlation**2) * other
    return np.exp(0.2 * both + 0.02 * own), 1.1 * np.exp(0.2 * mixed)


def ratio(a: Floats, b: Floats, axis: int = -1) -> Floats:
    return np.asarray(np.median(a, axis=axis) / np.median(b, axis=axis))


def close(found: tuple[float, float], expected: tuple[float, float], share: float) -> None:
    """Each end lies within a share of the expected interval's width."""
    width = expected[1] - expected[0]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=share * width)


def interval(found: statistics.Estimate | None) -> tuple[float, float]:
    """The ends of an estimate's interval."""
    assert found is not None
    assert found.interval is not None
    return found.interval.low, found.interval.high


@pytest.mark.parametrize("seed", range(3))
def test_a_median_has_the_interval_of_drawn_blocks(seed: int) -> None:
    values, _ = drawn(seed)
    low, high = statistics.bounds((values,), statistics.median_of)
    close(interval(statistics.median(pd.Series(values))), (float(low), float(high)), 0.08)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("correlation", [0.0, 0.6, 0.99])
def test_a_ratio_has_the_interval_of_drawn_blocks(correlation: float, paired: bool) -> None:
    data = drawn(7, correlation)
    low, high = statistics.bounds(data, ratio, paired=paired)
    first, second = map(pd.Series, data)
    found = statistics.ratio(first, second, paired=paired)
    close(interval(found), (float(low), float(high)), 0.1)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(400):
        values = pd.Series(np.random.default_rng(seed).exponential(size=1001))
        found = statistics.median(values)
        assert found is not None
        assert found.interval is not None
        hits += found.interval.low <= np.log(2) <= found.interval.high
    sure = statistics.success_rate(hits, 400, 0.999)
    assert sure is not None
    assert sure.low <= 0.95 <= sure.high


def test_equal_values_have_no_width() -> None:
    same = pd.Series(np.full(2000, 3.0))
    for found in (statistics.median(same), statistics.ratio(same, same)):
        assert found is not None
        assert found.interval is not None
        assert found.interval.low == found.interval.high == found.value


def test_a_large_run_and_a_small_one_are_compared() -> None:
    few = pd.Series(np.random.default_rng(1).normal(10, 1, 20))
    many = pd.Series(np.random.default_rng(2).normal(10, 1, 100_000))
    found = statistics.ratio(few, many, paired=False)
    assert found is not None
    assert found.n == 20
    assert found.interval is not None
    assert found.interval.low < 1 < found.interval.high
    assert found.interval.high - found.interval.low > 0.03
