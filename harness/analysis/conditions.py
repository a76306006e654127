"""The conditions of a run as one list: the guards that were read before it, and what its trials
and its canary tell. Comparisons and the report both go by it.

A trial's conditions are described in harness/probes/conditions.py; they hold the box's own work
too, so that a share of time is told beside the number and never judged alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis import statistics
from harness.analysis.frames import NOT_RUN, RunData
from harness.analysis.rows import Words
from harness.analysis.units import MISSING, digits, percent, plural, times

BLOCK, WARN, INFO = "block", "warn", "info"
_CHANGED = "changed_"
_STEAL_WARN = 0.01
_LOAD_WARN = 1.0
"""A runnable task a processor before a trial begins, our own processes left out."""


@dataclass(frozen=True)
class Guard:
    """A condition that can make a comparison unfair: as stored, or derived from the trials."""

    name: str
    value: str
    severity: str
    text: str


@dataclass(frozen=True)
class Weather:
    """What the host was like around the measured trials of one runtime: medians, and sums.

    Shares are of the trials' wall time (`steal`: of all processors' time); None where the
    kernel did not tell.
    """

    runtime: str
    trials: int
    load_before: float | None
    running_before: float | None
    steal: float | None
    waited_cpu: float | None
    waited_memory: float | None
    waited_io: float | None
    swapped_pages: int
    throttled: int


def guards(run: RunData) -> Sequence[Guard]:
    """All of them: those of the manifest first, then what the data add."""
    stored = [
        Guard(str(g.get("name", "")), _plain(g.get("value")), str(g.get("severity", "")),
              str(g.get("text", "")))
        for g in run.manifest.get("guards", [])
    ]  # fmt: skip
    return [*stored, *_derived(run)]


def _derived(run: RunData) -> Iterator[Guard]:
    yield from _accelerators(run)
    yield from _canary(run)
    yield from _steal(run)
    yield from _load(run)
    for name, severity, text in (
        ("trial_swapped_pages", WARN, "pages were swapped during trials: memory figures and times "
         "of those trials are not the boxes' own"),
        ("trial_throttled", WARN, "a processor that was too hot slowed itself down during trials"),
    ):  # fmt: skip
        values = _told(run, name)
        hit = int((values > 0).sum())
        if hit:
            yield Guard(
                name.removeprefix("trial_"), f"in {hit} of {plural(len(values), 'trial')}",
                severity, f"{text[:1].upper()}{text[1:]}.",
            )  # fmt: skip
    yield from _changed(run)


def _told(run: RunData, name: str) -> pd.Series[float]:
    """A condition of the measured trials that tell it as a number, by place."""
    found = run.told("conditions", name)
    return pd.to_numeric(found[_ran(run)[found.index]], errors="coerce").dropna().astype(float)


def _ran(run: RunData) -> npt.NDArray[np.bool_]:
    """Which trials were measured, well or not."""
    return run.kinds("warmup").among("no") & ~run.kinds("reason").among(NOT_RUN)


def _accelerators(run: RunData) -> Iterator[Guard]:
    found = {
        name: str(facts.get("accel", ""))
        for name, facts in run.manifest.get("runtimes", {}).items()
        if facts.get("accel") not in (None, "", "none")
    }
    if found:
        yield Guard(
            "accelerator", "; ".join(f"{name}: {accel}" for name, accel in found.items()),
            WARN if "tcg" in found.values() else INFO,
            "What runs guest code, as the machine monitor itself answers. Emulated in software "
            "(tcg), a machine says nothing of what virtual machines cost.",
        )  # fmt: skip


def _canary(run: RunData) -> Iterator[Guard]:
    drift = statistics.drift(run.values("canary.work"))
    if drift is not None:
        yield Guard(
            "canary", f"later half {times(drift.change)} × the earlier",
            WARN if drift.moved else INFO,
            "A fixed piece of work, done once a block by the harness itself: when it changes, "
            "the host has changed, and absolute times of early and late blocks differ by it.",
        )  # fmt: skip


def _steal(run: RunData) -> Iterator[Guard]:
    stolen = _told(run, "trial_steal_s")
    wall = float(run.numbers("wall_s")[stolen.index].sum())
    if wall > 0:
        share = float(stolen.sum()) / wall / _cpus(run)
        yield Guard(
            "steal_meanwhile", f"{percent(share)} of the time, in {int((stolen > 0).sum())} of "
            f"{plural(len(stolen), 'trial')}", WARN if share > _STEAL_WARN else INFO,
            "Time that this machine's hypervisor gave to others while trials ran.",
        )  # fmt: skip


def _load(run: RunData) -> Iterator[Guard]:
    cpus = _cpus(run)
    running = _told(run, "running_before")
    if len(running):
        middle = float(running.median())
        yield Guard(
            "running_before", f"{digits(middle, 2)} other tasks on {cpus:.0f} CPUs (median), "
            f"at most {running.max():.0f}",
            WARN if middle >= _LOAD_WARN * cpus else INFO,
            "Tasks that wanted a processor at the instant before a trial began, where the host "
            "should have been idle.",
        )  # fmt: skip


def _cpus(run: RunData) -> float:
    return float(run.manifest.get("host", {}).get("threads") or 1)


def _changed(run: RunData) -> Iterator[Guard]:
    ran = _ran(run)
    for name in run.keys("conditions"):
        values = run.told("conditions", name) if name.startswith(_CHANGED) else pd.Series()
        found = {str(value) for value in values[ran[values.index]].unique()} if len(values) else ()
        if found:
            yield Guard(
                f"{name.removeprefix(_CHANGED)} changed", ", ".join(sorted(found)), WARN,
                "This setting was changed while the run went on: trials before and after it were "
                "measured under different conditions.",
            )  # fmt: skip


_MIDDLES = ("load_before", "running_before")
_TOTALS = (
    "trial_steal_s", "trial_pressure_cpu_s", "trial_pressure_memory_s", "trial_pressure_io_s",
    "trial_swapped_pages", "trial_throttled",
)  # fmt: skip


def weather(run: RunData) -> Sequence[Weather]:
    """By runtime, in the order of the manifest; empty for a run that recorded none."""
    runtime = run.kinds("runtime")
    watched = np.zeros(len(runtime.codes), dtype=bool)
    for name in ("load_before", "trial_busy_s"):
        watched[_told(run, name).index] = True
    trials = _totals(runtime, np.flatnonzero(watched), np.ones(int(watched.sum())))
    middles = {name: _medians(runtime, _told(run, name)) for name in _MIDDLES}
    totals, walls, wall_s = {}, {}, run.numbers("wall_s")
    for name in _TOTALS:
        values = _told(run, name)
        totals[name] = _totals(runtime, values.index, values)
        walls[name] = _totals(runtime, values.index, wall_s[values.index])

    def share(of: str, name: str) -> float | None:
        wall = walls[name].get(of)
        return totals[name][of] / wall if wall else None

    return [
        Weather(
            runtime=of, trials=int(trials[of]),
            load_before=middles["load_before"].get(of),
            running_before=middles["running_before"].get(of),
            steal=None if (steal := share(of, "trial_steal_s")) is None else steal / _cpus(run),
            waited_cpu=share(of, "trial_pressure_cpu_s"),
            waited_memory=share(of, "trial_pressure_memory_s"),
            waited_io=share(of, "trial_pressure_io_s"),
            swapped_pages=int(totals["trial_swapped_pages"].get(of, 0)),
            throttled=int(totals["trial_throttled"].get(of, 0)),
        )
        for of in run.manifest.get("runtimes", {})
        if of in trials
    ]  # fmt: skip


def _totals(runtime: Words, places: Any, values: Any) -> Mapping[str, float]:
    """The sums of what trials told, by runtime."""
    codes = runtime.codes[places]
    sums = np.bincount(codes, weights=values, minlength=len(runtime.values))
    return {runtime.values[code]: float(sums[code]) for code in np.unique(codes)}


def _medians(runtime: Words, values: pd.Series[float]) -> Mapping[str, float]:
    found = values.groupby(runtime.codes[values.index]).median()
    return dict(zip([runtime.values[code] for code in found.index], found.tolist(), strict=True))


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return MISSING if value is None else str(value)
