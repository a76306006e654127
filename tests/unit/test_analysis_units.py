"""Numbers as people read them."""

from __future__ import annotations

import math

import pytest

from harness.analysis.statistics import Estimate, Interval
from harness.analysis.units import digits, percent, quantity, span, times, with_interval


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.000862, "s", "862 µs"),
        (0.0009999, "s", "1.00 ms"),
        (0.0182, "s", "18.2 ms"),
        (2.4899, "s", "2.49 s"),
        (123.4, "s", "123 s"),
        (5e-8, "s", "50.0 ns"),
        (96_000, "bytes", "93.8 KiB"),
        (1024**2, "bytes", "1.00 MiB"),
        (-(1024**2) * 2.5, "bytes", "\N{MINUS SIGN}2.50 MiB"),
        (0, "bytes", "0 B"),
        (0, "s", "0 ms"),
        (0.123456, "1", "0.123"),
        (1234.5, "1/s", "1234/s"),
        (None, "s", "\N{EN DASH}"),
        (math.nan, "s", "\N{EN DASH}"),
    ],
)
def test_quantity(value: float | None, unit: str, text: str) -> None:
    assert quantity(value, unit) == text


def test_digits_round_up_to_the_next_power_without_a_digit_too_many() -> None:
    assert digits(9.999) == "10.0"
    assert digits(99.96) == "100"


def test_span_has_one_unit() -> None:
    assert span(Interval(0.0009, 0.0012, 0.95), "s") == "0.900 to 1.20 ms"


def test_estimate_without_interval_is_a_value_alone() -> None:
    assert with_interval(Estimate(0.5, 2, None, "few"), "s") == "500 ms"
    assert with_interval(None, "s") == "\N{EN DASH}"


def test_factors_and_shares() -> None:
    assert (times(3.14), times(1.043), times(28.7)) == ("3.1", "1.04", "29")
    assert (percent(1.0), percent(0.025), percent(0)) == ("100 %", "2.5 %", "0 %")
