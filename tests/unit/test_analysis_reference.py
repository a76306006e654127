"""Reference runs: small, complete, and honest about the machine they come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import resources
from harness.analysis.frames import load_run
from harness.analysis.reference import keep, machine
from harness.errors import UsageError
from tests.synthetic import Plan, make_run

HOST = {"architecture": "x86_64", "cpu_model": "Fast CPU (TM) 3000", "threads": 8}


@pytest.mark.parametrize(
    ("host", "end"),
    [
        ({"hypervisor": False}, "metal"),
        ({}, "unknown"),
        ({"hypervisor": True}, "nested"),
        ({"hypervisor": True, "emulated": True}, "emulated"),
    ],
)
def test_the_folder_says_what_the_machine_was(host: dict[str, bool], end: str) -> None:
    assert machine({"host": {**HOST, **host}}) == f"x86_64-fast-cpu-tm-3000-8cpu-{end}"


def test_a_kept_run_reads_like_the_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Plan(blocks=2))
    path = folder / "manifest.json"
    stored = json.loads(path.read_text())
    stored |= {"outcome": "complete", "repeat_with": "tarebench run quick --out somewhere --seed 1"}
    path.write_text(json.dumps(stored))
    (folder / "timeseries.parquet").write_bytes(b"readings")
    kept = keep(load_run(folder), tmp_path / "reference")
    assert (kept / "timeseries.parquet").read_bytes() == b"readings"
    assert kept.parts[-1] == stored["scenario"]["name"]
    again, first = load_run(kept), load_run(folder)
    assert again.samples.equals(first.samples)
    assert again.manifest["repeat_with"] == "tarebench run quick --seed 1"
    assert len(list(kept.iterdir())) == 3


def test_half_a_run_is_no_reference(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Plan(blocks=2, stop_after=3))
    with pytest.raises(UsageError, match="not complete"):
        keep(load_run(folder), tmp_path / "reference")
    assert not (tmp_path / "reference").exists()


def test_a_run_of_an_emulated_host_is_no_reference(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Plan(blocks=2))
    stored = json.loads((folder / "manifest.json").read_text())
    stored["host"]["emulated"] = True
    (folder / "manifest.json").write_text(json.dumps({**stored, "outcome": "complete"}))
    with pytest.raises(UsageError, match="emulated host"):
        keep(load_run(folder), tmp_path / "reference")
    assert not (tmp_path / "reference").exists()


def test_every_shipped_reference_run_is_complete_and_lies_where_it_belongs() -> None:
    shipped = resources.reference_runs()
    assert "quick" in shipped
    for name, folder in shipped.items():
        run = load_run(folder)
        assert run.manifest["outcome"] == "complete"
        assert run.manifest["scenario"]["name"] == name
        assert folder.parent.name == machine(run.manifest)
