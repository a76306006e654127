"""The export's contract: one row a sample, read by tools that know nothing of us."""

from __future__ import annotations

import csv
import json
from io import BytesIO
from pathlib import Path

import pandas as pd
import pytest

from harness.analysis.frames import CONTRACT, load_run
from harness.errors import HarnessError, UsageError
from harness.exchange.export import export
from harness.model import Outcome
from tests.synthetic import Plan, make_run

BLOCKS = 4
BAD = {
    20: (Outcome.FAILED, "=1+1"),
    25: (Outcome.TIMEOUT, "-2 seconds"),
    30: (Outcome.FAILED, "@x"),
}
PLAN = Plan(runtimes=("bare", "runc", "qemu"), blocks=BLOCKS, fail=BAD, stop_after=40)


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, str]]:
    run = load_run(make_run(tmp_path / "run", PLAN))
    export(run, "csv", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_columns_begin_with_the_contract(rows: list[dict[str, str]]) -> None:
    assert tuple(rows[0])[: len(CONTRACT)] == CONTRACT


def test_every_planned_trial_has_one_wall_row(rows: list[dict[str, str]], tmp_path: Path) -> None:
    plan = json.loads((tmp_path / "run" / "manifest.json").read_text())["plan"]
    wall = [row["trial"] for row in rows if row["metric"] == "trial.wall"]
    assert sorted(wall) == sorted(trial["trial"] for trial in plan)


def test_trials_that_are_not_ok_have_no_other_rows(rows: list[dict[str, str]]) -> None:
    bad = [row for row in rows if row["outcome"] != "ok"]
    assert {row["metric"] for row in bad} == {"trial.wall"}
    assert {row["outcome"] for row in bad} == {"failed", "timeout", "interrupted"}


def test_trials_that_were_not_run_have_no_value(rows: list[dict[str, str]]) -> None:
    missing = [row for row in rows if row["reason"] == "not run"]
    assert missing
    assert {row["value"] for row in missing} == {""}
    assert {row["outcome"] for row in missing} == {"interrupted"}
    assert all(row["runtime_class"] for row in missing if row["runtime"] != "host")


def test_blocks_count_measured_trials_alone(rows: list[dict[str, str]]) -> None:
    for runtime in ("bare", "runc", "qemu"):
        wanted = ("startup", runtime, "trial.wall")
        planned = [
            row["block"]
            for row in rows
            if (row["experiment"], row["runtime"], row["metric"]) == wanted
        ]
        assert sorted(planned) == [str(block) for block in range(BLOCKS)]


def test_warmups_are_named_so_and_have_no_samples(rows: list[dict[str, str]]) -> None:
    warmups = [row for row in rows if row["experiment"] == "warmup"]
    assert {row["metric"] for row in warmups} == {"trial.wall"}
    assert {row["warmup_of"] for row in warmups} == {"startup", "phases"}


def test_controls_are_never_mixed_with_others(rows: list[dict[str, str]]) -> None:
    for row in rows:
        if row["metric"] != "trial.wall":
            assert row["metric"].partition(".")[0] == row["experiment"]


def test_formulas_are_neutralised_and_numbers_are_not(rows: list[dict[str, str]]) -> None:
    reasons = {row["reason"] for row in rows}
    assert {"'=1+1", "'-2 seconds", "'@x"} <= reasons
    negative = [row["value"] for row in rows if row["value"].startswith("-")]
    assert all(float(value) < 0 for value in negative)
    assert not any(row["value"].startswith("'") for row in rows)


def test_dimensions_are_json_objects(rows: list[dict[str, str]]) -> None:
    found = {row["metric"]: json.loads(row["dimensions"]) for row in rows}
    assert found["memory.charged"]["state"] == "idle"
    assert found["trial.wall"] == {}


def test_parquet_holds_the_same_rows_as_they_are(
    rows: list[dict[str, str]], tmp_path: Path
) -> None:
    run = load_run(tmp_path / "run")
    export(run, "parquet", tmp_path / "deep" / "out.parquet")
    table = pd.read_parquet(BytesIO((tmp_path / "deep" / "out.parquet").read_bytes()))
    assert len(table) == len(rows)
    assert "=1+1" in set(table["reason"])
    assert list(table.columns) == list(rows[0])


def test_standard_output_gets_the_table(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    export(load_run(make_run(tmp_path / "run", PLAN)), "csv")
    assert capfdbinary.readouterr().out.startswith(",".join(CONTRACT).encode())


def test_unknown_format_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as raised:
        export(load_run(make_run(tmp_path / "run", PLAN)), "xlsx")
    assert "csv" in raised.value.hint


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", PLAN))
    (tmp_path / "taken").mkdir()
    with pytest.raises(HarnessError):
        export(run, "csv", tmp_path / "taken")
    assert {p.name for p in tmp_path.iterdir()} == {"run", "taken"}
