"""A runtime in a package of its own: installed, found, held to the contract, and run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.command import Place

TOP = Path(__file__).resolve().parent.parent.parent
EXAMPLE = TOP / "tests" / "plugin_example"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder into which the example was built and installed, without a package index."""
    folder = tmp_path_factory.mktemp("plugin")
    offline = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    pip = [sys.executable, "-m", "pip"]
    wheels, site = folder / "wheels", folder / "site"
    commands: Sequence[Sequence[str | Path]] = (
        [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", wheels, EXAMPLE],
        [*pip, "install", *offline, "--find-links", wheels, "--target", site, "tarebench-unshare"],
    )
    for argv in commands:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return site


@pytest.fixture
def place(installed: Path, tmp_path: Path) -> Place:
    return Place(tmp_path, {"PYTHONPATH": str(installed)})


def test_it_is_listed_beside_the_others(place: Place) -> None:
    said = place.tarebench("list", "runtimes", "--json")
    assert said.status == 0, said.err
    rows = {row["name"]: row for row in json.loads(said.out)}
    assert rows["unshare"]["class"] == "jail"
    assert rows["unshare"]["parameters"]["net"]["choices"] == ["own", "host"]
    assert rows["unshare"]["status"] == "ready" or "root" in rows["unshare"]["reason"]
    assert "bare" in rows


@pytest.mark.skipif(os.geteuid() != 0, reason="unshare needs root")
def test_it_runs_and_is_chosen_by_its_class_and_by_its_parameters(place: Place) -> None:
    said = place.tarebench(
        "run", "quick", "--runtime", "unshare,net=*", "--repeat", "1", "--set", "warmup_blocks=0",
        "--quiet",
    )  # fmt: skip
    assert said.status == 0, said.err
    rows = [row for row in place.rows(said.folder) if row["metric"] == "startup.ready"]
    assert {row["runtime"] for row in rows} >= {"unshare", "unshare,net=host"}
    assert {row["runtime_class"] for row in rows} == {"jail"}
    manifest = json.loads((said.folder / "manifest.json").read_text())
    assert all(found["verified"]["identical"] for found in manifest["runtimes"].values())


@pytest.mark.skipif(os.geteuid() != 0, reason="unshare needs root")
def test_the_contract_suite_runs_on_it_by_itself(place: Place) -> None:
    done = contract(place, ["-k", "unshare", "-m", "contract and not slow", "-q"])
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def contract(place: Place, arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests/contract", *arguments]
    return subprocess.run(
        argv, cwd=TOP, env=place.env, capture_output=True, text=True, check=False, timeout=280
    )
