"""CPU seconds of a launch against the host's busy time: agreement, company, and miscounting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.analysis.cpucheck import CpuCheck, check
from harness.analysis.frames import load_run
from tests.synthetic import Plan, make_run


def checked(folder: Path, beyond_s: float, *, idle: float = 0.0, blocks: int = 10) -> CpuCheck:
    """The check of runc where the host was `beyond_s` busier than what was counted.

    `idle` is the share of both CPUs that is busy while the harness idles.
    """
    path = make_run(folder / "run", Plan(runtimes=("runc",), blocks=blocks, memory=False))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["host"]["threads"] = 2
    (path / "manifest.json").write_text(json.dumps(manifest))
    lines = []
    for line in (path / "journal.jsonl").read_text().splitlines():
        record = json.loads(line)
        values = {sample["metric"]: sample["value"] for sample in record["samples"]}
        if record["experiment"] == "startup":
            noise = idle * 2 * values["startup.ready"]
            record["conditions"]["host_busy_s"] = values["startup.cpu"] + noise + beyond_s
        if record["experiment"] == "canary":
            record["samples"].append({"metric": "canary.busy", "value": idle, "unit": "1"})
        lines.append(json.dumps(record))
    (path / "journal.jsonl").write_text("\n".join(lines) + "\n")
    found = check(load_run(path), "runc")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("beyond_s", "verdict"),
    [
        (0.0, "agrees"),
        (0.015, "agrees"),  # two CPUs, whose clocks tick in hundredths of a second
        (0.2, "the host was busier: others ran too"),
        (-0.2, "more was counted than the host was busy"),
    ],
)
def test_verdicts(tmp_path: Path, beyond_s: float, verdict: str) -> None:
    found = checked(tmp_path, beyond_s)
    assert found.own_excess.value == pytest.approx(beyond_s, abs=1e-9)
    assert found.verdict == verdict


def test_what_the_host_does_anyway_is_taken_off(tmp_path: Path) -> None:
    found = checked(tmp_path, 0.0, idle=0.3)
    assert found.own_excess.value == pytest.approx(0.0, abs=1e-9)
    assert found.host_excess.value > 0
    assert found.verdict == "agrees"


def test_a_launch_that_pushes_others_aside_is_no_miscount(tmp_path: Path) -> None:
    """Idle business takes less than its share when all CPUs are wanted."""
    found = checked(tmp_path, -0.035, idle=1.0)
    assert found.own_excess.value < -0.02 < 0 < found.host_excess.value
    assert found.verdict == "agrees"


def test_few_blocks_give_no_verdict(tmp_path: Path) -> None:
    assert "blocks that an interval needs" in checked(tmp_path, 0.5, blocks=3).verdict


def test_a_run_without_the_host_s_clock_is_not_checked(tmp_path: Path) -> None:
    assert check(load_run(make_run(tmp_path / "run", Plan(blocks=6))), "runc") is None
