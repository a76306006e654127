"""Two real boxes at once, from the command to the report: who was slowed down, and nothing left."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from harness.experiments import interference, loads
from harness.experiments.cpu import BUSYBOX
from harness.experiments.jobs import WorkloadFailed
from harness.experiments.loads import Aggressor
from harness.model import MIB, Limits
from harness.settings import Interference
from tests.command import Place
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = pytest.mark.integration


def test_a_victim_is_timed_alone_and_beside_its_neighbour(tmp_path: Path) -> None:
    place, out = Place(tmp_path), tmp_path / "run"
    said = place.tarebench(
        "run", "interference", "--quiet", "--out", out, "--repeat", "1", "--runtime", "bare",
        "--set", 'victims=["fork"]', "--set", 'aggressors=["disk"]', "--set", "iterations=20",
    )  # fmt: skip
    assert said.status == 0, said.err
    rows = [row for row in place.rows(out) if row["metric"].startswith("interference.")]
    told = {(row["metric"], json.loads(row["dimensions"])["aggressor"]): row for row in rows}
    assert set(told) == {
        ("interference.victim", "none"), ("interference.victim", "disk"),
        ("interference.slowdown", "disk"),
    }  # fmt: skip
    alone, beside, ratio = (
        float(told[key]["value"])
        for key in (("interference.victim", "none"), ("interference.victim", "disk"),
                    ("interference.slowdown", "disk"))
    )  # fmt: skip
    assert ratio == pytest.approx(beside / alone)
    assert json.loads(told["interference.slowdown", "disk"]["dimensions"])["limits"] == "off"
    assert "forking beside writing to the disk" in place.told(out)
    assert place.left_behind(place.tokens()) == []


def test_a_neighbour_that_ends_by_itself_fails_the_trial(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    until_the_victim_runs = (
        "while :; do for each in /proc/[0-9]*/cmdline; do "
        "read -r words <$each; case $words in *sysben[c]h*) exit 0;; esac; done 2>/dev/null; done"
    )
    argv = [BUSYBOX, "sh", "-c", until_the_victim_runs]
    monkeypatch.setitem(loads.AGGRESSORS, "cpu", Aggressor(lambda workers, folder, seconds: argv))
    runtime_or_skip(lab, "bare")
    settings = Interference(victims=("cpu",), aggressors=("cpu",), limits=("off",), iterations=1000)
    with pytest.raises(WorkloadFailed, match="ended by itself"):
        interference.measure(lab.bench("bare"), settings)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crun", "docker", "qemu"])
def test_every_pair_in_boxes_of_every_kind(lab: Lab, name: str) -> None:
    runtime_or_skip(lab, name)
    bench = lab.bench(name, Limits(cpus=1, memory_bytes=256 * MIB, pids=512))
    found = interference.measure(bench, Interference(iterations=20))
    rounds = ["on"] if name == "qemu" else ["on", "off"]
    slow = [s for s in found.samples if s.metric == "interference.slowdown"]
    assert {tuple(s.dimensions[k] for k in ("victim", "aggressor", "limits")) for s in slow} == set(
        itertools.product(loads.VICTIMS, loads.AGGRESSORS, rounds)
    )
    assert found.identity.identical
    assert {"/usr/bin/fio", "/usr/bin/stress-ng", "/usr/bin/sysbench"} <= set(found.identity.files)
