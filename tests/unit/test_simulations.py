"""Intervals cover and verdicts are right as often as docs/statistics.md says, in small.

The long version is `python -m tests.simulations`, and the tests marked slow.
"""

from __future__ import annotations

import pytest
from scipy import stats

from harness.analysis import statistics
from harness.analysis.selftest import PROMISE
from tests import simulations
from tests.simulations import SHAPES


@pytest.fixture(autouse=True)
def quicker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 999)


def at_least(share: float, runs: int) -> float:
    """The share of `runs` that one with this true share falls below once in a thousand times."""
    return float(stats.binom.ppf(0.001, runs, share)) / runs


def at_most(share: float, runs: int) -> int:
    """The count that a true share exceeds once in a thousand times."""
    return int(stats.binom.ppf(0.999, runs, share))


@pytest.mark.parametrize("n", [10, 20])
@pytest.mark.parametrize("shape", SHAPES)
def test_intervals_cover_what_they_say(shape: str, n: int) -> None:
    found = simulations.coverage(SHAPES[shape], n, runs=400, resamples=999)
    allowed = at_least(0.94, 400)
    assert min(found.median, found.paired_ratio, found.independent_ratio) >= allowed, found


def test_the_ratio_is_covered_when_the_run_stopped_by_itself() -> None:
    share, blocks = simulations.coverage_until(simulations.lognormal, 0.1, runs=100)
    assert share >= at_least(0.94, 100)
    assert 8 < blocks < 100


def test_a_tenth_is_found_in_four_of_five_runs_at_the_documented_size() -> None:
    found = simulations.power(simulations.DOCUMENTED_BLOCKS[1], 150, noise=simulations.QUIET)
    assert found >= at_least(0.8, 150)


def test_equal_things_are_seldom_called_different() -> None:
    reports = 60
    assert simulations.false_reports(10, reports) <= at_most(PROMISE, reports)


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 20, 50])
@pytest.mark.parametrize("shape", SHAPES)
def test_intervals_cover_what_they_say_at_length(shape: str, n: int) -> None:
    found = simulations.coverage(SHAPES[shape], n, runs=2000)
    allowed = at_least(0.94, 2000)
    assert min(found.median, found.paired_ratio, found.independent_ratio) >= allowed, found


@pytest.mark.slow
@pytest.mark.parametrize("comparisons", [4, 8])
def test_a_tenth_is_found_among_several_comparisons_at_length(comparisons: int) -> None:
    blocks = simulations.DOCUMENTED_BLOCKS[comparisons]
    found = simulations.power(blocks, 300, comparisons=comparisons, noise=simulations.QUIET)
    assert found >= at_least(0.8, 300)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("paired", [True, False])
def test_equal_things_are_seldom_called_different_at_length(paired: bool) -> None:
    reports = 600
    rate = statistics.success_rate(simulations.false_reports(20, reports, paired=paired), reports)
    assert rate is not None
    assert rate.high <= PROMISE
