"""Makes run folders out of thin air: plausible, seeded and clearly synthetic.

The figures have the order of magnitude that the shared notes saw on a test machine; they are
drawn from a random generator and are evidence of nothing. Host and command say so.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from harness.model import MIB, Identity, Outcome, Sample, Trial, TrialRecord

HASH = "5f2b" * 16
MS = 1_000_000


@dataclass(frozen=True)
class Box:
    """What a synthetic runtime looks like. Times in milliseconds, memory in MiB."""

    name: str
    runtime_class: str
    accel: str
    phases: Mapping[str, float]
    """Mark → median milliseconds after the mark before it, in the order of time."""
    teardown: tuple[float, float]
    memory: float
    cpu: float
    guest: float = 0.0


BOXES = {
    box.name: box
    for box in (
        Box("bare", "bare metal", "none",
            {"created": 0.3, "started": 0.15, "init": 0.3, "ready": 0.1},
            (0.2, 0.1), 0.09, 0.6),
        Box("chroot", "jail", "none",
            {"created": 0.5, "started": 0.5, "init": 0.3, "ready": 0.2},
            (0.2, 0.1), 0.09, 0.9),
        Box("runc", "container", "none", {"created": 15, "started": 6, "init": 1, "ready": 0.8},
            (3, 60), 0.55, 24),
        Box("crun", "container", "none", {"created": 5, "started": 1.1, "init": 0.7, "ready": 0.4},
            (2, 3), 0.31, 5.2),
        Box("docker", "container", "none", {"created": 45, "ready": 160, "started": 9},
            (12, 70), 4.3, 96),
        Box("docker,network=none", "container", "none",
            {"created": 45, "ready": 120, "started": 9}, (12, 60), 4.2, 90),
        Box("docker,client=cli", "container", "none", {"ready": 420, "started": 9},
            (12, 70), 4.3, 130),
        Box("docker,client=cli,network=none", "container", "none", {"ready": 210, "started": 9},
            (12, 60), 4.2, 120),
        Box("qemu", "emulated machine", "tcg",
            {"created": 60, "vmm": 270, "started": 90, "ready": 2150},
            (130, 20), 205, 2800, guest=94),
        Box("kvm", "virtual machine", "kvm",
            {"created": 60, "vmm": 120, "started": 90, "ready": 260},
            (90, 20), 118, 520, guest=84),
        Box("kvm,cache=writeback", "virtual machine", "kvm",
            {"created": 60, "vmm": 120, "started": 90, "ready": 250},
            (90, 20), 118, 510, guest=84),
        *(Box(name, kind, "none", {"created": first, "started": 0.3 * first, "init": 1, "ready": 1},
              (2, 0.4 * first), memory, 0.9 * first)
          for name, kind, first, memory in (
              ("bare,cgroup=on", "bare metal", 0.5, 0.1), ("bwrap", "jail", 4, 0.4),
              ("lxc", "container", 5, 1.2), ("libvirt-lxc", "container", 40, 3.1),
              ("nspawn", "container", 48, 2.2), ("containerd", "container", 45, 3.9),
              ("podman", "container", 55, 1.1), ("docker,network=host", "container", 80, 4.1),
              ("docker,runtime=crun", "container", 110, 3.8),
              ("runsc", "sandboxed container", 110, 31),
          )),
        *(Box(name, kind, accel, {"created": 40, "vmm": 60, "started": 50, "ready": ready},
              (60, 20), memory, ready, guest=0.6 * memory)
          for name, kind, accel, ready, memory in (
              ("kvm,machine=microvm", "virtual machine", "kvm", 140, 92),
              ("xen", "virtual machine", "xen", 700, 130),
              ("qemu,machine=microvm", "emulated machine", "tcg", 1850, 190),
          )),
    )
}  # fmt: skip

FIELD = (
    "bare", "bare,cgroup=on", "chroot", "bwrap", "crun", "runc", "containerd", "lxc", "libvirt-lxc",
    "nspawn", "podman", "docker", "docker,network=host", "docker,network=none", "docker,client=cli",
    "docker,runtime=crun", "runsc", "kvm", "kvm,machine=microvm", "xen", "qemu",
    "qemu,machine=microvm",
)  # fmt: skip
"""As many as `--runtime all` finds on a host that has everything."""

QUICK = ("bare", "chroot", "runc", "crun", "docker", "qemu")


@dataclass(frozen=True)
class Plan:
    """What the run should look like; `fail` maps a trial's index to an outcome and a reason."""

    runtimes: tuple[str, ...] = QUICK
    blocks: int = 10
    seed: int = 1
    fail: Mapping[int, tuple[Outcome, str]] = field(default_factory=dict)
    stop_after: int | None = None
    states: bool = False
    guards: tuple[Mapping[str, Any], ...] = ()
    host: Mapping[str, Any] = field(default_factory=dict)
    round_trip_ns: int = 60_000
    memory: bool = True
    phases: bool = True


def make_run(folder: Path, plan: Plan | None = None) -> Path:
    """Write a manifest and a journal into a new folder."""
    plan = plan or Plan()
    folder.mkdir(parents=True, exist_ok=True)
    dice = random.Random(plan.seed)
    trials = list(_plan(plan, dice))
    manifest = _manifest(plan, trials, dice, folder.name)
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    done = trials if plan.stop_after is None else trials[: plan.stop_after]
    with (folder / "journal.jsonl").open("wb") as journal:
        for index, trial in enumerate(done):
            record = _record(trial, plan.fail.get(index), dice)
            if plan.states and record.experiment == "memory" and record.outcome is Outcome.OK:
                more = _states(BOXES[trial.runtime], dice)
                record = msgspec.structs.replace(record, samples=[*record.samples, *more])
            journal.write(msgspec.json.encode(record) + b"\n")
    return folder


def ok_record(
    experiment: str,
    runtime: str,
    kind: tuple[str, str],
    block: int,
    samples: Sequence[Sample],
    conditions: Mapping[str, Any] | None = None,
) -> TrialRecord:
    """A trial that went well; `kind` is its runtime's class and accelerator."""
    return TrialRecord(
        trial=f"{block}{runtime}", experiment=experiment, runtime=runtime, runtime_class=kind[0],
        accel=kind[1], block=block, position=0, warmup=False, outcome=Outcome.OK, reason="",
        started_utc="", wall_s=1.0, samples=list(samples), conditions=dict(conditions or {}),
    )  # fmt: skip


def _plan(plan: Plan, dice: random.Random) -> Iterable[Trial]:
    number = 0
    for block in range(-1, plan.blocks):
        warmup = block < 0
        wanted = [(e, r) for r in plan.runtimes for e in _experiments(plan, r, warmup)]
        wanted += [] if warmup else [("canary", "host"), ("floor", "host")]
        dice.shuffle(wanted)
        for position, (experiment, runtime) in enumerate(wanted):
            yield Trial(
                trial=f"{number:05d}", experiment=experiment, runtime=runtime,
                block=max(block, 0), position=position, warmup=warmup,
            )  # fmt: skip
            number += 1
    yield Trial(
        trial=f"{number:05d}", experiment="repeat", runtime=plan.runtimes[0],
        block=plan.blocks - 1, position=number,
    )  # fmt: skip


def _experiments(plan: Plan, runtime: str, warmup: bool) -> list[str]:
    machine = BOXES[runtime].guest > 0
    phases = ["phases"] if machine and plan.phases else []
    return ["startup", *phases, *([] if warmup or not plan.memory else ["memory"])]


def _spread(dice: random.Random, median: float, sigma: float = 0.12) -> float:
    slow = 1.6 if dice.random() < 0.04 else 1.0
    return median * math.exp(dice.gauss(0, sigma)) * slow


def _record(trial: Trial, failure: tuple[Outcome, str] | None, dice: random.Random) -> TrialRecord:
    box = BOXES.get(trial.runtime, BOXES["bare"])
    marks = _marks(trial, box, dice)
    samples = _samples(trial, box, marks, dice)
    outcome, reason = failure or (Outcome.OK, "")
    if outcome is not Outcome.OK:
        marks, samples = {"request": marks.get("request", 1)}, []
    on_host = trial.runtime == "host"
    return TrialRecord(
        trial=trial.trial, experiment=trial.experiment, runtime=trial.runtime,
        runtime_class="bare metal" if on_host else box.runtime_class,
        accel="none" if on_host else box.accel,
        block=trial.block, position=trial.position, warmup=trial.warmup,
        outcome=outcome, reason=reason, started_utc="2026-11-23T20:00:00Z",
        wall_s=dice.uniform(0.01, 4), marks=marks, samples=samples,
        identity=Identity(identical=True, files={"/usr/lib/tarebench/agent": HASH})
        if samples and not on_host else Identity(),
        conditions={"steal_s": 0.0},
    )  # fmt: skip


def _marks(trial: Trial, box: Box, dice: random.Random) -> dict[str, int]:
    if trial.experiment not in ("startup", "phases", "repeat"):
        return {}
    now = dice.randrange(10**12)
    marks = {"request": now}
    for mark, milliseconds in box.phases.items():
        share = 0.45 if mark == "ready" and trial.experiment == "phases" else 0.0
        step = _spread(dice, milliseconds) * MS
        if share:
            marks["kernel"] = now + int(step * share)
            step *= 1.04
        now += int(step)
        marks[mark] = now
    now = max(marks.values()) + 40 * MS
    for mark, milliseconds in zip(("stop", "exited", "removed"), (0.0, *box.teardown), strict=True):
        now += int(_spread(dice, milliseconds) * MS)
        marks[mark] = now
    return marks


def _samples(trial: Trial, box: Box, marks: Mapping[str, int], dice: random.Random) -> list[Sample]:
    prefix = trial.experiment
    values: dict[str, float] = {}
    if prefix in ("startup", "phases", "repeat"):
        values = {m: (ns - marks["request"]) / 1e9 for m, ns in marks.items() if m != "request"}
        wanted = {"phases": ("kernel", "ready"), "repeat": ("ready",)}.get(prefix)
        values = {m: v for m, v in values.items() if wanted is None or m in wanted}
        if prefix == "startup":
            values["job"] = values["ready"] + _spread(dice, 0.0012)
            values["cpu"] = _spread(dice, box.cpu) / 1e3
    elif prefix == "canary":
        values = {"work": _spread(dice, 0.010, 0.02)}
    elif prefix == "floor":
        values = {"ready": _spread(dice, 0.0007), "exited": _spread(dice, 0.0009)}
    seconds = [Sample(metric=f"{prefix}.{m}", value=v, unit="s") for m, v in values.items()]
    return [*seconds, *(_memory(box, dice) if prefix == "memory" else [])]


def _memory(box: Box, dice: random.Random) -> list[Sample]:
    charged = _spread(dice, box.memory, 0.03) * MIB
    delta = charged + dice.gauss(0.12, 0.1) * MIB * (4 if box.guest else 1)
    values = {
        "charged": charged, "host_delta": delta, "remainder": delta - charged,
        "pss": charged * 0.96, "rss": charged * 1.35 + 1.1 * MIB,
    }  # fmt: skip
    if box.guest:
        guest = _spread(dice, box.guest, 0.01) * MIB
        values |= {"guest_ram": guest, "vmm_overhead": charged - guest}
    dimensions = {"state": "idle", "n": "2" if box.guest else "8"}
    return [
        Sample(metric=f"memory.{m}", value=v, unit="bytes", dimensions=dimensions)
        for m, v in values.items()
    ]


def _states(box: Box, dice: random.Random) -> list[Sample]:
    """64 MiB touched and freed, of which a guest gives back nothing; 42 MiB of files read."""

    def value() -> float:
        return _spread(dice, 64, 0.01) * MIB

    def sample(metric: str, value: float, **dimensions: str) -> Sample:
        return Sample(f"memory.{metric}", value, "bytes", {**dimensions, "n": "4"})

    touched = {"touched": str(64 * MIB)}
    back = dice.gauss(0, 0.1) * MIB if box.guest else value()
    states = {"touched": box.memory * MIB + value(), "freed": box.memory * MIB}
    return [
        *(sample("charged", v, state=state, **touched) for state, v in states.items()),
        sample("taken", value(), side="charged", **touched),
        sample("taken", value(), side="host", **touched),
        sample("returned", back, side="charged", by="free", **touched),
        sample("cache.first", 42 * MIB, state="cache", read=str(42 * MIB)),
        sample("cache.next", 42 * MIB if box.guest else 0.2 * MIB, state="cache",
               read=str(42 * MIB)),
        sample("cache.host", (4 if box.guest else 1) * 42.0 * MIB, state="cache",
               read=str(42 * MIB)),
    ]  # fmt: skip


def _manifest(plan: Plan, trials: list[Trial], dice: random.Random, name: str) -> dict[str, Any]:
    facts = {r: _facts(BOXES[r]) for r in plan.runtimes}
    return {
        "schema": 1, "run": name, "tarebench": "0.1.0", "seed": plan.seed,
        "scenario": {
            "name": "quick", "title": "What does the box cost?",
            "question": "How long until each kind of box is ready for its first job, and how "
            "much memory does one hold?",
            "description": "Synthetic figures for tests.",
            "runtimes": list(plan.runtimes), "experiments": {"startup": {}, "memory": {}},
            "limits": {"cpus": 1.0, "memory_bytes": 128 * MIB, "pids": 256},
            "blocks": plan.blocks, "warmup_blocks": 1,
            "thresholds": {"startup.ready": {"ratio": 1.1}, "memory.charged": {"ratio": 1.1}},
            "workload": {"name": "hello", "argv": ["/usr/bin/echo", "hello from the box"]},
        },
        "plan": [msgspec.to_builtins(t) for t in trials],
        "image": {"digest": "sha256:" + "ab12" * 16, "agent_sha256": HASH,
                  "excludes": ["/proc", "/sys", "/dev", "/run"]},
        "started_utc": "2026-11-23T20:00:00Z", "finished_utc": "2026-11-23T20:02:41Z",
        "outcome": "complete" if plan.stop_after is None else "interrupted",
        "stopping": f"fixed {plan.blocks} blocks", "runtimes": facts,
        "skipped": {} if "kvm" in plan.runtimes else {"kvm": {
            "reason": "a guest did not boot under KVM within 20 s",
            "remedy": "use a host with hardware virtualization"}},
        "host": {"cpu_model": "Synthetic CPU", "cores": 2, "memory_bytes": 24 * 1024 * MIB,
                 "kernel": "6.18.0", "os": "Debian GNU/Linux 12", "hypervisor": True,
                 "virtualization": "unknown", "cgroup": "hybrid", **plan.host},
        "guards": list(plan.guards) or _guards(),
        "command": ["tarebench", "run", "quick"],
        "channel": {
            r: {"round_trip_ns": [int(_spread(dice, plan.round_trip_ns, 0.3)) for _ in range(100)],
                "send_to_stamp_ns": [] if BOXES[r].guest else
                [int(_spread(dice, 20_000, 0.3)) for _ in range(100)]}
            for r in plan.runtimes
        },
    }  # fmt: skip


def _guards() -> list[dict[str, Any]]:
    return [
        {"name": "nesting", "value": True, "severity": "warn",
         "text": "This host is itself a virtual machine; bare metal is bare metal inside it."},
        {"name": "ksm", "value": 0, "severity": "info", "text": "Kernel same-page merging is off."},
    ]  # fmt: skip


def _facts(box: Box) -> dict[str, Any]:
    inside = "supported" if box.name != "bare" else "unsupported"
    return {
        "class": box.runtime_class, "accel": box.accel, "versions": {box.name: "1.0-synthetic"},
        "limits": {"cpus": inside, "memory": inside,
                   "pids": "unsupported" if box.guest else inside},
        "notes": ["client path: Engine API over the socket, network bridge"]
        if box.name == "docker" else [],
        "equality": "inside budget",
        "verified": {"digest": "sha256:" + "ab12" * 16, "identical": True, "note": ""},
    }  # fmt: skip
