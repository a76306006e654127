"""Guards of a run: what was stored, and what trials and canary add to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.analysis import conditions
from harness.analysis.frames import load_run
from harness.report import audit
from harness.report.writer import build
from tests.synthetic import Plan, make_run

CALM = {
    "load_before": 0.1, "running_before": 0, "trial_busy_s": 0.1, "trial_steal_s": 0.0,
    "trial_pressure_cpu_s": 0.0, "trial_swapped_pages": 0, "trial_throttled": 0,
}  # fmt: skip


def run_with(folder: Path, **changes: Any) -> Path:
    """A run whose every trial had calm weather, but for what `changes` says of crun's."""
    make_run(folder, Plan(runtimes=("bare", "crun"), blocks=6, host={"threads": 2}))
    journal = folder / "journal.jsonl"
    records = [json.loads(line) for line in journal.read_text().splitlines()]
    for record in records:
        record["conditions"] |= CALM | (changes if record["runtime"] == "crun" else {})
    journal.write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def found(folder: Path) -> dict[str, conditions.Guard]:
    return {guard.name: guard for guard in conditions.guards(load_run(folder))}


def test_calm_trials_add_nothing_that_warns(tmp_path: Path) -> None:
    guards = found(run_with(tmp_path / "run"))
    assert {"nesting", "ksm"} <= set(guards), "the stored ones stay"
    derived = {name: guard for name, guard in guards.items() if name not in ("nesting", "ksm")}
    assert set(derived) == {"canary", "steal_meanwhile", "running_before"}
    assert {guard.severity for guard in derived.values()} == {conditions.INFO}


@pytest.mark.parametrize(
    ("changes", "name", "value"),
    [
        ({"trial_steal_s": 2.0}, "steal_meanwhile", "in 12 of 37 trials"),
        ({"trial_swapped_pages": 5}, "swapped_pages", "in 12 of 37 trials"),
        ({"trial_throttled": 1}, "throttled", "in 12 of 37 trials"),
        ({"changed_thp": "madvise → always"}, "thp changed", "madvise → always"),
    ],
)
def test_bad_weather_warns(tmp_path: Path, changes: dict[str, Any], name: str, value: str) -> None:
    guards = found(run_with(tmp_path / "run", **changes))
    assert guards[name].severity == conditions.WARN
    assert value in guards[name].value


def test_tasks_that_wait_before_most_trials_warn(tmp_path: Path) -> None:
    folder = run_with(tmp_path / "run", running_before=7)
    assert found(folder)["running_before"].severity == conditions.INFO
    journal = folder / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"running_before": 0', '"running_before": 4'))
    guard = found(folder)["running_before"]
    assert (guard.severity, guard.value) == (
        conditions.WARN, "4.0 other tasks on 2 CPUs (median), at most 7"
    )  # fmt: skip


def test_an_accelerator_is_a_guard(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Plan(runtimes=("bare", "qemu"), blocks=2))
    guard = found(folder)["accelerator"]
    assert (guard.value, guard.severity) == ("qemu: tcg", conditions.WARN)


def test_the_report_shows_the_weather_by_runtime(tmp_path: Path) -> None:
    folder = run_with(tmp_path / "run", trial_pressure_cpu_s=1000.0, load_before=3.5)
    rows = {row[0]: row for row in audit.weather(load_run(folder)).rows}
    assert rows["crun"][2] == "3.5"
    assert rows["bare"][2] == "0.10"
    assert rows["bare"][5] == "0 %"
    assert rows["crun"][5] != "0 %"
    build([load_run(folder)], tmp_path / "report.md", format="md")
    assert (
        "What the host was like around the measured trials" in (tmp_path / "report.md").read_text()
    )


def test_a_run_that_recorded_none_has_none(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", Plan(runtimes=("bare",), blocks=2)))
    assert conditions.weather(run) == []
    assert audit.weather(run).rows == ()
