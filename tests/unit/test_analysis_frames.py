"""Reading a stored run: whatever is left of it gives the same tables, and damage is told."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pytest

from harness.analysis.export import write_samples
from harness.analysis.frames import load_run
from harness.analysis.rows import Rows, Table
from harness.errors import UsageError
from harness.model import Outcome
from tests.synthetic import Plan, make_run

SMALL = Plan(runtimes=("bare", "runc", "qemu"), blocks=3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", SMALL)


def test_parquet_alone_gives_the_same_run(folder: Path) -> None:
    run = load_run(folder)
    write_samples(run, folder)
    (folder / "journal.jsonl").unlink()
    again = load_run(folder)
    assert again.samples.equals(run.samples)
    assert again.trials.equals(run.trials)
    marks = again.trials.loc[again.trials["experiment"] == "startup", "marks"].iloc[0]
    assert marks["ready"] > marks["request"]


def test_torn_last_line_is_ignored_without_a_word(folder: Path) -> None:
    whole = load_run(folder)
    journal = folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    run = load_run(folder)
    assert run.notes == ()
    assert len(run.trials) == len(whole.trials)
    assert run.trials.iloc[-1]["outcome"] == Outcome.INTERRUPTED.value
    assert run.trials.iloc[-1]["reason"] == "not run"


def test_damaged_line_in_the_middle_is_told_and_costs_one_trial(folder: Path) -> None:
    journal = folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[4] = b'{"trial": "broken\n'
    journal.write_bytes(b"".join(lines))
    run = load_run(folder)
    assert len(run.notes) == 1
    assert "line 5" in run.notes[0]
    assert (run.trials["reason"] == "not run").sum() == 1


def test_values_are_those_that_have_the_dimensions(folder: Path) -> None:
    run = load_run(folder)
    every = run.values("memory.charged", "runc")
    assert len(every) == SMALL.blocks
    assert run.values("memory.charged", "runc", state="idle").equals(every)
    assert run.values("memory.charged", "runc", state="touched").empty
    assert run.values("memory.charged", "nothing", state="idle").empty
    assert run.values("startup.ready", "runc", state="idle").empty


def test_what_the_trials_of_a_runtime_tell_is_each_value_once(folder: Path) -> None:
    run = load_run(folder)
    names = run.kinds("runtime").pandas()
    looked_at = 0
    for key in run.keys("conditions"):
        told = run.told("conditions", key)
        for runtime in names.unique():
            own = [told[place] for place in told.index if names[place] == runtime]
            assert run.told_of("conditions", key, runtime) == list(dict.fromkeys(own))
            looked_at += len(own)
    assert looked_at
    assert run.told_of("conditions", "no such key", "runc") == []


def test_last_record_of_a_trial_counts(folder: Path) -> None:
    journal = folder / "journal.jsonl"
    last = json.loads(journal.read_bytes().splitlines()[-1])
    last |= {"outcome": "failed", "reason": "second try", "samples": []}
    with journal.open("a") as file:
        file.write(json.dumps(last) + "\n")
    trials = load_run(folder).trials
    assert trials["trial"].is_unique
    assert trials.iloc[-1]["reason"] == "second try"


def test_values_are_of_measured_ok_trials_by_block(tmp_path: Path) -> None:
    plan = Plan(runtimes=("bare", "runc"), blocks=4, memory=False)
    first = load_run(make_run(tmp_path / "a", plan))
    startup = first.trials[(first.trials["experiment"] == "startup") & ~first.trials["warmup"]]
    victim = startup[startup["runtime"] == "runc"].iloc[0]
    fail = {int(victim["trial"]): (Outcome.FAILED, "no such luck")}
    run = load_run(make_run(tmp_path / "b", Plan(("bare", "runc"), 4, fail=fail, memory=False)))
    assert len(run.values("startup.ready", "bare")) == 4
    values = run.values("startup.ready", "runc")
    assert victim["block"] not in values.index
    assert len(values) == 3


def test_run_that_was_killed_at_once_is_readable(folder: Path) -> None:
    (folder / "journal.jsonl").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    for key in ("finished_utc", "outcome"):
        del manifest[key]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    run = load_run(folder)
    assert (run.trials["outcome"] == "interrupted").all()
    assert run.samples["value"].isna().all()


@pytest.mark.parametrize("schema", [2, 99, 0, None, "1", True])
def test_unknown_schema_is_refused(folder: Path, schema: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "schema": schema}))
    with pytest.raises(UsageError) as raised:
        load_run(folder)
    assert raised.value.hint


@pytest.mark.parametrize("content", ["", "[]", "{", "null"])
def test_damaged_manifest_is_refused(folder: Path, content: str) -> None:
    (folder / "manifest.json").write_text(content)
    with pytest.raises(UsageError):
        load_run(folder)


def test_a_number_of_a_text_that_is_not_there_is_refused() -> None:
    codes = pa.array([0, 1, 7], pa.int32())
    column = pa.DictionaryArray.from_arrays(codes, pa.array(["bare", "runc"]), safe=False)
    rows = Rows(Table(pa.table({"runtime": column}), {}))
    with pytest.raises(UsageError, match="cannot be read"):
        rows.words("runtime")


def test_damaged_parquet_is_refused(folder: Path) -> None:
    (folder / "journal.jsonl").unlink()
    (folder / "samples.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UsageError, match="cannot be read"):
        load_run(folder)


def test_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<html><a href='x'>no data here</a></html>")
    (tmp_path / "file.txt").write_text("hello")
    (tmp_path / "empty").mkdir()
    for name in ("page.html", "file.txt", "empty", "missing"):
        with pytest.raises(UsageError) as raised:
            load_run(tmp_path / name)
        assert raised.value.hint
