"""The conditions of a run as one list: the guards that were read before it, and what its trials
and its canary tell. Comparisons and the report both go by it.

A trial's conditions are described in harness/probes/conditions.py; they hold the box's own work
too, so that a share of time is told beside the number and never judged alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from harness.analysis import statistics
from harness.analysis.frames import NOT_RUN, RunData
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


_WEATHER = (
    "load_before", "running_before", "trial_steal_s", "trial_pressure_cpu_s",
    "trial_pressure_memory_s", "trial_pressure_io_s", "trial_swapped_pages", "trial_throttled",
)  # fmt: skip


def weather(run: RunData) -> Sequence[Weather]:
    """By runtime, in the order of the manifest; empty for a run that recorded none."""
    told = {name: _told(run, name) for name in (*_WEATHER, "trial_busy_s")}
    watched = np.zeros(len(run.kinds("runtime").codes), dtype=bool)
    for name in ("load_before", "trial_busy_s"):
        watched[told[name].index] = True
    return [
        _weather(run, name, own, told)
        for name in run.manifest.get("runtimes", {})
        if (own := watched & run.kinds("runtime").among(name)).any()
    ]


def _weather(
    run: RunData,
    runtime: str,
    own: npt.NDArray[np.bool_],
    told: Mapping[str, pd.Series[float]],
) -> Weather:
    known = {name: values[own[values.index]] for name, values in told.items()}
    wall = run.numbers("wall_s")

    def middle(name: str) -> float | None:
        return float(known[name].median()) if len(known[name]) else None

    def share(name: str) -> float | None:
        total = float(wall[known[name].index].sum())
        return float(known[name].sum()) / total if total else None

    steal = share("trial_steal_s")
    return Weather(
        runtime=runtime, trials=int(own.sum()),
        load_before=middle("load_before"), running_before=middle("running_before"),
        steal=None if steal is None else steal / _cpus(run),
        waited_cpu=share("trial_pressure_cpu_s"), waited_memory=share("trial_pressure_memory_s"),
        waited_io=share("trial_pressure_io_s"),
        swapped_pages=int(known["trial_swapped_pages"].sum()),
        throttled=int(known["trial_throttled"].sum()),
    )  # fmt: skip


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return MISSING if value is None else str(value)
