"""A run is supervised: alone on its host, retried only where allowed, and never held for ever."""

from __future__ import annotations

import json
import secrets
import signal
from pathlib import Path
from typing import Any

import pytest

from harness.alone import VARIABLE
from harness.imagecheck import built
from harness.journal import records
from tests.command import Place, finish, read_lines

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(built() is None, reason="the image is not built: tarebench image build"),
]

HANGING = ["run", "quick", "--runtime", "fake,fail=hang", "--repeat", "1"]
QUICK = ["run", "quick", "--runtime", "fake", "--repeat", "1", "--quiet"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """With a word of its own, so that runs of other tests are not in the way."""
    return Place(tmp_path, {VARIABLE: f"t-{secrets.token_hex(4)}"})


def manifest(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "manifest.json").read_bytes())
    return found


def guards(run: Path) -> dict[str, str]:
    return {guard["name"]: guard["value"] for guard in manifest(run)["guards"]}


def test_second_run_is_refused_by_name_and_forced_ones_say_so(place: Place) -> None:
    first, second = place.folder / "one", place.folder / "two"
    with place.started(*HANGING, "--out", str(first)) as process:
        read_lines(process, until="trial 1 of")
        elsewhere = {"TAREBENCH_STATE": str(place.folder / "another")}  # the host is the same
        said = place.tarebench(*QUICK, "--out", second, env=elsewhere)
        assert (said.status, said.out) == (3, "")
        assert f"another run goes on on this host: one (pid {process.pid})" in said.err
        assert "--force" in said.err
        assert not second.exists()
        said = place.tarebench(*QUICK, "--out", second, "--force", env=elsewhere)
        assert said.status == 0, said.err
        assert guards(second)["alone"] == f"beside one (pid {process.pid})"
        assert finish(process, signal.SIGINT).status == 130
    assert guards(first)["alone"].startswith("beside two (pid ")


def test_launch_that_fails_is_retried_where_the_scenario_says_so(place: Place) -> None:
    """Each second launch of this box fails; a trial here is one launch."""
    scenario = place.folder / "odd.toml"
    scenario.write_text(
        'name = "odd"\ntitle = "t"\nquestion = "q"\nwarmup_blocks = 0\nretries = 1\n'
        "[experiments.startup]\n"
    )
    said = place.tarebench(*QUICK[:1], scenario, "--runtime", "fake,fail=odd", *QUICK[4:])
    tried = [record for record in records(said.folder) if record.runtime != "host"]
    assert [record.outcome for record in tried] == ["ok"] * 2, said.err
    assert {record.conditions["retries"] for record in tried} == {1}
    assert {record.conditions["retried"] for record in tried} == {"this fake was told to fail"}
    assert guards(said.folder)["retried"] == "fake,fail=odd: 2 times"
