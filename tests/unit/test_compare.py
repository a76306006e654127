"""Two stored runs side by side: what is judged, what is refused, and what is merely named."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.analysis import gates
from harness.analysis.compare import DEFAULT_MARGIN, Beside, Comparison, compare
from harness.analysis.expression import parse
from harness.analysis.frames import load_run
from harness.analysis.verdicts import Verdict
from harness.errors import UsageError
from tests.synthetic import Plan, make_run

SMALL = Plan(runtimes=("bare", "crun", "docker"), blocks=40, phases=False)
METRICS = ("startup.ready", "startup.job", "startup.cpu", "memory.charged", "canary.work")
Change = Callable[[dict[str, Any]], object]


def edited(folder: Path, change: Change, records: Change | None = None) -> Path:
    """The stored run with its manifest, and each of its records, changed."""
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if records is not None:
        lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
        for line in lines:
            records(line)
        (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def scaled(factor: float, runtime: str = "", prefix: str = "startup.") -> Change:
    """Multiplies samples of a runtime (of all without one)."""

    def change(record: dict[str, Any]) -> None:
        for sample in record["samples"]:
            if runtime in ("", record["runtime"]) and sample["metric"].startswith(prefix):
                sample["value"] *= factor

    return change


def keep(manifest: dict[str, Any]) -> None:
    del manifest


def few(record: dict[str, Any]) -> None:
    """Only some metrics: each comparison takes its time."""
    record["samples"] = [s for s in record["samples"] if s["metric"] in METRICS]


def fewer(record: dict[str, Any]) -> None:
    """Ready and the first job alone."""
    record["samples"] = [s for s in record["samples"] if s["metric"] in METRICS[:2]]


class Pair:
    """A base and a new run of the same plan with other dice."""

    def __init__(self, folder: Path, plan: Plan = SMALL, records: Change = few) -> None:
        other = Plan(**{**vars(plan), "seed": plan.seed + 1})
        self.base = edited(make_run(folder / "base", plan), keep, records)
        self.new = edited(make_run(folder / "new", other), keep, records)

    def compared(self) -> Beside:
        (found,) = compare(load_run(self.base), [load_run(self.new)])
        return found


def one(found: Beside, metric: str, runtime: str) -> Comparison:
    (comparison,) = (c for c in found.comparisons if (c.metric, c.runtime) == (metric, runtime))
    return comparison


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture
def small(tmp_path: Path) -> Pair:
    """Where only conditions matter."""
    plan = Plan(runtimes=("crun", "docker"), blocks=6, phases=False, memory=False)
    return Pair(tmp_path, plan, fewer)


def test_a_known_change_is_found_where_it_is_and_nowhere_else(pair: Pair) -> None:
    edited(pair.new, keep, scaled(1.25, "docker", "startup.ready"))
    found = pair.compared()
    worse = one(found, "startup.ready", "docker")
    assert worse.verdict is Verdict.WORSE
    assert worse.judgement.ratio is not None
    assert worse.judgement.ratio.interval is not None
    assert worse.judgement.ratio.interval.low < 1.25 < worse.judgement.ratio.interval.high
    assert worse.base is not None
    assert worse.new is not None
    assert worse.new / worse.base == pytest.approx(worse.judgement.ratio.value)
    assert worse.blocks == (40, 40)
    assert worse.guards == ()
    others = [c for c in found.comparisons if c is not worse]
    assert len(others) == 11
    assert not [c for c in others if c.verdict.is_difference]


def test_ten_per_cent_with_little_noise_is_found(tmp_path: Path) -> None:
    plan = Plan(runtimes=("docker",), blocks=40, phases=False)
    pair = Pair(tmp_path, plan)
    edited(pair.new, keep, scaled(1.10, "docker", "memory.charged"))
    assert one(pair.compared(), "memory.charged", "docker").verdict is Verdict.WORSE


def test_the_direction_is_the_metrics(pair: Pair) -> None:
    edited(pair.new, keep, scaled(0.7, "crun", "startup.ready"))
    assert one(pair.compared(), "startup.ready", "crun").verdict is Verdict.BETTER


def test_two_runs_of_the_same_differ_in_nothing(tmp_path: Path) -> None:
    found = Pair(tmp_path, records=keep).compared()
    assert len(found.comparisons) > 40
    assert {c.verdict for c in found.comparisons} <= {Verdict.EQUIVALENT, Verdict.NO_CONCLUSION}
    assert one(found, "memory.charged", "docker").verdict is Verdict.EQUIVALENT
    assert found.unlike == ()
    assert not any(c.metric.startswith(("canary", "floor", "repeat", "trial"))
                   for c in found.comparisons)  # fmt: skip


def test_a_run_beside_itself_has_no_verdict(pair: Pair) -> None:
    run = load_run(pair.base)
    (found,) = compare(run, [load_run(pair.base)])
    assert found.is_same_run
    assert {c.verdict for c in found.comparisons} == {Verdict.NO_CONCLUSION}
    assert all("same_run" in c.guards for c in found.comparisons)
    (gate,) = gates.evaluate([parse("startup.ready[docker] > -5%")], [found])
    assert gate.outcome is gates.Outcome.UNDECIDED


def told(shared: float, own_kernel: float, processes: float | None = None) -> Change:
    """Instead of samples, what a look into a box told; `processes` grow from trial to trial."""

    def change(record: dict[str, Any]) -> None:
        found = {"isolation.devices": shared, "isolation.kernel": own_kernel}
        if processes is not None:
            found["isolation.processes"] = processes + int(record["trial"])
        record["samples"] = [
            {"metric": metric, "value": value, "unit": "1", "dimensions": {}}
            for metric, value in found.items()
        ]

    return change


@pytest.mark.parametrize("blocks", [1, 6])
def test_facts_are_the_same_or_differ_and_need_no_statistics(tmp_path: Path, blocks: int) -> None:
    """Also where both are 0, of which there is no ratio, and in a single trial."""
    plan = Plan(runtimes=("crun",), blocks=blocks, phases=False, memory=False)
    pair = Pair(tmp_path, plan, told(0, 1, processes=5))
    found = pair.compared()
    for metric in ("isolation.devices", "isolation.kernel"):
        fact = one(found, metric, "crun")
        assert (fact.verdict, fact.judgement.why) == (Verdict.EQUIVALENT, "the same fact in both")
    edited(pair.new, keep, told(2, 0, processes=9))
    found = pair.compared()
    for metric in ("isolation.devices", "isolation.kernel"):
        fact = one(found, metric, "crun")
        assert (fact.verdict, fact.judgement.why) == (Verdict.WORSE, "a fact that differs")
    edited(pair.base, keep, told(3, 0))
    assert one(pair.compared(), "isolation.devices", "crun").verdict is Verdict.BETTER


def test_an_answer_that_varies_within_a_run_is_no_fact(tmp_path: Path) -> None:
    plan = Plan(runtimes=("crun",), blocks=6, phases=False, memory=False)
    varying = one(Pair(tmp_path, plan, told(0, 1, processes=5)).compared(),
                  "isolation.processes", "crun")  # fmt: skip
    assert varying.judgement.ratio is not None


def test_the_margin_is_the_bases_and_else_the_default(small: Pair) -> None:
    edited(small.base, lambda m: m["scenario"].update(thresholds={"startup.job": {"ratio": 1.3}}))
    found = small.compared()
    assert one(found, "startup.job", "crun").margin == 1.3
    assert one(found, "startup.job", "crun").margin_declared
    assert one(found, "startup.ready", "crun").margin == DEFAULT_MARGIN
    assert not one(found, "startup.ready", "crun").margin_declared


def emulate(manifest: dict[str, Any]) -> None:
    manifest["host"]["emulated"] = True
    guard = {"name": "nesting", "value": "emulated", "severity": "block", "text": "software"}
    manifest["guards"].append(guard)


REFUSES: Mapping[str, tuple[str, Change]] = {
    "agent": ("startup.ready", lambda m: m["image"].update(agent_sha256="0" * 64)),
    "settings": ("startup.ready",
                 lambda m: m["scenario"]["experiments"]["startup"].update(regime="cold")),
    "limits": ("startup.ready", lambda m: m["scenario"]["limits"].update(cpus=2.0)),
    "workload": ("startup.job", lambda m: m["scenario"]["workload"].update(argv=["/usr/bin/true"])),
    "equality": ("startup.ready",
                 lambda m: m["runtimes"]["docker"].update(equality="host budget")),
    "identity": ("startup.ready",
                 lambda m: m["runtimes"]["docker"]["verified"].update(identical=False)),
    "architecture": ("startup.ready", lambda m: m["host"].update(architecture="aarch64")),
    "emulated_host": ("startup.ready", emulate),
    "nesting": ("startup.ready", emulate),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSES)
def test_what_makes_it_another_quantity_refuses(small: Pair, name: str) -> None:
    metric, change = REFUSES[name]
    edited(small.base, lambda m: m["host"].update(architecture="x86_64"))
    edited(small.new, lambda m: m["host"].update(architecture="x86_64"))
    edited(small.new, change, scaled(3.0))
    beside = small.compared()
    found = one(beside, metric, "docker")
    assert name in found.guards
    assert found.verdict is Verdict.NO_CONCLUSION
    assert found.judgement.why
    (gate,) = gates.evaluate([parse(f"{metric}[docker] > +10%")], [beside])
    assert gate.outcome is gates.Outcome.UNDECIDED


QUALIFIES: Mapping[str, Change] = {
    "kernel": lambda m: m["host"].update(kernel="7.0.0"),
    "cpu": lambda m: m["host"].update(cpu_model="Another CPU"),
    "memory_size": lambda m: m["host"].update(memory_bytes=1 << 40),
    "cgroups": lambda m: m["host"].update(cgroup="v2"),
    "nesting": lambda m: m["host"].update(virtualization="none"),
    "ksm": lambda m: m["guards"][1].update(value="on, 7 pages shared"),
    "versions": lambda m: m["runtimes"]["docker"].update(versions={"docker": "99"}),
    "runtime_notes": lambda m: m["runtimes"]["docker"].update(notes=["storage driver vfs"]),
    "workload": lambda m: m["scenario"]["workload"].update(argv=["/usr/bin/true"]),
    "image": lambda m: m["image"].update(digest="sha256:" + "cd" * 32),
    "warm-up": lambda m: m["scenario"].update(warmup_blocks=5),
    "tarebench": lambda m: m.update(tarebench="99.0"),
    "outcome": lambda m: m.update(outcome="interrupted"),
    "scenario": lambda m: m["scenario"].update(name="other"),
    "load": lambda m: m["guards"].append(
        {"name": "load", "value": "9 on 2 CPUs", "severity": "warn", "text": "Other work."}),
}  # fmt: skip


@pytest.mark.parametrize("name", QUALIFIES)
def test_what_may_be_the_question_is_named_and_the_verdict_stands(small: Pair, name: str) -> None:
    edited(small.base, lambda m: m["guards"][1].update(value="off"))
    edited(small.new, lambda m: m["guards"][1].update(value="off"))
    edited(small.new, QUALIFIES[name], scaled(3.0))
    found = one(small.compared(), "startup.ready", "docker")
    assert found.guards == (name,)
    assert found.verdict is Verdict.WORSE


def test_a_limit_that_a_runtime_cannot_hold_does_not_concern_it(tmp_path: Path) -> None:
    pair = Pair(tmp_path, Plan(runtimes=("bare", "crun"), blocks=6, phases=False, memory=False))
    edited(pair.new, lambda m: m["scenario"]["limits"].update(cpus=2.0))
    found = pair.compared()
    assert one(found, "startup.ready", "bare").guards == ()
    assert one(found, "startup.ready", "crun").guards == ("limits",)


def test_memory_is_not_compared_between_layouts_of_control_groups(pair: Pair) -> None:
    edited(pair.new, lambda m: m["host"].update(cgroup="v2"))
    found = pair.compared()
    assert one(found, "memory.charged", "docker").refusing
    assert not one(found, "startup.ready", "docker").refusing


def test_another_image_matters_where_its_programs_do_the_work(small: Pair) -> None:
    def other_libc(record: dict[str, Any]) -> None:
        if record.get("identity", {}).get("files"):
            record["identity"]["files"]["/usr/lib/libc.so.6"] = "0" * 64

    edited(small.new, lambda m: m["image"].update(digest="sha256:" + "cd" * 32), other_libc)
    found = small.compared()
    assert "/usr/lib/libc.so.6" in one(found, "startup.job", "docker").judgement.why
    assert not one(found, "startup.ready", "docker").refusing


def test_emulation_beside_hardware_is_refused_and_beside_itself_is_called_so(
    tmp_path: Path,
) -> None:
    pair = Pair(tmp_path, Plan(runtimes=("qemu",), blocks=6, phases=False, memory=False))
    found = one(pair.compared(), "startup.ready", "qemu")
    assert found.guards == ("emulated",)
    assert not found.refusing

    def hardware(record: dict[str, Any]) -> None:
        if record["runtime"] == "qemu":
            record |= {"accel": "kvm", "runtime_class": "virtual machine"}

    edited(pair.new, keep, hardware)
    found = one(pair.compared(), "startup.ready", "qemu")
    assert "accelerator" in found.guards
    assert found.verdict is Verdict.NO_CONCLUSION


def test_cold_beside_warm_is_named_and_not_compared(small: Pair) -> None:
    def cold(record: dict[str, Any]) -> None:
        for sample in record["samples"]:
            if sample["metric"].startswith("startup."):
                sample["dimensions"] = {"regime": "cold"}

    edited(small.new, keep, cold)
    found = one(small.compared(), "startup.ready", "docker")
    assert found.guards[0] == "regime"
    assert (found.base, found.judgement.ratio) == (None, None)
    assert found.verdict is Verdict.NO_CONCLUSION
    assert small.compared().left_out == ()


def test_a_host_that_became_slower_explains_a_difference(pair: Pair) -> None:
    edited(pair.new, keep, scaled(1.3, prefix="canary.work"))
    edited(pair.new, keep, scaled(1.3))
    found = pair.compared()
    ready = one(found, "startup.ready", "docker")
    assert ready.verdict is Verdict.NO_CONCLUSION
    assert "canary" in ready.guards
    assert "fixed work" in ready.judgement.why
    edited(pair.new, keep, scaled(3.0, "docker"))
    assert one(pair.compared(), "startup.ready", "docker").verdict is Verdict.WORSE


def test_what_one_run_lacks_is_counted(small: Pair) -> None:
    def no_docker(record: dict[str, Any]) -> None:
        if record["runtime"] == "docker":
            record |= {"outcome": "failed", "reason": "gone", "samples": []}

    edited(small.new, keep, no_docker)
    found = small.compared()
    assert {c.runtime for c in found.comparisons} == {"crun"}
    (left,) = found.left_out
    assert left.reason == "only the base has"
    assert left.count == 2
    (gate,) = gates.evaluate([parse("startup.ready[docker] > +10%")], [found])
    assert gate.outcome is gates.Outcome.UNDECIDED


def test_trials_that_failed_are_named_beside_the_times_of_the_others(small: Pair) -> None:
    def sometimes(record: dict[str, Any]) -> None:
        if record["runtime"] == "docker" and record["block"] == 3:
            record |= {"outcome": "failed", "reason": "gone", "samples": []}

    edited(small.new, keep, sometimes)
    found = small.compared()
    assert one(found, "startup.ready", "docker").guards == ("failures",)
    assert one(found, "startup.ready", "crun").guards == ()
    (unlike,) = found.unlike
    assert (unlike.base, unlike.new) == ("0 of 6 trials", "1 of 6 trials")


def test_runs_with_nothing_in_common_are_refused(tmp_path: Path) -> None:
    plans = [Plan((name,), blocks=2, phases=False, memory=False) for name in ("crun", "runc")]
    base, new = (make_run(tmp_path / plan.runtimes[0], plan) for plan in plans)
    with pytest.raises(UsageError, match="in common") as caught:
        compare(load_run(base), [load_run(new)])
    assert "of crun" in caught.value.hint
    assert "of runc" in caught.value.hint


def test_expressions_hold_where_the_whole_interval_lies_beyond(pair: Pair) -> None:
    edited(pair.new, keep, scaled(1.5, "docker", "startup.ready"))
    found = [pair.compared()]
    told = {
        text: gates.evaluate([parse(text)], found)[0].outcome
        for text in (
            "startup.ready[docker] > +10%",
            "startup.ready[docker] > +50%",
            "startup.ready[docker] > +200%",
            "startup.ready[docker] < -10%",
            "memory.charged > +10%",
            "startup.ready > +10%",
        )
    }
    holds, not_, undecided = gates.Outcome
    assert list(told.values()) == [holds, undecided, not_, not_, not_, holds]


def test_intervals_of_expressions_hold_all_at_once(pair: Pair) -> None:
    (gate,) = gates.evaluate([parse("startup.ready > +10%")], [pair.compared()])
    ratios = [each.ratio for each in gate.findings]
    assert len(ratios) == 3
    for ratio in ratios:
        assert ratio is not None
        assert ratio.interval is not None
        assert ratio.interval.confidence == pytest.approx(1 - 0.05 / 3)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("startup.redy[docker] > 1%", "startup.redy", "did you mean startup.ready?"),
        ("startup.ready[kvm] > 1%", "'kvm'", "docker"),
        ("startup.ready[docker]{depth=1} > 1%", "depth=1", "there are none"),
    ],
)
def test_an_expression_of_what_no_run_has_is_refused(
    small: Pair, text: str, message: str, hint: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        gates.evaluate([parse(text)], [small.compared()])
    assert hint in caught.value.hint


@pytest.mark.slow
def test_reports_of_two_runs_of_the_same_rarely_have_a_false_verdict(tmp_path: Path) -> None:
    plan = Plan(runtimes=("bare", "crun"), blocks=20, phases=False)
    false = 0
    for number in range(60):
        dice = Plan(**{**vars(plan), "seed": 1000 + 2 * number})
        pair = Pair(tmp_path / str(number), dice, records=keep)
        false += any(c.verdict.is_difference for c in pair.compared().comparisons)
    assert false <= 3
