"""The stopping rule: the interval is the order statistics' own, and covers what it says."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from statistics import median

import pytest

from harness.errors import UsageError
from harness.model import Outcome, Sample, TrialRecord
from harness.stopping import Rule, half_width, parse_duration, parse_percent


def brute_force_ranks(n: int) -> tuple[int, int]:
    """The narrowest symmetric ranks (from 1) whose exact coverage of the median is ≥ 95 %."""

    def coverage(rank: int) -> Fraction:
        inside = sum(math.comb(n, k) for k in range(rank, n - rank + 1))
        return Fraction(inside, 2**n)

    rank = max(r for r in range(1, n // 2 + 1) if coverage(r) >= Fraction(95, 100))
    return rank, n + 1 - rank


@pytest.mark.parametrize("n", [6, 7, 8, 9, 10, 11, 17, 20, 31, 50, 101, 400])
def test_interval_is_that_of_the_exact_binomial(n: int) -> None:
    values = [float(value * value) for value in range(1, n + 1)]
    low, high = brute_force_ranks(n)
    expected = (values[high - 1] - values[low - 1]) / 2 / median(values)
    assert half_width(random.Random(n).sample(values, n)) == pytest.approx(expected)


@pytest.mark.parametrize("n", range(6))
def test_fewer_than_six_values_tell_nothing(n: int) -> None:
    assert half_width([1.0] * n) == math.inf


def test_equal_values_have_no_width() -> None:
    assert half_width([2.0] * 10) == 0.0


def test_coverage_is_at_least_93_percent() -> None:
    chance, runs, n = random.Random(7), 2000, 12
    low, high = brute_force_ranks(n)
    true_median = 1.0
    hit = 0
    for _ in range(runs):
        ordered = sorted(chance.lognormvariate(0, 0.5) for _ in range(n))
        width = half_width(ordered)
        interval = ordered[low - 1], ordered[high - 1]
        assert width == pytest.approx((interval[1] - interval[0]) / 2 / median(ordered))
        hit += interval[0] <= true_median <= interval[1]
    assert hit / runs >= 0.93


def record(runtime: str, value: float, *, warmup: bool = False) -> TrialRecord:
    return TrialRecord(
        trial="0", experiment="startup", runtime=runtime, runtime_class="jail", accel="none",
        block=0, position=0, warmup=warmup, outcome=Outcome.OK, reason="", started_utc="",
        wall_s=1.0, samples=[Sample("startup.ready", value, "s"), Sample("startup.cpu", 1, "s")],
    )  # fmt: skip


def test_every_runtime_must_be_known_well_enough() -> None:
    rule = Rule(blocks=100, relative_width=0.05)
    steady = [record("runc", 1 + n / 1000) for n in range(10)]
    noisy = [record("bare", 1 + n / 10) for n in range(10)]
    assert rule.enough(steady, 0)
    assert not rule.enough(steady + noisy, 0)
    assert not rule.enough([], 0)
    assert not rule.enough([record("runc", 1.0, warmup=True) for _ in range(10)], 0)


def test_time_budget_ends_a_run_and_fixed_blocks_do_not() -> None:
    assert Rule(blocks=3, budget_s=10).enough([], 10)
    assert not Rule(blocks=3, budget_s=10).enough([], 9.9)
    assert not Rule(blocks=3).enough([record("runc", 1.0)] * 50, 1e9)


def test_rule_is_told_in_words() -> None:
    assert Rule(blocks=10).text() == "fixed: 10 blocks"
    text = Rule(blocks=1000, relative_width=0.05, budget_s=90).text()
    assert "±5.0%" in text
    assert "within 90 s" in text
    assert "at most 1000 blocks" in text


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), (" 0.5% ", 0.005), ("99.9%", 0.999)])
def test_percentages(text: str, value: float) -> None:
    assert parse_percent(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "5", "0%", "100%", "-1%", "nan%", "inf%", "five%", "5%%"])
def test_what_is_no_percentage_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a percentage"):
        parse_percent(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("10min", 600), ("2h", 7200), ("0.5h", 1800)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "0", "-5s", "nan", "inf", "10 weeks", "1e999"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration"):
        parse_duration(text)
