"""Numbers as people read them: a unit, and no more digits than the measurement carries."""

from __future__ import annotations

import math

from harness.analysis.language import say, spoken
from harness.analysis.statistics import Estimate, Interval

MIB = 1024 * 1024

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_SIZES = ((1024.0**3, "GiB"), (1024.0**2, "MiB"), (1024.0, "KiB"), (1.0, "B"))
MISSING = "\N{EN DASH}"


def digits(value: float, significant: int = 3) -> str:
    """A number with its significant digits and no exponent: 0.0123, 1.50, 27.4, 1234."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else MISSING
    places = max(significant - 1 - math.floor(math.log10(abs(value))), 0)
    rounded = round(value, places)
    places = significant - 1 - math.floor(math.log10(abs(rounded)))
    return f"{rounded:.{max(places, 0)}f}".replace("-", "\N{MINUS SIGN}")


def _scaled(value: float, scale: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    size = abs(value)
    return next(((f, u) for f, u in scale if size >= f * 0.9995), scale[-1])


def quantity(value: float | None, unit: str) -> str:
    """A value in base units for a reader: `18.2 ms`, `4.10 MiB`, `147/s`, `0.37`."""
    if value is None or not math.isfinite(value):
        return MISSING
    scale = _scale(unit)
    if unit == "1/s":
        return f"{digits(value)}/s"
    if scale is None:
        return digits(value) if unit == "1" else f"{digits(value)} {unit}"
    if value == 0:
        return f"0 {scale[-1][1] if unit == 'bytes' else 'ms'}"
    factor, name = _scaled(value, scale)
    return f"{digits(value / factor)} {name}"


def span(interval: Interval | None, unit: str) -> str:
    """An interval in one unit: `17.9 to 19.4 ms`."""
    if interval is None:
        return MISSING
    scale = _scale(unit)
    if scale is None:
        return say("{low} to {high}", low=digits(interval.low), high=digits(interval.high))
    factor, name = _scaled(max(abs(interval.low), abs(interval.high)), scale)
    low, high = digits(interval.low / factor), digits(interval.high / factor)
    return say("{low} to {high} {unit}", low=low, high=high, unit=name)


def with_interval(estimate: Estimate | None, unit: str) -> str:
    """`18.2 ms (17.9 to 19.4 ms)`, or the value alone where there is no interval."""
    if estimate is None:
        return MISSING
    value = quantity(estimate.value, unit)
    if estimate.interval is None:
        return value
    return say("{value} ({span})", value=value, span=span(estimate.interval, unit))


def beside(estimate: Estimate, unit: str) -> str:
    """What stands beside a median in a chart: its interval, or that there is none."""
    if estimate.interval is None:
        return say("{blocks}: no interval", blocks=plural(estimate.n, "block"))
    return span(estimate.interval, unit)


def span_or_why(estimate: Estimate, unit: str) -> str:
    """An interval, or why there is none."""
    if estimate.interval is None:
        return say("none: {why}", why=estimate.absent)
    return span(estimate.interval, unit)


def times(value: float) -> str:
    """A ratio as a factor: two digits are what a ratio of medians carries, near 1 three."""
    return digits(value, 3 if value < 2 else 2)


def percent(share: float) -> str:
    """A share of one as a percentage, whole unless small."""
    value = share * 100
    number = f"{value:.0f}" if value >= 10 or value == 0 else digits(value, 2)
    return say("{number} %", number=number)


def plural(count: int, word: str) -> str:
    """`1 trial`, `3 trials`; another language's catalogue has the message `{n} trial`."""
    if spoken() != "en":
        return say(f"{{n}} {word}", n=count)
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _scale(unit: str) -> tuple[tuple[float, str], ...] | None:
    return {"s": _TIMES, "bytes": _SIZES}.get(unit)
