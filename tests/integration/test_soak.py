"""Ten minutes of the soak; `make soak` is two hours of it. And that its slopes tell a leak."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from harness.imagecheck import built
from tests.soak import slope, soak

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
    assert (warm.growth, warm.median) == (0.0, 60.0)


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
