"""Ten minutes of the soak; `make soak` is two hours of it. And that its slopes tell a leak."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from harness.imagecheck import built
from tests.soak import Reading, of_trials, slope, soak

MINUTES = 10.0
TIMES = [float(second) for second in range(600)]


def noise(second: float) -> float:
    """Readings as alike to their neighbours as real ones, repeatable."""
    return random.Random(int(second) // 7).gauss(0, 1)


def test_a_leak_has_a_slope_above_nothing_and_noise_has_none() -> None:
    leaking = slope(TIMES, [100 + 0.05 * second + noise(second) for second in TIMES])
    assert leaking.low > 0
    assert leaking.growth == pytest.approx(0.05 * 480, rel=0.2)
    flat = slope(TIMES, [100 + noise(second) for second in TIMES])
    assert flat.low < 0 < flat.high


def test_what_grows_only_in_the_beginning_is_no_leak() -> None:
    warm = slope(TIMES, [min(second, 60.0) for second in TIMES])
    assert (warm.growth, warm.level) == (0.0, 60.0)


def test_descriptors_are_compared_where_there_are_least_of_them() -> None:
    """A trial opens some and closes them; what it forgets is there between two trials as well."""
    open_now = [20 + noise(second) ** 2 for second in TIMES]
    between = [20.0 if second % 5 == 0 else n for second, n in enumerate(open_now)]
    closed = slope(TIMES, between, min)
    assert (closed.low, closed.growth, closed.high, closed.level) == (0.0, 0.0, 0.0, 20.0)
    lost = slope(TIMES, [n + second // 100 for second, n in enumerate(open_now)], min)
    assert lost.low > 1


def test_what_comes_after_the_last_trial_is_left_out() -> None:
    sizes = [100, 200, 200, 300, 300, 300]
    readings = [Reading(second, 5, 5, size) for second, size in enumerate(sizes)]
    assert [each.second for each in of_trials(readings)] == [0, 1, 2]


def test_too_few_readings_are_no_slope() -> None:
    with pytest.raises(ValueError, match="too few"):
        slope(TIMES[:20], TIMES[:20])


@pytest.mark.integration
@pytest.mark.slow
@pytest.mark.timeout(MINUTES * 60 + 1200)
@pytest.mark.skipif(built() is None, reason="the image is not built: tarebench image build")
def test_ten_minutes_leave_nothing_and_nothing_grows(tmp_path: Path) -> None:
    seen = soak(MINUTES, int(5000 * MINUTES / 120), tmp_path)
    os.write(1, f"\n{seen.told()}\n".encode())
    assert not seen.faults, seen.told()
