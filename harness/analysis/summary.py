"""What a run answers: a row a runtime, and the few sentences that the data allow.

A sentence is a verdict, and a verdict can be refused. It is refused where an interval is
missing or includes both answers, where the difference is below the channel's own round trip,
where a guard of severity `block` stands against it, and always where a machine was emulated
in software: nothing is ever said of virtual machines from emulated ones (DESIGN 1.4).

The intervals of a sentence are simultaneous (Bonferroni over every interval that it could have
used, the pairs that were not mentioned included), so that the choice of what to say after
looking at the data costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from harness.analysis import layers, statistics, verdicts
from harness.analysis.frames import NOT_RUN, RunData
from harness.analysis.language import recorded, say
from harness.analysis.layers import Layers
from harness.analysis.statistics import Estimate, Interval
from harness.analysis.verdicts import Family, Judgement, Pair, Verdict
from harness.metrics import METRICS
from harness.model import Outcome, RuntimeClass

READY = "startup.ready"
BARE = "bare"
MEMORY = "memory.charged"
IDLE = "idle"
"""The state in which instances are compared; others stand in a section of their own."""
CPU = "startup.cpu"
FLOOR = "floor.ready"

STAMPED = frozenset({READY, "startup.job", "startup.served", "phases.ready", "ladder.ready"})
"""Times whose end is a message from the box: no sharper than the channel."""

HARDWARE = frozenset({"kvm", "xen", "hvf", "whpx", "nvmm", "bhyve"})
"""Accelerators under which guest code runs on the processor itself."""

CONTAINERS = (RuntimeClass.CONTAINER.value, RuntimeClass.SANDBOX.value)
MACHINES = (RuntimeClass.MACHINE.value, RuntimeClass.EMULATED.value)
MACHINE_GUARDS = frozenset({"kvm", "accel", "guest_mitigations"})
"""Guards that concern machines alone; any other `block` stands against every comparison."""

BLOCK = "block"

MANY = 8
"""Runtimes beyond which a report groups them by class and tells of classes, not of each."""


@dataclass(frozen=True)
class RuntimeRow:
    """One runtime of a run. Estimates are medians over blocks; None where nothing is known.

    `tried` counts measured startup trials that came to an end, good or bad; `failures` maps
    each reason to its number, over all experiments and warm-ups, and has none that were never
    run. `added` is `ready` less that of bare metal. `memory_ok`: the ledger was taken, so that
    a missing value means that it was too small to tell.
    """

    runtime: str
    runtime_class: str
    accel: str
    emulated: bool
    tried: int
    ok: int
    success: Interval | None
    failures: Mapping[str, int]
    ready: Estimate | None
    added: Estimate | None
    cpu: Estimate | None
    memory: Estimate | None
    memory_tried: bool
    memory_ok: bool


@dataclass(frozen=True)
class Comparison:
    """How two runtimes compare in one metric; the judgement is of `slower` beside `faster`."""

    faster: str
    slower: str
    judgement: Judgement

    @property
    def ratio(self) -> Estimate | None:
        """The median of `slower` over that of `faster`."""
        return self.judgement.ratio

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    @property
    def why(self) -> str:
        return self.judgement.why


@dataclass(frozen=True)
class Cost:
    """What one instance holds, with an interval that is simultaneous with all others.

    A machine is `decided` only when it ran on hardware."""

    runtime: str
    estimate: Estimate
    decided: bool


@dataclass(frozen=True)
class Undecided:
    """Why nothing can be said of virtual machines here: what was tried, and what was not."""

    emulated: tuple[str, ...]
    silent: tuple[str, ...]
    skipped: Mapping[str, str]
    guards: tuple[str, ...]
    unlike: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """The answer of one run, ready for a terminal, a report or a page of Markdown.

    `ranking` compares each decided runtime (containers, and machines on hardware) with the one
    that was ready first. `ready` holds the medians of these and of bare metal, `memory` those
    of every box; their intervals are simultaneous, `ready_family` (ratios and medians, all
    pairs) and `memory_family` telling over how many. `layers` tells what is built around what;
    its shares follow from ratios of the same family. `family` are all comparisons that the
    report of this run makes, among which a difference must stand. `nested` are the compared
    machines when the host is itself a machine, `uncached` those whose disk goes past the host's
    page cache where all others start from it.
    """

    run: str
    title: str
    question: str
    rows: tuple[RuntimeRow, ...]
    ready: Mapping[str, Estimate]
    ranking: tuple[Comparison, ...]
    memory: tuple[Cost, ...]
    undecided: Undecided | None
    nested: tuple[str, ...]
    ready_family: int
    memory_family: int
    family: Family
    floor: Estimate | None
    warmups: int
    blocking: tuple[str, ...]
    layers: tuple[Layers, ...] = ()
    cold: bool = False
    uncached: tuple[str, ...] = ()

    @property
    def sentences(self) -> tuple[str, ...]:
        """The answer in English, the most wanted first."""
        from harness.analysis import sentences

        return tuple(s.text for s in sentences.tell(self))


def summarise(run: RunData) -> Summary:
    """The answer that a run allows."""
    from harness.analysis.relative import p_values  # which itself needs rows of a summary

    names = runtimes(run)
    classes = {name: class_of(run, name) for name in names}
    compared = [n for n in names if _is_comparable(run, n, classes[n])]
    held = [n for n in names if statistics.median(run.values(MEMORY, n, state=IDLE)) is not None]
    single = [n for n in names if n in compared or n == BARE]
    family = len(compared) * (len(compared) - 1) // 2 + len(single)
    confidence = statistics.simultaneous(family)
    sure = statistics.simultaneous(len(held))
    scenario = run.manifest.get("scenario", {})
    machines = [n for n in compared if classes[n][0] in MACHINES]
    cold = len(run.values(READY, regime="cold")) > 0
    rows = tuple(_row(run, name) for name in names)
    ranking = _ranking(run, compared, confidence)
    ranked = [each.judgement.p for each in ranking if each.judgement.p is not None]
    whole = verdicts.family([*ranked, *p_values(run, rows)])
    return Summary(
        run=run.run,
        title=_title(run),
        question=str(scenario.get("question", "")),
        rows=rows,
        ready={
            name: estimate
            for name in single
            if (estimate := statistics.median(run.values(READY, name), confidence)) is not None
        },
        ranking=_controlled(run, ranking, whole),
        memory=tuple(_cost(run, name, classes[name], sure) for name in held),
        undecided=_undecided(run, classes),
        nested=tuple(machines) if run.manifest.get("host", {}).get("hypervisor") else (),
        ready_family=family,
        memory_family=len(held),
        family=whole,
        floor=statistics.median(run.values(FLOOR)),
        warmups=int(run.tally.loc[run.tally["warmup"], "count"].sum()),
        blocking=tuple(g["text"] for g in blocking(run)),
        layers=() if blocking(run) else layers.read(run, compared, READY, confidence),
        cold=cold,
        uncached=() if cold else tuple(n for n in machines if "cache=writeback" not in n),
    )


def _title(run: RunData) -> str:
    """The scenario's own; that of an imported run in the reader's language."""
    said = run.manifest.get("imported")
    if isinstance(said, dict) and "tool" in said and "file" in said:
        return say("Imported from {tool}: {file}", tool=said["tool"], file=said["file"])
    scenario = run.manifest.get("scenario", {})
    return str(scenario.get("title") or scenario.get("name") or run.run)


def runtimes(run: RunData) -> tuple[str, ...]:
    """The runtimes that took part, in the scenario's order; controls are not among them.

    Where there are many, those of a class follow each other: a reader looks for neighbours.
    """
    trials = run.tally
    controls = trials["experiment"].isin(["canary", "floor"])
    seen = list(dict.fromkeys(trials.loc[~controls, "runtime"]))
    order = list(run.manifest.get("scenario", {}).get("runtimes", []))
    seen.sort(key=lambda name: order.index(name) if name in order else len(order))
    if len(seen) > MANY:
        seen.sort(key=lambda name: class_rank(class_of(run, name)[0]))
    return tuple(seen)


def class_rank(runtime_class: str) -> int:
    """The place of a class among all: from no box to the heaviest one; unknown ones last."""
    known = [each.value for each in RuntimeClass]
    return known.index(runtime_class) if runtime_class in known else len(known)


def is_emulated(run: RunData, runtime: str) -> bool:
    """Whether this runtime's processor was software: its own, or that of the whole host."""
    return bool(run.manifest.get("host", {}).get("emulated")) or _is_translated(run, runtime)


def _is_translated(run: RunData, runtime: str) -> bool:
    """Whether it is a machine without hardware virtualization, on whatever host."""
    runtime_class, accel = class_of(run, runtime)
    machine = runtime_class in MACHINES
    return machine and (runtime_class == RuntimeClass.EMULATED.value or accel == "tcg")


def threshold(run: RunData, metric: str) -> float:
    """The smallest ratio that matters in practice, fixed in the scenario; 1 where none is."""
    limits = run.manifest.get("scenario", {}).get("thresholds", {}).get(metric, {})
    return float(limits.get("ratio", 1.0))


def direction(run: RunData, metric: str) -> str:
    """Which direction of a metric is better, "lower" or "higher"; empty where nobody said."""
    declared = run.manifest.get("metrics") or {}
    if metric in declared:
        return str(declared[metric].get("better", ""))
    return METRICS[metric].better if metric in METRICS else ""


def round_trip_p99_s(run: RunData, *names: str) -> float | None:
    """The larger 99th percentile of these runtimes' channel round trips, in seconds."""
    channel = run.manifest.get("channel", {})
    found = [
        statistics.upper_percentile(channel.get(n, {}).get("round_trip_ns", []), 0.99)
        for n in names
    ]
    known = [ns / 1e9 for ns in found if ns is not None]
    return max(known) if known else None


def floor_s(run: RunData, metric: str, *names: str) -> float | None:
    """The smallest difference between these runtimes that the channel can tell in this metric;
    None for what is not stamped on arrival at the host, and where the channel is not known."""
    return round_trip_p99_s(run, *names) if metric in STAMPED else None


def class_of(run: RunData, runtime: str) -> tuple[str, str]:
    """A runtime's class and its accelerator, as its trials or else the manifest tell them."""
    if runtime in run.classes:
        return run.classes[runtime]
    facts = run.manifest.get("runtimes", {}).get(runtime, {})
    return str(facts.get("class", "")), str(facts.get("accel", ""))


def _is_comparable(run: RunData, runtime: str, kind: tuple[str, str]) -> bool:
    if len(run.values(READY, runtime)) == 0:
        return False
    if ran_something_else(run, runtime):
        return False
    return kind[0] in CONTAINERS or _is_true_machine(run, runtime, kind)


def ran_something_else(run: RunData, runtime: str) -> bool:
    """Whether a trial of the runtime executed what is not the image's own, and so proved."""
    return any(value is False for value in run.told_of("identity", "identical", runtime))


def _is_true_machine(run: RunData, runtime: str, kind: tuple[str, str]) -> bool:
    return (
        kind[0] == RuntimeClass.MACHINE.value
        and kind[1] in HARDWARE
        and not is_emulated(run, runtime)
        and not blocking(run, machines=True)
    )


def blocking(run: RunData, machines: bool = False) -> list[Mapping[str, Any]]:
    """Guards against every comparison, or (`machines`) against those of machines."""
    stopped = [g for g in run.manifest.get("guards", []) if g.get("severity") == BLOCK]
    return [g for g in stopped if machines or g.get("name") not in MACHINE_GUARDS]


def forbidden(run: RunData, machines: bool = False) -> str:
    """The first of these guards as a reason, without its full stop; empty where there is none."""
    first = next(iter(blocking(run, machines)), {})
    return recorded(str(first.get("text") or first.get("name", ""))).rstrip(".。")


def _row(run: RunData, runtime: str) -> RuntimeRow:
    kind, accel = class_of(run, runtime)
    trials = run.tally[run.tally["runtime"] == runtime]
    good = trials["outcome"] == Outcome.OK.value
    ended = good | trials["outcome"].isin([Outcome.FAILED.value, Outcome.TIMEOUT.value])
    measured = trials[(trials["experiment"] == "startup") & ~trials["warmup"] & ended]
    tried = int(measured["count"].sum())
    ok = int(measured.loc[measured["outcome"] == Outcome.OK.value, "count"].sum())
    bad = trials[~good & (trials["reason"] != NOT_RUN)]
    ready = run.values(READY, runtime)
    bare = run.values(READY, BARE)
    return RuntimeRow(
        runtime=runtime,
        runtime_class=kind,
        accel=accel,
        emulated=is_emulated(run, runtime),
        tried=tried,
        ok=ok,
        success=statistics.success_rate(ok, tried),
        failures=_counts(bad),
        ready=statistics.median(ready),
        added=None if runtime == BARE else statistics.difference(ready, bare),
        cpu=statistics.median(run.values(CPU, runtime)),
        memory=statistics.median(run.values(MEMORY, runtime, state=IDLE)),
        memory_tried=bool((trials["experiment"] == "memory").any()),
        memory_ok=bool(((trials["experiment"] == "memory") & good).any()),
    )


def _counts(kinds: pd.DataFrame) -> Mapping[str, int]:
    """The most frequent reason first."""
    found = kinds.groupby("reason", sort=False)["count"].sum().sort_values(ascending=False)
    return {str(reason): int(count) for reason, count in found.items()}


def _ranking(run: RunData, names: Sequence[str], confidence: float) -> Sequence[Comparison]:
    """Each with the one that is ready first, as its own data decide."""
    order = sorted(names, key=lambda n: float(run.values(READY, n).median()))
    return [
        Comparison(first, other, _judged(run, first, other, confidence))
        for first in order[:1]
        for other in order[1:]
    ]


def _controlled(
    run: RunData, ranking: Sequence[Comparison], whole: Family
) -> tuple[Comparison, ...]:
    """The ranking as it stands among all comparisons of the report, and as the guards allow."""
    found = verdicts.control([each.judgement for each in ranking], whole)
    why = forbidden(run)
    if why:
        found = tuple(each.refused(why) for each in found)
    return tuple(
        replace(each, judgement=judgement) for each, judgement in zip(ranking, found, strict=True)
    )


def _judged(run: RunData, faster: str, slower: str, confidence: float) -> Judgement:
    return verdicts.judge(
        Pair(run.values(READY, faster), run.values(READY, slower), paired=True), better="lower",
        margin=threshold(run, READY), confidence=confidence,
        floor=floor_s(run, READY, faster, slower),
    )  # fmt: skip


def _cost(run: RunData, runtime: str, kind: tuple[str, str], confidence: float) -> Cost:
    estimate = statistics.median(run.values(MEMORY, runtime, state=IDLE), confidence)
    assert estimate is not None
    return Cost(runtime, estimate, kind[0] not in MACHINES or _is_true_machine(run, runtime, kind))


def _undecided(run: RunData, classes: Mapping[str, tuple[str, str]]) -> Undecided | None:
    machines = [n for n, kind in classes.items() if kind[0] in MACHINES]
    skipped = {
        name: str(facts.get("reason", ""))
        for name, facts in run.manifest.get("skipped", {}).items()
        if name.partition(",")[0] in ("kvm", "qemu", "xen")
    }
    if not machines and not skipped:
        return None
    if any(_is_comparable(run, n, classes[n]) for n in machines):
        return None
    started = set(run.tally.loc[run.tally["experiment"] == "startup", "runtime"])
    silent = tuple(n for n in machines if n in started and not len(run.values(READY, n)))
    machines = [n for n in machines if n not in silent]
    emulated = tuple(n for n in machines if _is_translated(run, n))
    rest = [n for n in machines if n not in emulated]
    return Undecided(
        emulated=emulated,
        silent=silent,
        skipped=skipped,
        guards=tuple(str(g.get("text", "")) for g in blocking(run, machines=True)) if rest else (),
        unlike=tuple(n for n in rest if classes[n][1] not in HARDWARE),
    )
