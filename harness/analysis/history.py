"""Many runs as series over time: what a metric did from run to run, and what changed with it.

Between runs the run is the unit (METHOD): a point is the median of one run, and its interval
tells how well that run knew it, not how runs differ. Runs on unlike hosts, and of unlike
accelerators, are series of their own. Steps are claimed by harness/analysis/changes.py, with
false-discovery control over all series shown at once; each is told with every condition that
changed at that place, because one of them may be the reason, and never as the reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.analysis import changes, statistics
from harness.analysis.frames import MANIFEST, RunData, load_run
from harness.analysis.measured import Measured, measured, metric_of
from harness.analysis.reference import machine
from harness.analysis.statistics import Estimate
from harness.analysis.summary import MACHINES, forbidden, threshold
from harness.analysis.verdicts import family
from harness.errors import HarnessError, UsageError
from harness.metrics import DECIDING, HEADLINES

_FALSE_STEPS = 0.05
"""The share of all steps shown that may be false."""

_SETTINGS = ("ksm", "thp", "governor", "turbo", "smt", "mitigations", "clocksource")
"""Guards that tell a setting of the host, which stays until somebody changes it."""


@dataclass(frozen=True)
class Point:
    """One run in a series. `changed` is what differs from the run before it in the series;
    with `blocked`, a guard forbids comparisons, and the run is shown but not tested."""

    run: str
    started_utc: str
    median: Estimate
    conditions: Mapping[str, str]
    changed: tuple[str, ...] = ()
    blocked: str = ""


@dataclass(frozen=True)
class Change:
    """A step: from the point at `position` on, the level is `after`. `ratio` is after over
    before, None where that means nothing; `verdict` is `better`, `worse`, or `small` where the
    ratio lies within the margin of the series."""

    position: int
    before: float
    after: float
    runs_before: int
    runs_after: int
    ratio: float | None
    verdict: str
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Trend:
    """One metric of one runtime over runs. `host` is empty where it is not told;
    `margin` is the last scenario's smallest ratio that matters; `why` tells why there is no
    change, or no claim."""

    scenario: str
    host: str
    metric: str
    runtime: str
    runtime_class: str
    accel: str
    emulated: bool
    dimensions: Mapping[str, str]
    unit: str
    better: str
    margin: float
    points: tuple[Point, ...]
    p: float | None = None
    changes: tuple[Change, ...] = ()
    why: str = ""

    @property
    def values(self) -> tuple[float, ...]:
        """The medians, in the order of time."""
        return tuple(point.median.value for point in self.points)


@dataclass(frozen=True)
class History:
    """All series, and the runs that could not be read, with the reason."""

    trends: tuple[Trend, ...]
    runs: int
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Wanted:
    """What of the runs is asked for; an empty tuple is everything (of metrics: the deciding)."""

    scenarios: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()


def history(paths: Iterable[Path], wanted: Wanted | None = None) -> History:
    """The trends in these runs (folders or reports). Raises UsageError when nothing fits."""
    wanted = wanted or Wanted()
    runs, left_out = _load(paths, wanted)
    series: dict[tuple[str, ...], list[tuple[RunData, Measured]]] = {}
    there: set[str] = set()
    for run in sorted(runs, key=lambda each: str(each.manifest.get("started_utc", ""))):
        there.update(run.rows.index.metrics)
        for each in measured(run, wanted.metrics or deciding(run)):
            if not each.curve and (not wanted.runtimes or each.runtime in wanted.runtimes):
                series.setdefault(_key(run, each), []).append((run, each))
    if not series:
        raise UsageError(*_nothing(wanted, runs, left_out, there))
    trends = [_trend(found) for found in series.values()]
    return History(_controlled(trends), len(runs), left_out)


def _load(paths: Iterable[Path], wanted: Wanted) -> tuple[Sequence[RunData], Mapping[str, str]]:
    """Every run once, though it may be named twice."""
    found: dict[str, RunData] = {}
    left_out = {}
    for path in paths:
        if not _may_be_wanted(path, wanted):
            continue
        try:
            run = load_run(path)
        except HarnessError as error:
            left_out[str(path)] = error.message
            continue
        name = str(run.manifest.get("scenario", {}).get("name", ""))
        if not run.manifest.get("started_utc"):
            left_out[str(path)] = "it does not say when it was measured"
        elif not wanted.scenarios or name in wanted.scenarios:
            found.setdefault(run.run, run)
    return tuple(found.values()), left_out


def _may_be_wanted(path: Path, wanted: Wanted) -> bool:
    """Spares the reading of what is plainly another scenario's; in doubt, yes."""
    if not wanted.scenarios or not path.is_dir():
        return True
    try:
        return json.loads((path / MANIFEST).read_bytes())["scenario"]["name"] in wanted.scenarios
    except (OSError, ValueError, KeyError, TypeError):
        return True


def deciding(run: RunData) -> Sequence[str]:
    """The one metric of each experiment that its medians are judged by, and what the run's own
    scenario declares."""
    found = ["imported.wall", *(run.manifest.get("metrics") or ())]
    for name in run.tally["experiment"].unique():
        headlines = HEADLINES.get(str(name), ())[:1]
        found += [DECIDING[str(name)]] if str(name) in DECIDING else headlines
    return found


def _key(run: RunData, each: Measured) -> tuple[str, ...]:
    name = str(run.manifest.get("scenario", {}).get("name", ""))
    told = json.dumps(dict(each.dimensions), sort_keys=True)
    return name, _host(run), each.metric, told, each.runtime, each.accel


def _host(run: RunData) -> str:
    """The class of machine; empty where an imported run tells nothing of it."""
    return machine(run.manifest) if run.manifest.get("host") else ""


def _nothing(
    wanted: Wanted, runs: Sequence[RunData], left_out: Mapping[str, str], there: set[str]
) -> tuple[str, str]:
    if not runs:
        of = f" of {', '.join(wanted.scenarios)}" if wanted.scenarios else ""
        unread = f"; {len(left_out)} could not be read" if left_out else ""
        return f"there is no run{of} to follow{unread}", "tarebench list runs shows what there is"
    asked = ", ".join((*wanted.metrics, *wanted.runtimes))
    return (
        f"no run has a value of {asked or 'a deciding metric'}",
        f"--metric takes one of {', '.join(sorted(there - {'trial.wall'})) or 'none'}",
    )


def _trend(found: Sequence[tuple[RunData, Measured]]) -> Trend:
    run, each = found[-1]
    return Trend(
        scenario=str(run.manifest.get("scenario", {}).get("name", "")),
        host=_host(run), metric=each.metric, runtime=each.runtime,
        runtime_class=each.runtime_class, accel=each.accel, emulated=each.emulated,
        dimensions=each.dimensions, unit=each.unit, better=metric_of(run, each.metric).better,
        margin=threshold(run, each.metric), points=tuple(_points(found)),
    )  # fmt: skip


def _points(found: Sequence[tuple[RunData, Measured]]) -> Iterator[Point]:
    before: Mapping[str, str] = {}
    for number, (run, each) in enumerate(found):
        estimate = statistics.median(each.values)
        if estimate is None:
            continue
        now = conditions(run, each.runtime)
        yield Point(
            run.run, str(run.manifest["started_utc"]), estimate, now,
            _changed(before, now) if number else (),
            forbidden(run, machines=each.runtime_class in MACHINES),
        )  # fmt: skip
        before = now


def conditions(run: RunData, runtime: str) -> Mapping[str, str]:
    """What a later run can differ in: of the host, the image, the runtime and the scenario."""
    said = run.manifest
    host, scenario = said.get("host", {}), said.get("scenario", {})
    facts = said.get("runtimes", {}).get(runtime, {})
    limits = scenario.get("limits") or {}
    workload = scenario.get("workload") or {}
    told: dict[str, Any] = {
        "tarebench": said.get("tarebench"),
        "kernel": host.get("kernel"),
        "kernel parameters": host.get("kernel_parameters"),
        "image": str(said.get("image", {}).get("digest", ""))[:19],
        "workload": " ".join(map(str, workload.get("argv") or ())),
        **{f"limit of {name}": value for name, value in limits.items()},
        **(facts.get("versions") or {}),
        **{f"tool {k}": v for k, v in (said.get("imported") or {}).items() if k == "version"},
        **{
            str(guard.get("name")): guard.get("value")
            for guard in said.get("guards", [])
            if guard.get("name") in _SETTINGS
        },
    }
    return {name: str(value) for name, value in told.items() if value not in (None, "")}


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, ...]:
    names = dict.fromkeys((*before, *now))
    return tuple(
        f"{name} {before.get(name, 'not told')} → {now.get(name, 'not told')}"
        for name in names
        if before.get(name) != now.get(name)
    )


def _controlled(trends: Sequence[Trend]) -> tuple[Trend, ...]:
    """The trends with their steps: those that stand among all that were looked for."""
    tested = [_tested(trend) for trend in trends]
    cutoff = family([each.p for each in tested if each.p is not None], _FALSE_STEPS).cutoff
    return tuple(
        _with_changes(
            replace(trend, p=each.p, why=each.why), each.p is not None and each.p <= cutoff
        )
        for trend, each in zip(trends, tested, strict=True)
    )


def _tested(trend: Trend) -> changes.Tested:
    if not trend.host:
        return changes.Tested(len(trend.points), None, "the runs do not tell their host")
    return changes.one_level(_judged(trend))


def _judged(trend: Trend) -> Sequence[float]:
    return [point.median.value for point in trend.points if not point.blocked]


def _with_changes(trend: Trend, stands: bool) -> Trend:
    if not stands:
        return trend if trend.why else replace(trend, why="no step that chance does not explain")
    where = [number for number, point in enumerate(trend.points) if not point.blocked]
    values = _judged(trend)
    found = changes.places(values)
    if not found:
        return replace(trend, why="it moved, but at no single place")
    edges = [0, *found, len(values)]
    steps = tuple(_change(trend, where, values, edges[i : i + 3]) for i in range(len(edges) - 2))
    return replace(trend, changes=steps)


def _change(
    trend: Trend, where: Sequence[int], values: Sequence[float], edges: Sequence[int]
) -> Change:
    start, middle, end = edges
    before = float(np.median(values[start:middle]))
    after = float(np.median(values[middle:end]))
    ratio = after / before if before > 0 and after > 0 else None
    lower = trend.better == "lower"
    verdict = "better" if (after < before) == lower else "worse"
    if ratio is not None and 1 / trend.margin <= ratio <= trend.margin:
        verdict = "small"
    at = where[middle]
    since = range(where[middle - 1] + 1, at + 1)
    changed = dict.fromkeys(text for number in since for text in trend.points[number].changed)
    return Change(at, before, after, middle - start, end - middle, ratio, verdict, tuple(changed))
