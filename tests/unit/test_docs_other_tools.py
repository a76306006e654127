"""The snippets of docs/other-tools.md, executed on stored runs as a reader would have them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import duckdb
import pytest

from harness.analysis.export import write_samples
from harness.analysis.frames import RunData, load_run
from harness.resources import reference_runs
from tests.synthetic import Plan, make_run

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "other-tools.md"


def snippets(language: str) -> list[str]:
    """The page's fenced blocks in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), flags=re.M | re.S)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[RunData]:
    """Two runs below the current folder: the shipped reference, and one with other figures."""
    folder = tmp_path / "results" / "runs"
    shutil.copytree(reference_runs()["quick"], folder / "a-reference")
    made = make_run(folder / "b-synthetic", Plan(blocks=6))
    write_samples(load_run(made), made)
    monkeypatch.chdir(tmp_path)
    return [load_run(folder / name) for name in ("a-reference", "b-synthetic")]


def test_duckdb_reads_all_runs(runs: list[RunData]) -> None:
    queries = snippets("sql")
    assert len(queries) == 5
    medians, outcomes, ratios, memory, hosts = (duckdb.execute(q).fetchall() for q in queries)
    told = {(run, runtime): (ms, trials) for run, runtime, ms, trials in medians}
    for run in runs:
        values = run.values("startup.ready", "crun")
        assert told[run.run, "crun"] == (pytest.approx(values.median() * 1000), len(values))
    assert ("crun", "ok", 52) in outcomes
    assert {runtime for _, runtime, _ in ratios} == {"chroot", "runc", "crun", "docker", "qemu"}
    assert all(times > 0 for _, _, times in ratios)
    assert {state for _, state, _ in memory} == {"idle"}
    assert [kernel for _, kernel, _ in hosts] == [run.manifest["host"]["kernel"] for run in runs]


def test_pandas_reads_all_runs(runs: list[RunData]) -> None:
    names: dict[str, Any] = {}
    for code in snippets("python"):
        exec(compile(code, str(PAGE), "exec"), names)
    first = runs[0]
    crun = first.values("startup.ready", "crun")
    assert names["medians"].loc[first.run, "crun"] == pytest.approx(crun.median() * 1000)
    assert names["crun"].value == crun.median()
    assert len(names["failed"]) == 0


def test_what_is_left_for_the_text_collector_has_no_times(runs: list[RunData]) -> None:
    (code,) = [code for code in snippets("sh") if code.startswith("sed")]
    from harness.exchange.export import export

    export(runs[0], "openmetrics", Path("run.om"))
    done = subprocess.run(["sh", "-c", code], capture_output=True, text=True, check=True)
    values = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    assert values
    assert all(re.search(r"\} -?[0-9.e+-]+$", line) for line in values)
    assert "tarebench_run" not in done.stdout
