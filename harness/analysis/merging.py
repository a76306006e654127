"""The same scenario on many hosts: what is a property of the box, and what of the laptop.

The run is the unit (METHOD): a host gives one value, the median of its newest run, whatever the
number of its trials, and hosts are never pooled. Two spreads stand beside each other: that of a
value over the hosts, and that of its ratio to the baseline of the same run. A fast laptop makes
both values of a ratio small, so what is left in the ratio is no longer the laptop's speed.

A spread is told as a factor: 95 % of such hosts lie within so many times the middle, or one part
of it. It is exp(1.96 τ), where τ² is the variance of the logarithms between hosts less the mean
of what each host does not know of its own value (the method of moments: Hedges & Olkin,
Statistical Methods for Meta-Analysis (1985), ch. 9), and its interval is that of the variance of
a normal sample (chi-squared with n - 1 degrees of freedom). Both rest on hosts that are drawn
from such hosts, with logarithms near to normal; six of them tell little, thirty tell enough.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis import likeness, statistics
from harness.analysis.frames import RunData
from harness.analysis.history import deciding
from harness.analysis.language import later, say
from harness.analysis.measured import Measured, measured, metric_of
from harness.analysis.reference import machine
from harness.analysis.relative import unfair
from harness.analysis.statistics import CONFIDENCE, Estimate, Interval
from harness.analysis.summary import runtimes, threshold
from harness.analysis.unlike import Unlike
from harness.analysis.verdicts import Verdict, decide
from harness.errors import UsageError

_REACH = float(stats.norm.ppf(0.5 + CONFIDENCE / 2))


class Owner(StrEnum):
    """Whose property a number is."""

    BOX = later("the box")
    LAPTOP = later("the laptop")
    UNDECIDED = later("not decided")


@dataclass(frozen=True)
class Host:
    """One host and the run that it gives. `name` is short and unique, `machine` its class."""

    name: str
    machine: str
    run: RunData

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its run recorded of it."""
        found: Mapping[str, Any] = self.run.manifest.get("host", {})
        return found


@dataclass(frozen=True)
class Value:
    """What one host says of a row: the median of its blocks, and its ratio to the baseline.

    Where there is no ratio, `why` says so; `verdict` is the host's own, at the row's margin.
    """

    host: Host
    median: Estimate
    ratio: Estimate | None
    verdict: Verdict
    why: str = ""


@dataclass(frozen=True)
class Spread:
    """How far hosts are apart: `factor` (1 is not at all) holds 95 % of them, with its interval."""

    hosts: int
    factor: float | None
    interval: Interval | None
    owner: Owner
    why: str = ""


@dataclass(frozen=True)
class Row:
    """One metric of one runtime over hosts. `value` and `ratio` are medians of hosts; `variant`
    tells it from other rows of the same runtime, where there are such."""

    metric: str
    dimensions: Mapping[str, str]
    unit: str
    better: str
    margin: float
    runtime: str
    runtime_class: str
    accel: str
    emulated: bool
    values: tuple[Value, ...]
    value: Estimate
    value_spread: Spread
    ratio: Estimate | None
    ratio_spread: Spread | None
    variant: str = ""

    @property
    def ratios(self) -> tuple[Estimate, ...]:
        """The ratios of the hosts that have one."""
        return tuple(each.ratio for each in self.values if each.ratio is not None)

    @property
    def agreeing(self) -> tuple[Verdict, int, Interval | None]:
        """The commonest verdict of single hosts, how many have it, and the exact interval of
        the share of such hosts."""
        judged = Counter(each.verdict for each in self.values if each.ratio is not None)
        if not judged:
            return Verdict.NO_CONCLUSION, 0, None
        verdict, count = judged.most_common(1)[0]
        return verdict, count, statistics.success_rate(count, judged.total())


@dataclass(frozen=True)
class Differing:
    """A condition in which hosts differ: how many hosts have each value."""

    name: str
    values: Mapping[str, int]
    text: str


@dataclass(frozen=True)
class Merged:
    """Many hosts beside each other. `left_out` tells of runs, `refused` of series of a run."""

    scenario: str
    title: str
    baseline: str
    hosts: tuple[Host, ...]
    rows: tuple[Row, ...]
    differing: tuple[Differing, ...]
    refused: tuple[str, ...]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class Wanted:
    """What is asked for; empty is everything (of metrics, the deciding ones)."""

    metrics: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    every_run: bool = False


def merge(runs: Sequence[RunData], wanted: Wanted | None = None) -> Merged:
    """Put runs of one scenario together, a host a run. Raises UsageError when nothing fits.

    Those of the commonest kind are merged (scenario, agent, architecture, processor); the others
    are left out by name. With `every_run`, each run counts as a host of its own.
    """
    wanted = wanted or Wanted()
    left_out: dict[str, str] = {}
    alike = _of_one_kind(_once(runs, left_out), left_out)
    hosts = _hosts(alike, wanted.every_run, left_out)
    first = _commonest(hosts).run
    unlike = {host.name: () if host.run is first else likeness.unlike(first, host.run)
              for host in hosts}  # fmt: skip
    for host in hosts:
        whole = [u for u in unlike[host.name] if u.refuses and not u.runtime and not u.metrics]
        if whole:
            left_out[host.run.run] = told(whole[0])
    hosts = tuple(host for host in hosts if host.run.run not in left_out)
    base = runtimes(first)[0]
    refused: dict[str, None] = {}
    rows = tuple(_rows(hosts, base, unlike, wanted, refused))
    if not rows:
        asked = ", ".join((*wanted.metrics, *wanted.runtimes)) or "a deciding metric"
        raise UsageError(
            f"no host has a value of {asked}", f"the runs have {', '.join(runtimes(first))}"
        )
    scenario = first.manifest.get("scenario", {})
    return Merged(
        str(scenario.get("name", "")), str(scenario.get("title", "")), base, hosts, rows,
        tuple(_differing(hosts, unlike)), tuple(refused), left_out,
    )  # fmt: skip


def _commonest(hosts: Sequence[Host]) -> Host:
    """The host beside which the others are held: the first that was asked what most were."""
    asked = [
        json.dumps([host.run.manifest.get("scenario", {}).get(key) for key in _ASKED])
        for host in hosts
    ]
    ((common, _),) = Counter(asked).most_common(1)
    return hosts[asked.index(common)]


def told(one: Unlike) -> str:
    """A difference in a line."""
    return f"{one.name}: {one.new} beside {one.base}. {one.text}"


def _once(runs: Sequence[RunData], left_out: dict[str, str]) -> Sequence[RunData]:
    """Every run once, though a folder and a report may both hold it."""
    found: list[RunData] = []
    for run in runs:
        if any(likeness.is_same_run(run, other) for other in found):
            left_out[f"{run.run} (again)"] = say("the same run was named twice")
        elif not run.manifest.get("host"):
            left_out[run.run] = say("it does not tell its host")
        else:
            found.append(run)
    if not found:
        raise UsageError("there is no run that tells its host", "name runs of tarebench run")
    return found


def _of_one_kind(runs: Sequence[RunData], left_out: dict[str, str]) -> Sequence[RunData]:
    """Those of the commonest scenario, and so on for each of its kinds."""
    for name, read in _KINDS:
        ((common, _),) = Counter(map(read, runs)).most_common(1)  # the first where as many
        for run in runs:
            if read(run) != common:
                left_out[run.run] = say(
                    "its {what} is {this}, and of most runs it is {common}",
                    what=say(name), this=read(run)[:19], common=common[:19],
                )  # fmt: skip
        runs = [run for run in runs if read(run) == common]
    return runs


def _scenario(run: RunData) -> str:
    return str(run.manifest.get("scenario", {}).get("name", ""))


def _agent(run: RunData) -> str:
    return str(run.manifest.get("image", {}).get("agent_sha256", ""))


def _architecture(run: RunData) -> str:
    return str(run.manifest["host"].get("architecture", ""))


def _processor(run: RunData) -> str:
    return say("emulated") if run.manifest["host"].get("emulated") else say("real")


_KINDS = (
    (later("scenario"), _scenario),
    (later("agent"), _agent),
    (later("architecture"), _architecture),
    (later("processor"), _processor),
)
"""What makes a run one of another kind, and how it is read."""

_ASKED = ("experiments", "limits", "workload")


def _hosts(runs: Sequence[RunData], every_run: bool, left_out: dict[str, str]) -> tuple[Host, ...]:
    """A host a run: of several runs of one host, the newest."""
    newest: dict[object, RunData] = {}
    for number, run in enumerate(
        sorted(runs, key=lambda each: str(each.manifest.get("started_utc", "")))
    ):
        key: object = number if every_run else _identity(run)
        older = newest.pop(key, None)
        if older is not None:
            left_out[older.run] = say("{run} is a newer run of the same host", run=run.run)
        newest[key] = run
    width = len(str(len(newest)))
    return tuple(
        Host(f"host {number:0{width}}", machine(run.manifest), run)
        for number, run in enumerate(newest.values(), start=1)
    )


def _identity(run: RunData) -> tuple[str, ...]:
    """What two runs of one host share: its own identity, or where an older run has none, the
    boot; beside it what it is made of, for copies of one disk share the identity."""
    host = run.manifest["host"]
    return (
        str(host.get("id") or host.get("boot_id") or run.run), machine(run.manifest),
        str(host.get("memory_bytes", "")),
    )  # fmt: skip


def _rows(
    hosts: Sequence[Host],
    base: str,
    unlike: Mapping[str, Sequence[Unlike]],
    wanted: Wanted,
    refused: dict[str, None],
) -> Iterator[Row]:
    series: dict[tuple[str, str, str, str], list[tuple[Host, Measured]]] = {}
    for host in hosts:
        for each in measured(host.run, wanted.metrics or deciding(hosts[0].run)):
            if each.curve or (wanted.runtimes and each.runtime not in (base, *wanted.runtimes)):
                continue
            against = [u for u in unlike[host.name] if u.refuses]
            stopped = next((u for u in against if u.concerns(each.metric, each.runtime)), None)
            if stopped is not None:
                refused[f"{host.name}, {each.name}: {told(stopped)}"] = None
                continue
            key = (each.metric, str(sorted(each.dimensions.items())), each.runtime, each.accel)
            series.setdefault(key, []).append((host, each))
    metrics = list(wanted.metrics or deciding(hosts[0].run))
    order = list(dict.fromkeys(name for host in hosts for name in runtimes(host.run)))
    rows = sorted(
        (_row(found, base) for found in series.values()),
        key=lambda row: (metrics.index(row.metric), order.index(row.runtime)),
    )
    several = Counter((row.metric, row.runtime) for row in rows)
    for row in rows:
        dimensions = ", ".join(f"{key}={value}" for key, value in row.dimensions.items())
        one = several[row.metric, row.runtime] == 1
        yield row if one else replace(row, variant=dimensions)


def _row(found: Sequence[tuple[Host, Measured]], base: str) -> Row:
    host, each = found[0]
    margin = threshold(host.run, each.metric)
    better = metric_of(host.run, each.metric).better
    values = tuple(_value(h, m, base, margin, better) for h, m in found)
    ratios = [value.ratio for value in values if value.ratio is not None]
    return Row(
        each.metric, each.dimensions, each.unit, better, margin, each.runtime,
        each.runtime_class, each.accel, each.emulated, values,
        _middle([value.median for value in values]),
        spread([value.median for value in values], margin),
        _middle(ratios) if ratios else None, spread(ratios, margin) if ratios else None,
    )  # fmt: skip


def _value(host: Host, each: Measured, base: str, margin: float, better: str) -> Value:
    median = statistics.median(each.values)
    assert median is not None
    if each.runtime == base:
        return Value(host, median, None, Verdict.NO_CONCLUSION, say("it is the baseline"))
    why = unfair(host.run, each.runtime) or unfair(host.run, base)
    below = host.run.values(each.metric, base, **each.dimensions)
    ratio = None if why or not len(below) else statistics.ratio(each.values, below)
    if ratio is None:
        return Value(host, median, None, Verdict.NO_CONCLUSION,
                     why or say("there is no ratio to {base}", base=base))  # fmt: skip
    verdict, reason = decide(ratio, margin, better)
    return Value(host, median, ratio, verdict, reason)


def _middle(estimates: Sequence[Estimate]) -> Estimate:
    """The median of hosts, with the hosts resampled for its interval."""
    found = statistics.median(pd.Series([each.value for each in estimates], dtype=float))
    assert found is not None
    return found


def spread(estimates: Sequence[Estimate], margin: float) -> Spread:
    """How far positive values of hosts are apart beyond what each does not know of its own.

    They are the box's where 95 % of such hosts surely lie within `margin` of the middle, and
    the laptop's where they surely do not.
    """
    needed = statistics.blocks_needed()
    if any(each.value <= 0 for each in estimates):
        return Spread(len(estimates), None, None, Owner.UNDECIDED, say("not all are above zero"))
    if len(estimates) < needed:
        why = say("{n} of the {needed} hosts that a spread needs", n=len(estimates), needed=needed)
        return Spread(len(estimates), None, None, Owner.UNDECIDED, why)
    logarithms = np.log([each.value for each in estimates])
    within = float(np.mean([_own_variance(each) for each in estimates]))
    degrees = len(estimates) - 1
    variance = float(np.var(logarithms, ddof=1))
    tail = (1 - CONFIDENCE) / 2
    ends = [variance * degrees / float(stats.chi2.ppf(q, degrees)) for q in (1 - tail, tail)]
    low, middle, high = (_factor(each - within) for each in (ends[0], variance, ends[1]))
    owner = Owner.UNDECIDED
    if margin > 1 and high <= margin:
        owner = Owner.BOX
    elif low > margin:
        owner = Owner.LAPTOP
    why = say("the interval holds both answers") if owner is Owner.UNDECIDED else ""
    return Spread(len(estimates), middle, Interval(low, high, CONFIDENCE), owner, why)


def _own_variance(estimate: Estimate) -> float:
    """What a host does not know of the logarithm of its own value, from its interval."""
    interval = estimate.interval
    if interval is None or interval.low <= 0:
        return 0.0
    return float((math.log(interval.high / interval.low) / (2 * _REACH)) ** 2)


def _factor(variance: float) -> float:
    return math.exp(_REACH * math.sqrt(max(variance, 0.0)))


def _differing(
    hosts: Sequence[Host], unlike: Mapping[str, Sequence[Unlike]]
) -> Iterator[Differing]:
    """Each condition of whole runs that is not the same everywhere, with its counts."""
    names: dict[str, tuple[str, str]] = {}
    for host in hosts:
        for each in unlike[host.name]:
            if not each.runtime and not each.metrics and not each.refuses:
                names.setdefault(each.name, (each.base, each.text))
    for name, (first, text) in names.items():
        said = Counter(
            next((u.new for u in unlike[host.name] if u.name == name and not u.runtime), first)
            for host in hosts
        )
        yield Differing(name, dict(said.most_common()), text)
