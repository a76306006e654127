"""What is built around another box: told where the very version stood alone, and else not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.analysis import layers
from harness.analysis.frames import load_run
from harness.analysis.layers import Layers
from harness.analysis.summary import READY, Summary, summarise
from tests.synthetic import Plan, make_run

DOCKER = {"docker": "20.10", "containerd": "1.6", "runc": "1.1"}


def run_with(folder: Path, versions: Mapping[str, Mapping[str, str]], guard: str = "") -> Summary:
    """A run whose runtimes say that they are made of this."""
    make_run(folder, Plan(runtimes=("bare", "runc", "crun", "docker"), memory=False))
    manifest = json.loads((folder / "manifest.json").read_text())
    for name, told in versions.items():
        manifest["runtimes"][name] |= {"versions": told, "notes": ["network bridge"]}
    if guard:
        manifest["guards"] = [{"name": guard, "value": 1, "severity": "block", "text": "No."}]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return summarise(load_run(folder))


def test_the_rest_of_an_engines_start_is_its_own(tmp_path: Path) -> None:
    summary = run_with(tmp_path / "r", {"runc": {"runc": "1.1"}, "docker": DOCKER})
    (found,) = summary.layers
    assert (found.whole, found.part, found.network) == ("docker", "runc", "bridge")
    assert found.others == ("docker", "containerd")
    ready = summary.ready
    assert found.share.value == pytest.approx(1 - ready["runc"].value / ready["docker"].value)
    assert found.share.interval is not None
    assert found.share.interval.low < found.share.value < found.share.interval.high < 1
    text = " ".join(summary.sentences)
    assert "of docker’s start is what is built around runc: docker, containerd and the" in text
    assert "runc alone, in the version that docker calls, takes the rest." in text


@pytest.mark.parametrize(
    ("versions", "guard"),
    [
        ({"runc": {"runc": "1.2"}, "docker": DOCKER}, ""),
        ({"crun": {"crun": "1.1"}, "docker": DOCKER}, ""),
        ({"runc": {"runc": "1.1"}, "docker": DOCKER}, "noise"),
    ],
    ids=["another version", "another runtime", "a guard blocks"],
)
def test_nothing_is_said_where_the_data_do_not_carry_it(
    tmp_path: Path, versions: Mapping[str, Mapping[str, str]], guard: str
) -> None:
    summary = run_with(tmp_path / "r", versions, guard)
    assert summary.layers == ()
    assert "built around" not in " ".join(summary.sentences)


def test_what_is_quicker_than_its_part_has_no_share(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "r", Plan(runtimes=("runc", "docker"), memory=False))
    run = load_run(folder)
    run.manifest["runtimes"]["runc"]["versions"] = DOCKER
    run.manifest["runtimes"]["docker"]["versions"] = {"docker": "20.10"}
    found: tuple[Layers, ...] = layers.read(run, ["runc", "docker"], READY, 0.95)
    assert found == ()
