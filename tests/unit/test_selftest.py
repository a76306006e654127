"""A/A reports of one run: what counts as false, what as found, and how it is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness import registry, selftest_text
from harness.analysis import selftest, statistics
from harness.analysis.frames import RunData, from_records
from harness.analysis.verdicts import Verdict
from harness.model import Outcome, Sample, Trial, TrialRecord

NAMES = ("bare,label=a1", "bare,label=b1", "bare,label=a2", "bare,label=b2")
SIZE = 10


def run_of(blocks: int, *, longer: float = 1.0, noise: float = 0.03, missing: int = 0) -> RunData:
    """Pairs of names that differ in nothing, or whose second is `longer`; of the last block,
    `missing` trials were not run."""
    dice = np.random.default_rng(3)
    plan: list[Trial] = []
    records: list[TrialRecord] = []
    for block in range(blocks):
        for position, name in enumerate(NAMES):
            trial = Trial(f"{len(plan):05d}", "startup", name, block, position)
            plan.append(trial)
            ready = float(np.exp(dice.normal(0, noise))) * (longer if "=b" in name else 1)
            samples = [Sample("startup.ready", ready, "s"),
                       Sample("startup.exited", ready + dice.random(), "s")]  # fmt: skip
            records.append(
                TrialRecord(
                    trial=trial.trial, experiment="startup", runtime=name,
                    runtime_class="bare metal", accel="none", block=block, position=position,
                    warmup=False, outcome=Outcome.OK, reason="", started_utc="now", wall_s=1.0,
                    samples=samples,
                )
            )  # fmt: skip
    manifest = {
        "schema": 1, "run": "made",
        "plan": [{"trial": t.trial, "experiment": t.experiment, "runtime": t.runtime,
                  "block": t.block, "position": t.position} for t in plan],
        "scenario": {"runtimes": list(NAMES), "thresholds": {"startup.ready": {"ratio": 1.1}}},
    }  # fmt: skip
    return from_records(manifest, records[: len(records) - missing])


def reports(run: RunData) -> list[selftest.Report]:
    return list(selftest.reports(run, selftest.paired_names(NAMES), SIZE))


def test_each_pair_and_each_ten_blocks_are_a_report() -> None:
    found = reports(run_of(30))
    assert [(each.names, each.first_block) for each in found] == [
        (pair, first) for first in (0, 10, 20) for pair in (NAMES[:2], NAMES[2:])
    ]
    assert {each.metric for each in found[0].judged} == {"startup.ready", "startup.exited"}
    assert not any(each.is_false for each in found)
    assert all(each.finds for each in found), "at 3 % noise ten blocks find a tenth"


def test_an_unfinished_block_makes_no_report() -> None:
    assert selftest.whole(run_of(30), SIZE) == 3
    assert selftest.whole(run_of(30, missing=1), SIZE) == 2
    assert selftest.whole(run_of(9), SIZE) == 0
    assert selftest.assess(run_of(9), SIZE, reports(run_of(9))) is None


def test_a_box_that_differs_from_itself_is_counted() -> None:
    run = run_of(20, longer=1.5)
    found = reports(run)
    told = selftest.assess(run, SIZE, found)
    assert told is not None
    assert told.false_reports == told.reports == 4
    assert not told.holds
    assert told.verdicts["startup.ready"] == {Verdict.WORSE: 4}


def test_the_promise_needs_enough_reports() -> None:
    n = selftest.fewest_reports()
    short, enough = (statistics.success_rate(0, each) for each in (n - 1, n))
    assert short is not None
    assert enough is not None
    assert short.high > selftest.PROMISE >= enough.high


def test_it_is_told_to_people_and_to_scripts() -> None:
    run = run_of(20)
    found = reports(run)
    told = selftest.assess(run, SIZE, found)
    assert told is not None
    text = selftest_text.text(told, "bare", 80)
    assert max(map(len, text.splitlines())) <= 80
    assert "4 reports of 10 blocks: 0 with a false verdict" in text.replace("\n", " ")
    assert "too few reports" in text.replace("\n", " ")
    said = json.loads(json.dumps(selftest_text.document(told, found, "bare", Path("x"))))
    assert (said["reports"], said["false_reports"], said["holds"]) == (4, 0, False)
    assert said["verdicts"]["startup.ready"]["equivalent"] == 4
    assert said["false"] == []


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("bare,label=again", "bare,label=again"),
        ("bare, label = B.2 ,cgroup=on", "bare,cgroup=on,label=B.2"),
        ("docker,label=x,network=bridge", "docker,label=x"),
    ],
)
def test_a_label_is_a_second_name(given: str, canonical: str) -> None:
    assert registry.canonical(given) == canonical
