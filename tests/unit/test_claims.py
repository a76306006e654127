"""Claims: each verdict from data made for it, and the shipped claims on the shipped runs."""

from __future__ import annotations

import itertools
import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from typer.testing import CliRunner

from harness import resources
from harness.analysis.claims import declared
from harness.analysis.claims.answers import Answer, Verdict, answer
from harness.analysis.claims.declared import Claim, Cost, Fact, Share
from harness.analysis.frames import RunData, from_records, from_table, load_run
from harness.analysis.language import speaking
from harness.cli import app
from harness.errors import UsageError
from harness.metrics import METRICS
from harness.model import Outcome, Sample
from harness.plan import make_plan
from harness.scenario import load
from tests.synthetic import Plan, make_run, ok_record

CLASSES = {
    "bare": ("bare metal", "none"), "chroot": ("jail", "none"), "runc": ("container", "none"),
    "docker": ("container", "none"), "docker,client=cli": ("container", "none"),
    "kvm": ("virtual machine", "kvm"),
}  # fmt: skip
READY = Share(says="quick", of="container", metric="startup.ready", below=1.0, run="run it")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    """Bare metal, two containers, a machine on hardware and an emulated one, twenty blocks."""
    plan = Plan(runtimes=("bare", "crun", "docker", "kvm", "qemu"), blocks=20, phases=False)
    return load_run(make_run(tmp_path_factory.mktemp("claims") / "run", plan))


def asked(run: RunData | Sequence[RunData], *checks: declared.Check) -> Answer:
    runs = [run] if isinstance(run, RunData) else run
    (found,) = answer([Claim(id="c", says="So it is.", checks=list(checks))], runs)
    return found


def cost(**more: object) -> Cost:
    base: dict[str, object] = {
        "says": "dearer", "of": "vm", "beside": "crun", "metrics": ["startup.ready"],
        "run": "tarebench run quick",
    }  # fmt: skip
    return Cost(**{**base, **more})  # type: ignore[arg-type]


def without(run: RunData, *runtimes: str) -> RunData:
    table = run.stored()
    return from_table(run.manifest, table[~table["runtime"].isin(runtimes)])


def test_what_is_so_for_every_box_holds(run: RunData) -> None:
    found = asked(run, READY)
    assert found.verdict is Verdict.HOLDS
    assert {each.box for each in found.parts[0].findings} == {"crun", "docker"}
    assert found.commands == ()


def test_what_is_so_for_none_does_not_hold(run: RunData) -> None:
    assert asked(run, replace_(READY, below=1e-6)).verdict is Verdict.DOES_NOT_HOLD


def test_what_is_so_for_some_depends_and_says_on_what(run: RunData) -> None:
    found = asked(run, replace_(READY, below=0.05))
    assert found.verdict is Verdict.DEPENDS
    assert found.on == "the box: not so for docker"


def test_an_interval_over_the_margin_decides_nothing_and_asks_for_more_blocks(run: RunData) -> None:
    ratio = asked(run, cost(at_least=2.0)).parts[0].counted[0].value
    assert ratio is not None
    found = asked(run, cost(at_least=ratio.value))
    assert found.verdict is Verdict.NOT_DECIDED
    assert found.commands == ("tarebench run quick --repeat 80",)


def test_a_cost_is_judged_against_its_margin_both_ways(run: RunData) -> None:
    assert asked(run, cost(at_least=2.0)).verdict is Verdict.HOLDS
    assert asked(run, cost(at_most=2.0)).verdict is Verdict.DOES_NOT_HOLD
    assert asked(run, cost(of="crun", beside="kvm", at_most=1.0)).verdict is Verdict.HOLDS


def test_an_emulated_machine_decides_nothing_and_has_no_number(run: RunData) -> None:
    found = asked(without(run, "kvm"), cost(at_least=2.0, needs="KVM"))
    assert found.verdict is Verdict.NOT_DECIDED
    (finding,) = found.parts[0].findings
    assert not finding.counts
    assert finding.value is None
    assert found.parts[0].why == "qemu: emulated in software"
    assert found.commands == ("tarebench run quick (on a host with KVM)",)


def test_beside_a_true_machine_an_emulated_one_is_shown_and_not_counted(run: RunData) -> None:
    part = asked(run, cost(at_least=2.0)).parts[0]
    assert [(each.box, each.counts) for each in part.findings] == [("kvm", True), ("qemu", False)]


def test_a_guard_that_blocks_leaves_nothing_decided(run: RunData) -> None:
    guard = {"name": "swap", "value": "yes", "severity": "block", "text": "The host swapped."}
    blocked = from_table({**run.manifest, "guards": [guard]}, run.stored())
    found = asked(blocked, READY, cost(at_least=2.0))
    assert found.verdict is Verdict.NOT_DECIDED
    assert "crun: The host swapped; " in found.parts[0].why


def test_failed_starts_are_no_fast_starts(tmp_path: Path) -> None:
    plan = Plan(runtimes=("crun",), blocks=20, memory=False, phases=False)
    fail = {number: (Outcome.FAILED, "no reply") for number in range(200)}
    failing = load_run(make_run(tmp_path / "run", replace(plan, fail=fail)))
    assert asked(failing, READY).parts[0].why == "no run has startup.ready"
    some = {number: (Outcome.FAILED, "no reply") for number in range(45)}
    half = load_run(make_run(tmp_path / "half", replace(plan, fail=some)))
    value = asked(half, READY).parts[0].findings[0].value
    assert value is not None
    assert value.n == 20
    assert value.value < 0.5


def test_values_of_two_runs_are_never_set_beside_each_other(run: RunData) -> None:
    apart = [without(run, "kvm", "qemu"), without(run, "crun", "docker")]
    found = asked(apart, cost(at_least=2.0))
    assert found.verdict is Verdict.NOT_DECIDED
    assert found.parts[0].why == "no run has both vm and crun, measured alike"


def test_a_metric_that_no_run_has_is_said(run: RunData) -> None:
    found = asked(run, Fact(says="f", metric="isolation.kernel", at_most=0, run="tarebench run it"))
    assert (found.verdict, found.parts[0].why) == (
        Verdict.NOT_DECIDED,
        "no run has isolation.kernel",
    )
    assert found.commands == ("tarebench run it",)


def test_a_fact_needs_no_interval_and_must_be_the_same_in_every_trial(run: RunData) -> None:
    table = run.stored()
    table.loc[table["metric"] == "startup.job", "metric"] = "isolation.kernel"
    rows = table["metric"] == "isolation.kernel"
    table.loc[rows, "value"] = (table.loc[rows, "runtime"] == "kvm").astype(float)
    made = from_table(run.manifest, table)
    none = Fact(says="none", of="container", metric="isolation.kernel", at_most=0)
    own = Fact(says="own", of="vm", metric="isolation.kernel", at_least=1)
    assert asked(made, none, own).verdict is Verdict.HOLDS
    table.loc[table.index[rows & (table["runtime"] == "crun")][0], "value"] = 1.0
    mixed = asked(from_table(run.manifest, table), none)
    assert mixed.verdict is Verdict.NOT_DECIDED
    assert mixed.parts[0].why == "it is not the same in every trial"


def test_where_more_is_better_a_cost_is_the_inverse(run: RunData) -> None:
    table = run.stored()
    table.loc[table["metric"] == "startup.job", "metric"] = "cpu.events"
    table.loc[table["metric"] == "cpu.events", "unit"] = "1/s"
    made = from_table(run.manifest, table)
    found = asked(made, cost(metrics=["cpu.events"], at_least=2.0))
    assert found.verdict is Verdict.DOES_NOT_HOLD  # its larger numbers are the better ones here


def test_every_number_of_a_claim_shares_one_confidence(run: RunData) -> None:
    found = asked(run, READY, cost(at_least=2.0))
    assert found.confidence == pytest.approx(1 - 0.05 / 3)  # two shares, one cost that counts
    intervals = [f.value.interval for p in found.parts for f in p.counted if f.value]
    assert {each.confidence for each in intervals if each} == {found.confidence}


def replace_(check: Share, **more: float) -> Share:
    return msgspec.structs.replace(check, **more)


# The shipped claims.


@pytest.fixture(scope="module")
def shipped() -> Mapping[str, Answer]:
    runs = [load_run(path) for path in resources.reference_runs().values()]
    return {each.claim.id: each for each in answer(declared.read(), runs)}


def test_every_claim_has_a_verdict_and_what_is_open_a_way_or_a_reason(
    shipped: Mapping[str, Answer],
) -> None:
    assert list(shipped) == [
        "startup-subsecond", "container-faster-than-vm", "no-emulation-layer", "density",
        "shared-kernel", "same-or-similar-os", "cow-fast", "layered-small", "isolated-stack",
        "less-isolated-than-vm", "jail-holds", "metal-beats-hosted", "vm-attack-surface",
        "no-overhead-of-hypervisor", "client-server", "registry", "one-process", "portable",
    ]  # fmt: skip
    for each in shipped.values():
        assert each.parts
        if each.verdict is Verdict.NOT_DECIDED:
            assert each.commands or any(part.why for part in each.parts), each.claim.id


def test_nothing_of_virtual_machines_is_decided_by_emulated_ones(
    shipped: Mapping[str, Answer],
) -> None:
    for name in ("container-faster-than-vm", "density", "metal-beats-hosted"):
        assert shipped[name].verdict is Verdict.NOT_DECIDED
        assert any("kvm" in c or "KVM" in c or "esxi" in c for c in shipped[name].commands)
    for part in (part for each in shipped.values() for part in each.parts):
        assert not [f for f in part.counted if f.box.startswith("qemu")]


def test_what_the_reference_runs_do_decide(shipped: Mapping[str, Answer]) -> None:
    assert shipped["startup-subsecond"].verdict is Verdict.HOLDS
    assert shipped["isolated-stack"].verdict is Verdict.DEPENDS
    assert "docker,network=host" in shipped["isolated-stack"].on
    kernels = shipped["shared-kernel"].parts
    assert [part.verdict for part in kernels] == [Verdict.HOLDS, Verdict.NOT_DECIDED]


def test_claims_name_metrics_and_scenarios_in_form() -> None:
    for check in (check for claim in declared.read() for check in claim.checks):
        for metric in declared.metrics_of(check):
            assert metric in METRICS, metric
        assert re.fullmatch(r"(tarebench run [a-z-]+( --runtime [a-z,=]+)*)?", check.run)


# The file, and the command.


COST = "[[claim]]\nid='a'\nsays='b'\nchecks=[{kind='cost', says='c', metrics=['x']"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[[claim]]\nid = 'a'\nsays = 'b'", "a has no check"),
        ("[[claim]]\nid = 'a'\nsays = 'b'\ninclude = ['c']", "'c'"),
        ("[[claim]]\nid = 'a'\nsays = 'b'\nodd = 1", "odd"),
        ("[[claim]]\nid='a'\nsays='b'\nchecks=[{kind='fact', says='c', metric='x'}]", "no limit"),
        (f"{COST}, at_least=1, at_most=2}}]", "one of"),
        ("[[claim]]\nid='a'\nsays='b'\nchecks=[{kind='share', says='c'}]", "no metric"),
        ("[[claim]]\nid='a'\nsays='b'\nchecks=[{kind='guess', says='c'}]", "guess"),
        ("[[claim", "claim"),
    ],
)
def test_a_faulty_file_is_refused_with_its_fault(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(UsageError) as refused:
        declared.read(tmp_path / "mine.toml")
    assert told in refused.value.message
    assert "docs/claims.md" in refused.value.hint


def test_the_command_prints_every_claim_within_80_columns_and_as_json(tmp_path: Path) -> None:
    plan = Plan(runtimes=("crun", "qemu"), blocks=8, memory=False, phases=False)
    folder = str(make_run(tmp_path / "run", plan))
    shown = CliRunner().invoke(app, ["claims", folder, "--all"])
    assert shown.exit_code == 0
    assert all(each.id in shown.stdout for each in declared.read())
    assert max(map(len, shown.stdout.splitlines())) <= 80
    told = json.loads(CliRunner().invoke(app, ["claims", folder, "--json"]).stdout)
    verdicts = {each["id"]: each["verdict"] for each in told["claims"]}
    assert verdicts["startup-subsecond"] == "holds"
    assert verdicts["container-faster-than-vm"] == "not decided"


def test_a_run_that_cannot_be_read_is_said_and_the_rest_answered(tmp_path: Path) -> None:
    plan = Plan(runtimes=("crun",), blocks=8, memory=False, phases=False)
    good, newer = make_run(tmp_path / "good", plan), make_run(tmp_path / "newer", plan)
    manifest = newer / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema": 99}))
    shown = CliRunner().invoke(app, ["claims", str(good), str(newer), "--json"])
    assert shown.exit_code == 2
    assert "startup-subsecond" in shown.stdout
    assert "left out" in shown.stderr


def test_claims_in_chinese(run: RunData) -> None:
    with speaking("zh"):
        (found,) = answer(declared.read()[:1], [run])
        assert found.parts[0].verdict is Verdict.HOLDS
    shown = CliRunner().invoke(app, ["claims", str(run.folder), "--lang", "zh"])
    assert "成立" in shown.stdout
    assert "大多数容器在一秒之内启动。" in shown.stdout


def measured(experiment: str, box: str, chance: random.Random) -> list[Sample]:
    """What a trial of the scenario `claims` tells of the metrics that claims look at, with all of
    their dimensions, and with values that lie far on the claimed side."""
    slow = {"docker,client=cli": 2.0, "kvm": 50.0}.get(box, 1.0)
    told: dict[str, list[tuple[float, dict[str, str]]]] = {
        "startup": [(0.01 * slow, {"metric": "startup.ready"})],
        "density": [(4e6 * slow, {"metric": "density.slope"})],
        "cpu": [
            (100.0, {"metric": f"cpu.{name}", "threads": "1"})
            for name in ("events", "memory", "syscalls", "switches", "forks", "faults", "compress")
        ],
        "io": [
            *((1e4, {"metric": f"io.{way}.iops", "depth": depth})
              for way, depth in itertools.product(("randread", "randwrite"), ("1", "16"))),
            *((1e8, {"metric": f"io.{way}.bandwidth", "depth": "4"})
              for way in ("seqread", "seqwrite")),
        ],
        "cow": [
            (value, {"metric": f"cow.{name}", "form": form, **more})
            for name, copied, more in (
                ("create", 9.0, {}), ("first_write", 1.0, {"size": "16 MiB"}),
                ("fleet_bytes", 9.0, {"instances": "2"}),
            )
            for form, value in (("overlay", 1.0), ("copy", copied))
        ],
        "registry": [
            (value, {"metric": f"registry.{way}_bytes", "state": state})
            for way in ("push", "pull")
            for state, value in (("cold", 9e7), ("shared", 1e6))
        ],
    }  # fmt: skip
    return [
        Sample((name := where.pop("metric")), value * chance.uniform(0.99, 1.01),
               METRICS[name].unit, where)
        for value, where in told.get(experiment, [])
    ]  # fmt: skip


@pytest.fixture(scope="module")
def collected(run: RunData) -> RunData:
    """The scenario `claims` by its own plan, on a host with KVM."""
    scenario, chance = load("claims"), random.Random(1)
    assert set(scenario.runtimes) == set(CLASSES)
    able = {"registry": {"docker"}, "cow": {"runc", "docker", "kvm"}}
    offers = {
        box: [
            name
            for name, own in scenario.experiments.chosen().items()
            if box not in own.without and box in able.get(name, CLASSES)
        ]
        for box in CLASSES
    }
    records = [
        msgspec.structs.replace(
            ok_record(trial.experiment, trial.runtime, CLASSES[trial.runtime], trial.block,
                      measured(trial.experiment, trial.runtime, chance)),
            trial=trial.trial,
        )
        for trial in make_plan(scenario, offers, seed=1)
        if trial.runtime in CLASSES and trial.experiment != "repeat" and not trial.warmup
    ]  # fmt: skip
    return from_records({**run.manifest, "plan": []}, records)


TIMED = {
    "startup-subsecond", "container-faster-than-vm", "no-emulation-layer", "density", "cow-fast",
    "layered-small", "no-overhead-of-hypervisor", "registry",
}  # fmt: skip
"""The claims with intervals that the scenario `claims` collects data for."""


def open_of(run: RunData) -> set[str]:
    """Those of them that lack blocks."""
    few = re.compile("of the [0-9]+ blocks that an interval needs")
    answers = [each for each in answer(declared.read(), [run]) if each.claim.id in TIMED]
    assert len(answers) == len(TIMED)
    return {each.claim.id for each in answers if any(few.search(part.why) for part in each.parts)}


def test_the_scenario_has_the_blocks_that_its_claims_need_and_no_more(collected: RunData) -> None:
    assert open_of(collected) == set()
    table = collected.stored()
    for experiment, claim in (
        ("cpu", "no-overhead-of-hypervisor"), ("cow", "cow-fast"), ("registry", "registry"),
    ):  # fmt: skip
        own = table["experiment"] == experiment
        fewer = table[~own | (table["block"] < table[own]["block"].max())]
        assert claim in open_of(from_table(collected.manifest, fewer)), experiment
