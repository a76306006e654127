"""Verdicts: which data decide what, and what takes a verdict away."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.analysis import effects, verdicts
from harness.analysis.statistics import Estimate, Interval
from harness.analysis.verdicts import Family, Judgement, Pair, Verdict, control, decide


def judge(base: pd.Series[float], new: pd.Series[float], *, paired: bool, **how: Any) -> Judgement:
    return verdicts.judge(Pair(base, new, paired), **how)


def series(*values: float) -> pd.Series[float]:
    return pd.Series(values, index=range(len(values)), dtype=float)


def noisy(scale: float, n: int = 20, seed: int = 1, noise: float = 0.05) -> pd.Series[float]:
    return series(*(scale * np.exp(np.random.default_rng(seed).normal(0, noise, n))))


@pytest.mark.parametrize(
    ("low", "high", "verdict", "said"),
    [
        (1.2, 1.5, Verdict.WORSE, ""),
        (0.5, 0.8, Verdict.BETTER, ""),
        (0.95, 1.05, Verdict.EQUIVALENT, ""),
        (1.01, 1.05, Verdict.EQUIVALENT, "a difference is there, and within the margin of 10 %"),
        (0.8, 1.3, Verdict.NO_CONCLUSION, "the interval includes both answers"),
        (1.05, 1.3, Verdict.WORSE, "whether it exceeds the margin of 10 % is not decided"),
        (0.8, 0.95, Verdict.BETTER, "whether it exceeds the margin of 10 % is not decided"),
    ],
)
def test_interval_margin_and_verdict(low: float, high: float, verdict: Verdict, said: str) -> None:
    ratio = Estimate((low * high) ** 0.5, 10, Interval(low, high, 0.95))
    assert decide(ratio, 1.1, "lower") == (verdict, said)
    turned = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}
    assert decide(ratio, 1.1, "higher")[0] is turned.get(verdict, verdict)


def test_without_a_margin_nothing_is_equivalent() -> None:
    ratio = Estimate(1.0, 10, Interval(0.99, 1.01, 0.95))
    assert decide(ratio, 1.0, "lower")[0] is Verdict.NO_CONCLUSION


def test_without_a_direction_nothing_is_better() -> None:
    found = judge(noisy(1), noisy(2, seed=2), better="", margin=1.1, paired=True)
    assert found.verdict is Verdict.NO_CONCLUSION
    assert "which direction" in found.why


@pytest.mark.parametrize("paired", [True, False])
def test_a_large_difference_is_found_with_all_its_numbers(paired: bool) -> None:
    found = judge(noisy(1), noisy(2, seed=2), better="lower", margin=1.1, paired=paired)
    assert found.verdict is Verdict.WORSE
    assert found.ratio is not None
    assert found.ratio.interval is not None
    assert found.ratio.interval.low < 2 < found.ratio.interval.high
    assert found.p is not None
    assert found.p < 1e-4
    assert found.shift is not None
    assert found.shift.value == pytest.approx(1, abs=0.1)
    assert found.delta == 1


def test_disturbed_blocks_are_no_obstacle_where_they_are_shared() -> None:
    weather = np.exp(np.random.default_rng(3).normal(0, 1, 10))
    base, new = series(*weather), series(*(1.2 * weather))
    assert judge(base, new, better="lower", margin=1.1, paired=True).verdict is Verdict.WORSE
    apart = judge(base, new, better="lower", margin=1.1, paired=False)
    assert apart.verdict is Verdict.NO_CONCLUSION


@pytest.mark.parametrize("paired", [True, False])
def test_equal_things_are_equivalent_where_little_noise_allows(paired: bool) -> None:
    found = judge(noisy(1, noise=0.02), noisy(1, seed=2, noise=0.02), better="lower",
                  margin=1.1, paired=paired)  # fmt: skip
    assert found.verdict is Verdict.EQUIVALENT


def test_a_run_beside_itself_is_never_better_or_worse() -> None:
    same = noisy(1)
    for paired in (True, False):
        found = judge(same, same, better="lower", margin=1.1, paired=paired)
        assert found.verdict in (Verdict.EQUIVALENT, Verdict.NO_CONCLUSION)
        assert found.p == 1.0
        assert found.delta == 0


def test_a_difference_that_is_certain_and_small_is_equivalent_and_says_so() -> None:
    base = noisy(1, noise=0.01)
    found = judge(base, series(*(1.03 * base)), better="lower", margin=1.1, paired=True)
    assert found.verdict is Verdict.EQUIVALENT
    assert found.p is not None
    assert found.p < 0.001
    assert "a difference is there" in found.why


def test_what_the_channel_cannot_tell_is_no_difference() -> None:
    base, new = noisy(0.001, noise=0.01), noisy(0.0013, noise=0.01, seed=2)
    assert judge(base, new, better="lower", margin=1.1, paired=True).verdict is Verdict.WORSE
    found = judge(base, new, better="lower", margin=1.1, paired=True, floor=0.0005)
    assert found.verdict is Verdict.NO_CONCLUSION
    assert "round trip" in found.why


def test_an_equivalence_needs_a_margin_that_the_channel_can_tell() -> None:
    base, new = noisy(0.001, noise=0.01), noisy(0.001, noise=0.01, seed=2)
    fine = judge(base, new, better="lower", margin=1.1, paired=True, floor=0.00005)
    coarse = judge(base, new, better="lower", margin=1.1, paired=True, floor=0.0002)
    assert fine.verdict is Verdict.EQUIVALENT
    assert coarse.verdict is Verdict.NO_CONCLUSION


def test_one_wild_trial_makes_no_difference() -> None:
    base, new = noisy(1, 10), noisy(1, 10, seed=2)
    new.iloc[4] = 1000.0
    found = judge(base, new, better="lower", margin=1.05, paired=True)
    assert not found.verdict.is_difference


def test_values_that_are_not_positive_have_no_ratio_and_still_a_shift() -> None:
    found = judge(series(*[-1.0, 0, 1] * 3), series(*[4.0, 5, 6] * 3), better="lower",
                  margin=1.1, paired=True)  # fmt: skip
    assert found.ratio is None
    assert found.verdict is Verdict.NO_CONCLUSION
    assert "not positive" in found.why
    assert found.shift is not None
    assert found.shift.value == 5


def test_nothing_in_common_is_told() -> None:
    base, new = series(1.0, 2), pd.Series([1.0, 2], index=[7, 8])
    assert judge(base, new, better="lower", margin=1, paired=True).why == "no block has both"
    none = series()
    found = judge(base, none, better="lower", margin=1, paired=False)
    assert (found.p, found.shift, found.delta) == (None, None, None)
    assert found.why == "one of the two has no value"


@pytest.mark.parametrize("n", [2, 5])
@pytest.mark.parametrize("paired", [True, False])
def test_few_blocks_decide_nothing(n: int, paired: bool) -> None:
    found = judge(noisy(1, n), noisy(9, n, seed=2), better="lower", margin=1.1, paired=paired)
    assert found.verdict is Verdict.NO_CONCLUSION
    assert "blocks that an interval needs" in found.why


@pytest.mark.parametrize(("n", "verdict"), [(6, Verdict.NO_CONCLUSION), (7, Verdict.WORSE)])
def test_a_difference_within_a_run_needs_seven_blocks(n: int, verdict: Verdict) -> None:
    """The smallest p of six pairs is above the rate of false discoveries, however far apart."""
    found = judge(noisy(1, n), noisy(9, n, seed=2), better="lower", margin=1.1, paired=True)
    assert found.p == pytest.approx(2.0 ** (1 - n))
    assert [each.verdict for each in control([found])] == [verdict]


def judgement(p: float | None, verdict: Verdict = Verdict.WORSE) -> Judgement:
    return Judgement(None, p, verdict, "")


def test_false_discoveries_are_controlled_over_all() -> None:
    alone = control([judgement(0.015)])
    assert [each.verdict for each in alone] == [Verdict.WORSE]
    among = control([judgement(0.015), *[judgement(0.5, Verdict.NO_CONCLUSION)] * 9])
    assert among[0].verdict is Verdict.NO_CONCLUSION
    assert among[0].why == "chance may explain it among 10 comparisons (p 0.015)"
    many = control([judgement(0.015), *[judgement(0.0001)] * 9])
    assert {each.verdict for each in many} == {Verdict.WORSE}
    assert control([]) == ()
    assert control([judgement(None)])[0].verdict is Verdict.NO_CONCLUSION


def test_cutoff_is_benjamini_and_hochbergs_by_hand() -> None:
    p_values = [0.01, 0.02, 0.03, 0.2, 0.9]
    by_hand = max(p for k, p in enumerate(p_values, 1) if p <= 0.05 * k / 5)
    assert verdicts.family(p_values, 0.05) == Family(5, by_hand)
    assert by_hand == 0.03
    assert verdicts.family([0.9], 0.05) == Family(1, -math.inf)
    (found,) = control([judgement(0.03)], among=Family(40, 0.02))
    assert found.verdict is Verdict.NO_CONCLUSION
    assert "among 40 comparisons" in found.why


def test_refusing_keeps_the_numbers() -> None:
    was = judge(noisy(1), noisy(2, seed=2), better="lower", margin=1.1, paired=True)
    found = was.refused("unlike kernels")
    assert (was.verdict, found.verdict) == (Verdict.WORSE, Verdict.NO_CONCLUSION)
    assert found.why == "unlike kernels"
    assert (found.ratio, found.p, found.delta, found.shift) == (was.ratio, was.p, 1, was.shift)


def test_p_is_the_exact_one_by_hand() -> None:
    """All six pairs one way: two of the 64 signings are as extreme."""
    base, new = series(1, 2, 3, 4, 5, 6), series(1.5, 2.7, 4.1, 5.9, 8, 9.1)
    assert effects.p_value(base, new, paired=True) == pytest.approx(2 / 64)
    three = effects.p_value(series(1, 2, 3), series(4, 5, 6), paired=False)
    assert three == pytest.approx(2 / math.comb(6, 3))
    assert effects.p_value(series(1), series(2), paired=True) is None


def test_p_with_ties_is_that_of_the_permutations() -> None:
    base, new = series(1, 1, 1, 2, 2, 3), series(1, 2, 2, 2, 3, 3)
    found = effects.p_value(base, new, paired=False)
    exact = stats.permutation_test(
        (new.to_numpy(), base.to_numpy()), lambda a, b: float(stats.mannwhitneyu(a, b).statistic),
        n_resamples=10_000, vectorized=False,
    ).pvalue  # fmt: skip
    assert found == pytest.approx(exact, abs=1e-9)


def test_shift_is_the_median_of_walsh_averages_by_hand() -> None:
    base, new = series(0, 0, 0), series(1, 2, 6)
    found = effects.shift(base, new, paired=True)
    assert found is not None
    assert found.value == np.median([1, 2, 6, 1.5, 3.5, 4])
    assert found.interval is None
    apart = effects.shift(base, new, paired=False)
    assert apart is not None
    assert apart.value == 2


def test_shift_covers_what_it_promises() -> None:
    dice, hits, runs = np.random.default_rng(5), [0, 0], 600
    for _ in range(runs):
        base, new = series(*dice.exponential(1, 10)), series(*(dice.exponential(1, 10) + 3))
        for index, paired in enumerate((True, False)):
            found = effects.shift(base, new, paired=paired)
            assert found is not None
            assert found.interval is not None
            hits[index] += found.interval.low <= 3 <= found.interval.high
    assert min(hits) / runs >= stats.binom.ppf(0.001, runs, 0.95) / runs


def test_a_shift_of_very_many_values_is_quick_and_right() -> None:
    base, new = noisy(1, 20_000), noisy(1.1, 20_000, seed=2)
    for paired in (True, False):
        found = effects.shift(base, new, paired=paired)
        assert found is not None
        assert found.interval is not None
        assert found.value == pytest.approx(0.1, abs=0.003)
        assert found.interval.low < found.value < found.interval.high
        assert found.interval.high - found.interval.low < 0.006


values = st.lists(
    st.one_of(st.floats(1e-9, 1e9), st.floats(-1e9, -1e-9), st.sampled_from([0.0, 1.0, 2.0, 2.5])),
    max_size=15,
)


@settings(max_examples=150, deadline=None)
@given(values, values, st.booleans(), st.sampled_from([1.0, 1.1]))
def test_nothing_crashes_it(a: list[float], b: list[float], paired: bool, margin: float) -> None:
    found = judge(series(*a), series(*b), better="lower", margin=margin, paired=paired)
    fewest = min(len(a), len(b))
    assert found.p is None or 0 <= found.p <= 1
    assert found.delta is None or -1 <= found.delta <= 1
    if fewest < 6:
        assert found.verdict is Verdict.NO_CONCLUSION
    if found.verdict is Verdict.NO_CONCLUSION:
        assert found.why
    mirrored = judge(series(*b), series(*a), better="higher", margin=margin, paired=paired)
    if found.verdict is Verdict.EQUIVALENT:
        assert not mirrored.verdict.is_difference
