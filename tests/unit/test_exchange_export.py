"""Runs in other tools' formats, read back by those tools' own parsers."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from harness.analysis import statistics
from harness.analysis.frames import RunData, load_run
from harness.errors import HarnessError
from harness.exchange.document import Document, to_json
from harness.exchange.export import FORMATS, export
from harness.exchange.openmetrics import to_openmetrics
from harness.exchange.pytest_benchmark import to_pytest_benchmark
from harness.model import Outcome
from harness.resources import reference_runs
from tests.synthetic import Plan, make_run

BLOCKS = 8
BAD = {20: (Outcome.FAILED, 'a "quoted"\nreason')}
PLAN = Plan(runtimes=("bare", "runc", "qemu"), blocks=BLOCKS, fail=BAD, stop_after=70)
REFERENCES = [
    pytest.param(name, marks=[] if name in ("quick", "io") else [pytest.mark.slow])
    for name in sorted(reference_runs())
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    return load_run(make_run(tmp_path_factory.mktemp("runs") / "run", PLAN))


def hostile(run: RunData) -> RunData:
    """The same with names that break a careless writer."""
    samples, trials = run.samples.copy(), run.trials.copy()
    name = 'ru"n\\c\n# EOF'
    for table in (samples, trials):
        table["runtime"] = table["runtime"].replace("runc", name)
    samples["dimensions"] = samples["dimensions"].replace("{}", '{"run time":"<\\"\\n>","le":"x"}')
    return RunData(run.run, run.manifest, trials, samples)


def test_the_document_is_the_whole_run_in_its_documented_shape(run: RunData) -> None:
    document = msgspec.json.decode(to_json(run), type=Document, strict=True)
    assert (document.format, document.version, document.run) == ("tarebench-run", 1, run.run)
    assert document.manifest == run.manifest
    assert [t.trial for t in document.trials] == list(run.trials["trial"])
    stored = run.samples[run.samples["metric"] != "trial.wall"]
    values = [s for t in document.trials for s in t.samples]
    assert len(values) == len(stored)
    assert sum(s.value or 0 for s in values) == pytest.approx(stored["value"].sum())
    assert {s.metric for s in values} <= set(document.metrics)


def test_what_was_not_run_is_null_and_never_zero(run: RunData) -> None:
    trials = json.loads(to_json(run))["trials"]
    missing = [t for t in trials if t["reason"] == "not run"]
    assert missing
    assert all(t["wall_s"] is None and t["samples"] == [] for t in missing)
    failed = next(t for t in trials if t["outcome"] == "failed")
    assert failed["samples"] == []


def benchmarks(run: RunData) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(to_pytest_benchmark(run).data)["benchmarks"]
    return found


def test_a_benchmark_holds_the_values_of_the_trials(run: RunData) -> None:
    one = next(b for b in benchmarks(run) if b["name"] == "startup.ready[runc]")
    values = run.values("startup.ready", "runc")
    assert one["stats"]["data"] == list(values)
    assert one["stats"]["rounds"] == len(values)
    assert one["stats"]["median"] == values.median()
    assert one["stats"]["stddev"] == pytest.approx(values.std())
    assert one["extra_info"]["failed_trials"] == int(
        (
            (run.trials["runtime"] == "runc")
            & (run.trials["experiment"] == "startup")
            & (run.trials["outcome"] == "failed")
        ).sum()
    )


def test_only_times_become_benchmarks_and_the_rest_is_named(run: RunData) -> None:
    encoded = to_pytest_benchmark(run)
    metrics = {b["extra_info"]["metric"] for b in json.loads(encoded.data)["benchmarks"]}
    assert "startup.ready" in metrics
    assert not any(metric.startswith("memory.") for metric in metrics)
    assert any("memory.charged" in note for note in encoded.notes)


def test_emulated_boxes_are_never_in_one_group_with_others(run: RunData) -> None:
    groups: dict[str, set[bool]] = {}
    for each in benchmarks(run):
        groups.setdefault(each["group"], set()).add(each["extra_info"]["emulated"])
    assert all(len(kinds) == 1 for kinds in groups.values())
    assert "startup.ready, emulated in software" in groups


def compare(*files: Path) -> str:
    """What `pytest-benchmark compare` prints; it reports a file that it cannot read."""
    program = Path(sys.executable).with_name("pytest-benchmark")
    done = subprocess.run(
        [program, "compare", *files], capture_output=True, text=True, check=False,
        cwd=files[0].parent, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Failed" not in done.stdout + done.stderr
    return done.stdout


def test_pytest_benchmark_compares_two_runs(run: RunData, tmp_path: Path) -> None:
    other = load_run(make_run(tmp_path / "other", Plan(runtimes=("bare", "runc"), seed=2)))
    for name, each in (("0001_base", run), ("0002_new", other)):
        export(each, "pytest-benchmark", tmp_path / f"{name}.json")
    said = compare(tmp_path / "0001_base.json", tmp_path / "0002_new.json")
    assert said.count("startup.ready[runc] (") == 2
    assert "'startup.ready, emulated in software'" in said


@pytest.mark.parametrize("name", REFERENCES)
def test_every_reference_run_reaches_every_tool(name: str, tmp_path: Path) -> None:
    loaded = load_run(reference_runs()[name])
    document = msgspec.json.decode(to_json(loaded), type=Document)
    assert len(document.trials) == len(loaded.trials)
    export(loaded, "pytest-benchmark", tmp_path / "0001_run.json")
    timed = json.loads((tmp_path / "0001_run.json").read_bytes())["benchmarks"]
    said = compare(tmp_path / "0001_run.json")
    assert all(each["group"] in said for each in timed)
    assert parsed(loaded)


def parsed(run: RunData) -> dict[str, Any]:
    """By the parser of Prometheus's own client, which refuses what the specification does."""
    text = to_openmetrics(run).data.decode()
    assert text.endswith("\n# EOF\n")
    families: list[Any] = list(text_string_to_metric_families(text))
    assert len({f.name for f in families}) == len(families)
    return {f.name: f for f in families}


def test_medians_and_their_intervals_are_gauges_in_base_units(run: RunData) -> None:
    families = parsed(run)
    ready = families["tarebench_startup_ready_seconds"]
    assert (ready.type, ready.unit) == ("gauge", "seconds")
    assert families["tarebench_memory_charged_bytes"].unit == "bytes"
    (sample,) = [s for s in ready.samples if s.labels["runtime"] == "runc"]
    estimate = statistics.median(run.values("startup.ready", "runc"))
    assert estimate is not None
    assert estimate.interval is not None
    assert sample.value == estimate.value
    low = families["tarebench_startup_ready_low_seconds"].samples
    assert [s.value for s in low if s.labels["runtime"] == "runc"] == [estimate.interval.low]
    assert families["tarebench_run"].type == "info"
    assert all(s.timestamp is not None for f in families.values() for s in f.samples)


def test_a_series_has_no_label_of_the_run_so_that_runs_lengthen_it(run: RunData) -> None:
    families = parsed(run)
    named = {n for n, f in families.items() if any("run" in s.labels for s in f.samples)}
    assert named == {"tarebench_run"}


def test_failures_are_counted_beside_the_times(run: RunData) -> None:
    samples = parsed(run)["tarebench_trials"].samples
    counted = sum(s.value for s in samples if s.labels["outcome"] == "failed")
    rows = run.trials[~run.trials["warmup"] & (run.trials["outcome"] == "failed")]
    assert counted == len(rows) > 0


def test_hostile_names_stay_text(run: RunData, tmp_path: Path) -> None:
    bad = hostile(run)
    families = parsed(bad)
    labels = [s.labels for s in families["tarebench_startup_ready_seconds"].samples]
    assert any(each["runtime"].startswith('ru"n\\c\n# EOF') for each in labels)
    assert any('<"\n>' in each.values() for each in labels)
    for form in FORMATS:
        export(bad, form, tmp_path / form)
    assert "startup.ready" in compare(tmp_path / "pytest-benchmark")
    assert json.loads((tmp_path / "json").read_bytes())["run"] == run.run


def test_a_run_without_a_single_value_is_exported_all_the_same(tmp_path: Path) -> None:
    nothing = load_run(make_run(tmp_path / "run", Plan(runtimes=("bare",), stop_after=0)))
    for form in FORMATS:
        export(nothing, form, tmp_path / form)
    assert json.loads((tmp_path / "pytest-benchmark").read_bytes())["benchmarks"] == []
    assert not any(math.isnan(s.value) for f in parsed(nothing).values() for s in f.samples)


@pytest.mark.parametrize("form", list(FORMATS))
def test_a_place_that_takes_nothing_is_one_sentence_and_a_hint(
    run: RunData, form: str, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("taken")
    with pytest.raises(HarnessError) as raised:
        export(run, form, tmp_path / "file" / "out")
    assert "could not be written" in raised.value.message
    assert raised.value.hint


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_behind_standard_output_is_told(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Plan(runtimes=("bare",), blocks=1))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [Path(sys.executable).with_name("tarebench"), "export", folder, "--to", "csv"],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "No space left" in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
