"""The known distribution of a resampled median, beside every resample that there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from harness.analysis import exact, statistics


@pytest.mark.parametrize("n", range(1, 7))
def test_it_is_that_of_all_resamples(n: int) -> None:
    values = np.random.default_rng(n).lognormal(size=n).round(6)
    every = np.array(list(product(values, repeat=n)))
    medians, counts = np.unique(np.median(every, axis=1).round(9), return_counts=True)
    ordered, found = np.sort(values), exact.middles(n)
    told = ((ordered[found.lower] + ordered[found.upper]) / 2).round(9)
    assert set(told) == set(medians)
    shares = [found.probability[told == median].sum() for median in medians]
    assert shares == pytest.approx(counts / counts.sum(), abs=1e-12)


@pytest.mark.parametrize("n", [10, 11, 30, 200, 499, 500])
def test_its_percentiles_are_those_of_many_draws(n: int) -> None:
    values = np.random.default_rng(n).exponential(size=n)
    drawn = stats.bootstrap(
        (values,), np.median, n_resamples=50_000, batch=2000, method="percentile", rng=1
    ).confidence_interval
    width = drawn.high - drawn.low
    found = exact.percentiles(values, (0.025, 0.975))
    assert np.allclose(found, (drawn.low, drawn.high), rtol=0, atol=0.1 * width)


@pytest.mark.parametrize("n", [9, 10, 250, 1500])
def test_all_that_is_possible_is_told(n: int) -> None:
    found = exact.middles(n)
    assert found.probability.sum() == pytest.approx(1)
    assert (found.probability > 0).all()
    mirrored = dict.fromkeys(zip(found.lower, found.upper, strict=True), 0.0)
    mirrored |= dict(
        zip(zip(found.lower, found.upper, strict=True), found.probability, strict=True)
    )
    for (lower, upper), share in mirrored.items():
        assert mirrored[n - 1 - upper, n - 1 - lower] == pytest.approx(share, abs=1e-12)


def test_many_series_at_once_and_ties() -> None:
    dice = np.random.default_rng(5)
    runs = dice.integers(1, 5, size=(40, 12)).astype(float)
    together = exact.percentiles(runs, (0.05, 0.95))
    alone = [exact.percentiles(run, (0.05, 0.95)) for run in runs]
    assert np.array_equal(np.stack(together, axis=1), np.array(alone))
    same = exact.percentiles(np.full(8, 3.0), (0.025, 0.975))
    assert [float(each) for each in same] == [3.0, 3.0]


def test_no_share_is_beyond_the_last_median() -> None:
    values = np.arange(12.0)
    low, high = exact.percentiles(values, (1e-12, 1 - 1e-17))
    assert float(high) == 11.0
    assert float(low) < float(high)


def test_a_median_takes_it_and_needs_no_seed() -> None:
    values = np.random.default_rng(3).lognormal(size=15)
    found = [statistics.bounds((values,), statistics.median_of, seed=seed) for seed in range(3)]
    assert len({(float(low), float(high)) for low, high in found}) == 1
