"""The ladder's arithmetic on stored runs: derived rows, costs in turn and last, remainders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.analysis import boots, ladder
from harness.analysis.export import to_csv, write_samples
from harness.analysis.frames import RunData, load_run
from harness.analysis.summary import summarise
from harness.model import Outcome, Sample, Trial, TrialRecord
from harness.report.sections import ladder as section
from harness.report.waterfall import signed
from tests.synthetic import Plan, make_run

RUNGS: list[dict[str, Any]] = [
    {"name": "exec", "runtime": "a", "over": None, "without": None},
    {"name": "root", "runtime": "b", "over": "exec", "without": None},
    {"name": "group", "runtime": "c", "over": "root", "without": None},
    {"name": "no root", "runtime": "d", "over": "group", "without": "root"},
    {"name": "other", "runtime": "e", "over": "exec", "without": None},
    {"name": "engine", "runtime": "f", "over": "group", "without": None},
]
READY_MS = {"a": 1.0, "b": 1.4, "c": 11.0, "d": 10.9, "e": 0.8, "f": 100.0}
BLOCKS = 8


def store(
    folder: Path, rungs: list[dict[str, Any]] = RUNGS, fail: str = "", blocks: int = BLOCKS
) -> RunData:
    """A run in which each rung takes its time, a little more in each block."""
    trials = [
        Trial(trial=f"{b:02d}{r}", experiment="ladder", runtime=r, block=b, position=0)
        for b in range(blocks)
        for r in READY_MS
    ]
    manifest = {
        "schema": 1, "run": "r", "plan": msgspec.to_builtins(trials),
        "scenario": {"name": "ladder", "experiments": {"ladder": {"rungs": rungs}}},
        "skipped": {},
    }  # fmt: skip
    names = {rung["runtime"]: rung["name"] for rung in rungs}
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with (folder / "journal.jsonl").open("wb") as journal:
        for trial in trials:
            failed = trial.runtime == fail
            value = READY_MS[trial.runtime] / 1e3 + trial.block * 1e-6
            dimensions = {"rung": names[trial.runtime]} if trial.runtime in names else {}
            record = TrialRecord(
                trial=trial.trial, experiment="ladder", runtime=trial.runtime,
                runtime_class="jail", accel="none", block=trial.block, position=0, warmup=False,
                outcome=Outcome.FAILED if failed else Outcome.OK, reason="no" * failed,
                started_utc="", wall_s=0.1,
                samples=[] if failed else
                [Sample(metric="ladder.ready", value=value, unit="s", dimensions=dimensions)],
            )  # fmt: skip
            journal.write(msgspec.json.encode(record) + b"\n")
    return load_run(folder)


def read(run: RunData) -> ladder.Ladder:
    found = ladder.read(run)
    assert found is not None
    return found


def test_added_rows_stand_behind_what_they_follow_from(tmp_path: Path) -> None:
    run = store(tmp_path / "r")
    added = run.samples[run.samples["metric"] == "ladder.added"]
    assert len(added) == BLOCKS * 5
    first = added.iloc[0]
    before = run.samples.iloc[int(str(added.index[0])) - 1]
    assert (before["metric"], before["trial"]) == ("ladder.ready", first["trial"])
    assert first["value"] == pytest.approx(0.4e-3)
    assert json.loads(first["dimensions"]) == {"over": "exec", "rung": "root"}
    assert b"ladder.added" in to_csv(run)


def test_a_stored_table_gives_the_same_rows(tmp_path: Path) -> None:
    run = store(tmp_path / "r")
    write_samples(run, tmp_path / "r")
    (tmp_path / "r" / "journal.jsonl").unlink()
    again = load_run(tmp_path / "r")
    assert again.samples["metric"].tolist() == run.samples["metric"].tolist()
    assert again.samples["value"].tolist() == pytest.approx(run.samples["value"].tolist())


def test_costs_in_turn_and_last(tmp_path: Path) -> None:
    found = read(store(tmp_path / "r"))
    root, other = found.step("root"), found.step("other")
    assert root.added is not None
    assert root.last is not None
    assert root.added.value == pytest.approx(0.4e-3)
    assert root.last.value == pytest.approx(0.1e-3)
    assert other.added is not None
    assert other.added.value == pytest.approx(-0.2e-3)
    assert [s.name for s in found.steps if not s.main] == ["other"]
    assert found.whole == "group"
    assert "no root" not in [s.name for s in found.steps]


def test_remainder_is_the_total_less_costs_that_were_timed_apart(tmp_path: Path) -> None:
    found = read(store(tmp_path / "r"))
    by_rung = {each.rung: each for each in found.remainders}
    assert set(by_rung) == {"group", "engine"}
    for each, total in ((by_rung["group"], 11.0), (by_rung["engine"], 100.0)):
        # exec 1.0, root last 0.1 instead of 0.4 in turn: 0.3 ms is left
        assert each.left.value == pytest.approx(0.3e-3)
        assert each.costs == pytest.approx(total / 1e3 + 3.5e-6 - 0.3e-3)
        assert each.left.interval is not None


def test_a_rung_without_a_value_says_why_and_the_rest_stands(tmp_path: Path) -> None:
    found = read(store(tmp_path / "r", fail="c"))
    assert found.step("group").absent == "no launch succeeded"
    assert found.step("engine").absent == "group has no value to compare with"
    assert found.step("root").added is not None
    assert found.remainders == ()


def test_the_table_says_it(tmp_path: Path) -> None:
    run = store(tmp_path / "r")
    table = section.rungs_table(read(run))
    row = next(row for row in table.rows if row[0] == "root")
    assert row[1:3] == ("exec", "400 µs")
    assert row[4] == "100 µs"
    assert signed(-2e-4) == "\N{MINUS SIGN}200 µs"
    assert signed(2e-4) == "+200 µs"


def test_a_run_without_a_ladder_has_none(tmp_path: Path) -> None:
    assert ladder.read(store(tmp_path / "r", rungs=[])) is None


def test_the_section_has_its_charts_and_tables(tmp_path: Path) -> None:
    run = store(tmp_path / "r")
    made = section.make(run, summarise(run))
    assert made is not None
    charts = {e.name: e.chart for e in made.exhibits}
    engines = charts["ladder_engines"]
    assert engines is not None
    assert "engine over group +89.0 ms" in engines.alt
    mechanisms = charts["ladder_mechanisms"]
    assert mechanisms is not None
    assert "other over exec \N{MINUS SIGN}200 µs, a branch" in mechanisms.alt
    assert made.exhibits[-1].name == "ladder_remainder"


def test_the_answer_names_what_adds_most_and_is_silent_where_a_guard_blocks(tmp_path: Path) -> None:
    run = store(tmp_path / "r")
    made = section.make(run, summarise(run))
    assert made is not None
    told = made.answers[0].headline
    assert told.startswith("From exec (1.00 ms) to engine (100 ms), most is added by engine (+89.0")
    guard = {"name": "swap", "value": 1, "severity": "block", "text": "The host swaps."}
    blocked = replace(run, manifest={**run.manifest, "guards": [guard]})
    silent = section.make(blocked, summarise(blocked))
    assert silent is not None
    assert silent.answers == ()


def test_too_few_blocks_for_the_answer_are_told(tmp_path: Path) -> None:
    run = store(tmp_path / "r", blocks=5)
    made = section.make(run, summarise(run))
    assert made is not None
    (answer,) = made.answers
    assert answer.headline == "Which mechanism adds most is not decided."
    assert answer.detail == "5 of the 8 blocks that an interval needs."


def test_a_boots_stages_add_up_and_its_inflation_is_told(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "r", Plan(runtimes=("bare", "qemu"), blocks=8)))
    (boot,) = boots.read(run)
    assert boot.runtime == "qemu"
    assert [stage.mark for stage in boot.stages] == ["vmm", "kernel", "ready"]
    assert boot.stages[0].start == 0
    assert boot.stages[-1].end == pytest.approx(boot.ready.value)
    assert all(stage.length.interval for stage in boot.stages)
    assert boot.plain is not None
    assert boot.inflation is not None
    assert boot.inflation.value == pytest.approx(boot.ready.value - boot.plain.value)
