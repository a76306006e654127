"""The conditions of a run as one list: the guards that were read before it, and what its trials
and its canary tell. Comparisons and the report both go by it.

A trial's conditions are described in harness/probes/conditions.py; they hold the box's own work
too, so that a share of time is told beside the number and never judged alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

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
    trials = _trials(run)
    yield from _steal(run, trials)
    yield from _load(run, trials)
    for name, severity, text in (
        ("trial_swapped_pages", WARN, "pages were swapped during trials: memory figures and times "
         "of those trials are not the boxes' own"),
        ("trial_throttled", WARN, "a processor that was too hot slowed itself down during trials"),
    ):  # fmt: skip
        values = [float(each[name]) for each in trials if name in each]
        hit = sum(value > 0 for value in values)
        if hit:
            yield Guard(
                name.removeprefix("trial_"), f"in {hit} of {plural(len(values), 'trial')}",
                severity, f"{text[:1].upper()}{text[1:]}.",
            )  # fmt: skip
    yield from _changed(trials)


def _trials(run: RunData) -> Sequence[Mapping[str, float | str]]:
    """The conditions of each measured trial, with its wall time."""
    rows = run.trials[~run.trials["warmup"] & (run.trials["reason"] != NOT_RUN)]
    return [
        {**conditions, "wall_s": wall, "runtime": runtime}
        for conditions, wall, runtime in zip(
            rows["conditions"], rows["wall_s"], rows["runtime"], strict=True
        )
    ]


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


def _steal(run: RunData, trials: Sequence[Mapping[str, float | str]]) -> Iterator[Guard]:
    cpus = _cpus(run)
    stolen = [float(t["trial_steal_s"]) for t in trials if "trial_steal_s" in t]
    walls = [float(t["wall_s"]) for t in trials if "trial_steal_s" in t]
    if sum(walls) > 0:
        share = sum(stolen) / sum(walls) / cpus
        hit = sum(value > 0 for value in stolen)
        yield Guard(
            "steal_meanwhile", f"{percent(share)} of the time, in {hit} of "
            f"{plural(len(stolen), 'trial')}", WARN if share > _STEAL_WARN else INFO,
            "Time that this machine's hypervisor gave to others while trials ran.",
        )  # fmt: skip


def _load(run: RunData, trials: Sequence[Mapping[str, float | str]]) -> Iterator[Guard]:
    cpus = _cpus(run)
    running = [float(t["running_before"]) for t in trials if "running_before" in t]
    if running:
        middle = median(running)
        yield Guard(
            "running_before", f"{digits(middle, 2)} other tasks on {cpus:.0f} CPUs (median), "
            f"at most {max(running):.0f}",
            WARN if middle >= _LOAD_WARN * cpus else INFO,
            "Tasks that wanted a processor at the instant before a trial began, where the host "
            "should have been idle.",
        )  # fmt: skip


def _cpus(run: RunData) -> float:
    return float(run.manifest.get("host", {}).get("threads") or 1)


def _changed(trials: Sequence[Mapping[str, float | str]]) -> Iterator[Guard]:
    found: dict[str, set[str]] = {}
    for trial in trials:
        for name, value in trial.items():
            if name.startswith(_CHANGED):
                found.setdefault(name.removeprefix(_CHANGED), set()).add(str(value))
    for name, values in found.items():
        yield Guard(
            f"{name} changed", ", ".join(sorted(values)), WARN,
            "This setting was changed while the run went on: trials before and after it were "
            "measured under different conditions.",
        )  # fmt: skip


def weather(run: RunData) -> Sequence[Weather]:
    """By runtime, in the order of the manifest; empty for a run that recorded none."""
    trials = [t for t in _trials(run) if "load_before" in t or "trial_busy_s" in t]
    return [
        _weather(name, own, _cpus(run))
        for name in run.manifest.get("runtimes", {})
        if (own := [t for t in trials if t["runtime"] == name])
    ]


def _weather(runtime: str, trials: Sequence[Mapping[str, float | str]], cpus: float) -> Weather:
    def known(name: str) -> list[float]:
        return [float(trial[name]) for trial in trials if name in trial]

    def share(name: str) -> float | None:
        values = known(name)
        wall = sum(float(trial["wall_s"]) for trial in trials if name in trial)
        return sum(values) / wall if wall else None

    steal = share("trial_steal_s")
    load, running = known("load_before"), known("running_before")
    return Weather(
        runtime=runtime, trials=len(trials),
        load_before=median(load) if load else None,
        running_before=median(running) if running else None,
        steal=None if steal is None else steal / cpus, waited_cpu=share("trial_pressure_cpu_s"),
        waited_memory=share("trial_pressure_memory_s"), waited_io=share("trial_pressure_io_s"),
        swapped_pages=int(sum(known("trial_swapped_pages"))),
        throttled=int(sum(known("trial_throttled"))),
    )  # fmt: skip


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return MISSING if value is None else str(value)
