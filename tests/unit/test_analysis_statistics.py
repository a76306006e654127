"""The numbers: known answers, small and awkward samples, and coverage that is measured."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness.analysis import statistics


def series(values: list[float]) -> pd.Series[float]:
    return pd.Series(values, index=range(len(values)), dtype=float)


def test_median_and_its_interval_hold_the_sample() -> None:
    found = statistics.median(series([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]))
    assert found is not None
    assert found.value == 5.5
    assert found.interval is not None
    assert 1 <= found.interval.low < 5.5 < found.interval.high <= 10


def test_same_data_give_the_same_interval() -> None:
    data = series(list(np.random.default_rng(1).normal(size=12)))
    assert statistics.median(data) == statistics.median(data)


def test_no_value_is_no_estimate() -> None:
    assert statistics.median(series([])) is None
    assert statistics.median(series([math.nan, math.nan])) is None


@pytest.mark.parametrize("n", range(1, 6))
def test_small_samples_have_a_value_and_a_reason_for_no_interval(n: int) -> None:
    found = statistics.median(series([3.0] * n))
    assert found is not None
    assert (found.value, found.n, found.interval) == (3.0, n, None)
    assert str(n) in found.absent


def test_ties_do_not_crash() -> None:
    found = statistics.ratio(series([2.0] * 8), series([1.0] * 8))
    assert found is not None
    assert found.interval is not None
    assert (found.value, found.interval.low, found.interval.high) == (2.0, 2.0, 2.0)


def test_several_values_of_a_block_count_as_one() -> None:
    data = pd.Series([1.0, 3.0, 10.0], index=[0, 0, 1])
    found = statistics.median(data)
    assert found is not None
    assert (found.n, found.value) == (2, 6.0)


def test_ratio_pairs_by_block_and_leaves_out_what_has_no_partner() -> None:
    disturbed = np.array([1, 5, 1, 7, 1, 3, 1, 9.0])
    a = pd.Series(2 * disturbed, index=range(8))
    b = pd.Series([*disturbed, 100.0], index=range(9))
    found = statistics.ratio(a, b)
    assert found is not None
    assert found.interval is not None
    assert found.n == 8
    assert (found.interval.low, found.interval.high) == (2.0, 2.0)


def test_ratio_needs_positive_values_and_common_blocks() -> None:
    assert statistics.ratio(series([1, 2]), series([0, 1])) is None
    assert statistics.ratio(series([1]), pd.Series([1.0], index=[5])) is None


def test_difference_may_be_negative() -> None:
    found = statistics.difference(series([1, 1, 1, 1, 1]), series([2, 2, 2, 2, 2]))
    assert found is not None
    assert found.value == -1


def test_success_rate_is_clopper_and_pearsons() -> None:
    found = statistics.success_rate(10, 10)
    assert found is not None
    assert found.high == 1
    assert found.low == pytest.approx(0.025 ** (1 / 10))
    assert statistics.success_rate(0, 0) is None


def test_quantile_needs_its_number_of_trials() -> None:
    assert statistics.quantile([1.0] * 100, 0.9) is not None
    assert statistics.quantile([1.0] * 99, 0.9) is None
    assert statistics.quantile([1.0] * 99, 0.95) is None
    assert statistics.quantile([1.0] * 200, 0.95) == 1.0
    assert statistics.quantile([1.0] * 999, 0.99) is None
    assert statistics.quantile([1.0] * 1000, 0.99) is not None
    assert statistics.quantile([1.0] * 99, 0.05) is None


def test_upper_percentile_is_a_value_that_was_seen() -> None:
    values = [float(v) for v in range(1, 101)]
    assert statistics.upper_percentile(values, 0.99) == 99.0
    assert statistics.upper_percentile([], 0.99) is None


def test_drift_is_seen_and_stillness_is_not_called_drift() -> None:
    rising = statistics.drift(series([1 + 0.1 * k for k in range(10)]))
    assert rising is not None
    assert rising.moved
    still = statistics.drift(series([1.0] * 10))
    assert still is not None
    assert not still.moved
    step = statistics.drift(series([2, 1.9, 2.1, 2, 1.9, 1, 1.1, 1, 1.2, 1.3]))
    assert step is not None
    assert step.moved
    slight = statistics.drift(series([1 + 0.001 * k for k in range(10)]))
    assert slight is not None
    assert not slight.moved
    assert statistics.drift(series([1.0] * 4)) is None


def test_bonferroni() -> None:
    assert statistics.simultaneous(10) == pytest.approx(0.995)
    assert statistics.simultaneous(0) == 0.95


def test_blocks_needed_is_what_the_range_can_promise() -> None:
    for confidence in (0.8, 0.95, 0.99, 0.999):
        n = statistics.blocks_needed(confidence)
        assert 1 - 2 ** (1 - n) >= confidence
        assert 1 - 2 ** (2 - n) < confidence
    assert statistics.blocks_needed() == 6


def _covered(n: int, confidence: float, runs: int) -> tuple[float, float]:
    """Shares of skewed, paired samples whose intervals hold the true median and ratio, 1."""
    dice = np.random.default_rng(7)
    hits = [0, 0]
    for _ in range(runs):
        block = dice.normal(0, 0.1, n)
        a, b = (series(list(np.exp(dice.normal(0, 0.2, n) + block))) for _ in range(2))
        found = (statistics.median(a, confidence), statistics.ratio(a, b, confidence))
        for index, estimate in enumerate(found):
            assert estimate is not None
            assert estimate.interval is not None
            hits[index] += estimate.interval.low <= 1.0 <= estimate.interval.high
    return hits[0] / runs, hits[1] / runs


@pytest.mark.parametrize("n", [7, 10, 30])
def test_intervals_cover_what_they_promise(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 1999)
    runs = 300
    allowed = stats.binom.ppf(0.001, runs, 0.95) / runs
    assert min(_covered(n, 0.95, runs)) >= allowed


def test_simultaneous_intervals_cover_what_they_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 4999)
    runs, confidence = 300, statistics.simultaneous(7)
    allowed = stats.binom.ppf(0.001, runs, confidence) / runs
    assert min(_covered(10, confidence, runs)) >= allowed
