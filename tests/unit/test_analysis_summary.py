"""What may be said, and above all what may not."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis import phases
from harness.analysis.frames import RunData, load_run
from harness.analysis.language import speaking
from harness.analysis.summary import Summary, summarise
from harness.analysis.verdicts import Verdict
from harness.model import Outcome
from tests.synthetic import QUICK, Plan, make_run

Make = Callable[[Plan], RunData]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return lambda plan: load_run(make_run(tmp_path / "run", plan))


def text(summary: Summary) -> str:
    return "\n".join(summary.sentences)


def test_containers_are_ranked_with_simultaneous_intervals(make: Make) -> None:
    summary = summarise(make(Plan()))
    assert [(c.faster, c.slower) for c in summary.ranking] == [("crun", "runc"), ("crun", "docker")]
    assert {c.verdict for c in summary.ranking} == {Verdict.WORSE}
    assert summary.ready_family == 3 + 4
    assert summary.memory_family == 6
    for comparison in summary.ranking:
        assert comparison.ratio is not None
        assert comparison.ratio.interval is not None
        assert comparison.ratio.interval.confidence == pytest.approx(1 - 0.05 / 7)
        assert comparison.ratio.interval.low > 1
    assert re.search(
        r"crun is ready in [\d.]+ ms; runc takes [\d.]+ to [\d.]+ times", text(summary)
    )


def test_the_answer_reads_as_it_did(make: Make) -> None:
    """Golden: a change of words or of method shows here; write the file anew when it is meant."""
    golden = Path(__file__).parent.parent / "golden" / "answer.txt"
    assert text(summarise(make(Plan()))) + "\n" == golden.read_text()


def test_emulated_machines_decide_nothing(make: Make) -> None:
    summary = summarise(make(Plan()))
    assert "What a virtual machine costs is not decided on this host." in text(summary)
    assert "software emulation" in text(summary)
    assert not any("qemu" in (c.faster, c.slower) for c in summary.ranking)
    memory = next(s for s in summary.sentences if "idle instance" in s)
    assert "qemu" not in memory
    assert summary.undecided is not None
    assert "kvm" in summary.undecided.skipped


@pytest.mark.parametrize(
    "plan",
    [
        Plan(runtimes=(*QUICK, "kvm"), host={"emulated": True}),
        Plan(
            runtimes=(*QUICK, "kvm"),
            guards=({"name": "accel", "value": "pvm", "severity": "block", "text": "Not KVM."},),
        ),
    ],
)  # fmt: skip
def test_kvm_that_is_not_kvm_decides_nothing(make: Make, plan: Plan) -> None:
    summary = summarise(make(plan))
    assert "not decided on this host" in text(summary)
    assert not any("kvm" in (c.faster, c.slower) for c in summary.ranking)
    assert not any(c.decided for c in summary.memory if c.runtime == "kvm")
    assert [c.slower for c in summary.ranking] == ["runc", "docker"]


def test_unknown_accelerators_are_not_vouched_for(make: Make) -> None:
    run = make(Plan(runtimes=(*QUICK, "kvm")))
    run = replace(run, trials=run.trials.replace({"accel": {"kvm": "kvm-pvm"}}))
    assert "not decided on this host" in text(summarise(run))


def test_machines_on_hardware_are_compared(make: Make) -> None:
    summary = summarise(make(Plan(runtimes=(*QUICK, "kvm"))))
    assert "kvm" in [c.slower for c in summary.ranking]
    assert summary.undecided is None
    assert "kvm ran nested" in text(summary)
    assert "qemu" not in "".join(s for s in summary.sentences if "ready in" in s)


def test_a_disk_that_goes_past_the_page_cache_is_no_warm_one(make: Make) -> None:
    warm = "kvm,cache=writeback"
    summary = summarise(make(Plan(runtimes=(*QUICK, "kvm", warm))))
    assert summary.uncached == ("kvm",)
    assert "The disk of kvm goes past this host's page cache" in text(summary)
    assert not summarise(make(Plan(runtimes=(*QUICK, warm)))).uncached


def test_blocking_guard_takes_every_verdict_away(make: Make) -> None:
    guard = {"name": "swap", "value": 1, "severity": "block", "text": "The host was swapping."}
    summary = summarise(make(Plan(guards=(guard,))))
    assert {c.verdict for c in summary.ranking} == {Verdict.NO_CONCLUSION}
    assert "times as long" not in text(summary)
    assert "no conclusion (The host was swapping)." in text(summary)


def test_a_guard_of_the_host_is_a_reason_in_the_language_of_the_report(make: Make) -> None:
    told = "This is an emulated host: its processor is software, so no time taken here says "
    told += "anything about hardware, and what a virtual machine costs is not decided."
    guard = {"name": "nesting", "value": "emulated host", "severity": "block", "text": told}
    run = make(Plan(guards=(guard,)))
    assert f"no conclusion ({told[:-1]})." in text(summarise(run))
    with speaking("zh"):
        assert "emulated host" not in text(summarise(run))


def test_differences_below_the_channel_are_no_conclusion(make: Make) -> None:
    summary = summarise(make(Plan(round_trip_ns=50_000_000)))
    verdicts = {c.slower: c.verdict for c in summary.ranking}
    assert verdicts == {"runc": Verdict.NO_CONCLUSION, "docker": Verdict.WORSE}


def test_few_blocks_decide_nothing(make: Make) -> None:
    for blocks in (1, 2, 4):
        summary = summarise(make(Plan(blocks=blocks)))
        assert "times as long" not in text(summary)
        assert "An idle instance holds" not in text(summary)


def test_failures_are_told_and_are_no_times(make: Make) -> None:
    clean = make(Plan())
    startup = clean.trials[(clean.trials["runtime"] == "crun") & ~clean.trials["warmup"]]
    victims = startup[startup["experiment"] == "startup"]["trial"].astype(int).tolist()[:3]
    summary = summarise(make(Plan(fail={v: (Outcome.TIMEOUT, "too late") for v in victims})))
    row = next(r for r in summary.rows if r.runtime == "crun")
    assert (row.ok, row.tried, row.failures) == (7, 10, {"too late": 3})
    assert row.ready is not None
    assert row.ready.n == 7
    assert "3 trials did not succeed: 3 of crun." in text(summary)


def test_what_was_not_run_is_no_failure(make: Make) -> None:
    summary = summarise(make(Plan(stop_after=90)))
    assert "did not succeed" not in text(summary)
    assert all(row.failures == {} for row in summary.rows)


def test_phases_add_up_to_the_total_whatever_the_order_of_marks() -> None:
    marks = {"request": 100, "created": 400, "ready": 900, "started": 950, "vmm": 500, "stop": 2000}
    found = phases.between(marks, "request", "ready")
    assert [p.mark for p in found] == ["created", "vmm", "ready"]
    assert sum(p.seconds for p in found) == pytest.approx(800e-9)
    assert phases.between({"request": 1}, "request", "ready") == ()


def test_timeline_is_the_median_trial(make: Make) -> None:
    run = make(Plan(blocks=9))
    timeline = phases.startup(run, "docker")
    assert timeline is not None
    assert timeline.total == pytest.approx(float(run.values("startup.ready", "docker").median()))
    assert "started" not in [p.mark for p in timeline.phases]
