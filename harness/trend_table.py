"""Trends in a terminal: a line of blocks a series, a row a run, and each step in a sentence."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.analysis.history import Change, History, Point, Trend
from harness.analysis.units import plural, quantity, span, times

_LEVELS = "▁▂▃▄▅▆▇█"
SHOWN = 12
"""Rows of a series; a longer one shows its newest, and each step with the run before it."""


def history_text(found: History, width: int) -> str:
    """All series for people, `width` columns wide."""
    blocks = ["\n".join(_trend(trend, width)) for trend in found.trends]
    notes = [_fill(f"left out: {path}: {why}", width) for path, why in found.left_out.items()]
    return "\n\n".join([*blocks, *notes])


def history_json(found: History) -> Mapping[str, Any]:
    """The same for scripts; what is not known is null."""
    return {
        "series": [
            {
                "scenario": t.scenario, "host": t.host, "metric": t.metric,
                "dimensions": dict(t.dimensions), "unit": t.unit, "better": t.better,
                "runtime": t.runtime, "runtime_class": t.runtime_class, "accel": t.accel,
                "emulated": t.emulated, "margin": t.margin, "p": t.p, "why": t.why,
                "runs": [_point_json(point) for point in t.points],
                "changes": [_change_json(t, change) for change in t.changes],
            }
            for t in found.trends
        ],
        "left_out": dict(found.left_out),
    }  # fmt: skip


def _point_json(point: Point) -> Mapping[str, Any]:
    interval = point.median.interval
    return {
        "run": point.run, "started_utc": point.started_utc, "median": point.median.value,
        "low": interval.low if interval else None, "high": interval.high if interval else None,
        "blocks": point.median.n, "changed": list(point.changed),
        "conditions": dict(point.conditions), "blocked": point.blocked,
    }  # fmt: skip


def _change_json(trend: Trend, change: Change) -> Mapping[str, Any]:
    return {
        "run": trend.points[change.position].run, "before": change.before,
        "after": change.after, "ratio": change.ratio, "runs_before": change.runs_before,
        "runs_after": change.runs_after, "verdict": change.verdict,
        "changed": list(change.changed),
    }  # fmt: skip


def title(trend: Trend) -> str:
    """What a series is, in one line."""
    told = "".join(f", {key} {value}" for key, value in trend.dimensions.items())
    emulated = " (emulated in software)" if trend.emulated else ""
    return f"{trend.scenario} · {trend.metric}{told} · {trend.runtime}{emulated}"


def sentence(trend: Trend, change: Change) -> str:
    """A step in words."""
    when = trend.points[change.position].started_utc[:10]
    moved = (
        f"{times(change.ratio)} × what it was"
        if change.ratio is not None
        else f"{quantity(change.after, trend.unit)} in place of "
        f"{quantity(change.before, trend.unit)}"
    )
    judged = {"small": "less than what matters"}.get(change.verdict, change.verdict)
    reasons = (
        f"What changed there: {'; '.join(change.changed)}."
        if change.changed
        else "No recorded condition changed there."
    )
    return (
        f"Since {when} {moved}: {judged} ({plural(change.runs_before, 'run')} before, "
        f"{change.runs_after} since). {reasons}"
    )


def sparkline(values: Sequence[float]) -> str:
    """A letter a value, from the smallest to the largest; all alike stand in the middle."""
    low, high = min(values), max(values)
    if high == low:
        return _LEVELS[3] * len(values)
    step = (high - low) / (len(_LEVELS) - 1)
    return "".join(_LEVELS[round((value - low) / step)] for value in values)


def _trend(trend: Trend, width: int) -> Iterator[str]:
    yield _fill(title(trend), width)
    yield _fill(f"  on {trend.host or 'a host that is not told'}", width)
    values = trend.values[-(width - 4) :]
    yield f"  {sparkline(values)}"
    yield _row("run (UTC)", "median", "95 % interval", "blocks")
    shown = _shown(trend)
    if len(shown) < len(trend.points):
        yield f"  … {plural(len(trend.points) - len(shown), 'more run')}: --json tells all"
    steps = {change.position for change in trend.changes}
    for number in shown:
        point = trend.points[number]
        mark = "▸" if number in steps else "!" if point.blocked else " "
        yield _row(
            point.started_utc[:16].replace("T", " "), quantity(point.median.value, trend.unit),
            span(point.median.interval, trend.unit), str(point.median.n), mark,
        )  # fmt: skip
        if point.blocked:
            yield _fill(f"not judged: {point.blocked}.", width, "      ")
        if point.changed:
            yield _fill("; ".join(point.changed), width, "      ")
    yield from (_fill(f"▸ {sentence(trend, c)}", width, "  ") for c in trend.changes)
    if not trend.changes:
        yield _fill(f"No claim: {trend.why}.", width, "  ")


def _shown(trend: Trend) -> Sequence[int]:
    if len(trend.points) <= SHOWN:
        return range(len(trend.points))
    keep = set(range(len(trend.points) - SHOWN, len(trend.points)))
    keep.update(near for c in trend.changes for near in (c.position - 1, c.position))
    return sorted(keep)


def _row(when: str, median: str, interval: str, blocks: str, mark: str = " ") -> str:
    return f"{mark} {when:<17} {median:>10}   {interval:<24} {blocks:>6}".rstrip()


def _fill(text: str, width: int, indent: str = "") -> str:
    """On as many lines as it takes, with nothing that a terminal would obey."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    return textwrap.fill(
        clean, width, initial_indent=indent, subsequent_indent=f"{indent}  ",
        break_on_hyphens=False,
    )  # fmt: skip
