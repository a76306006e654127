"""Launches side by side, from the command to the report: what is counted and what is left out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from tests.command import Place

pytestmark = pytest.mark.integration

ODD, NEVER = "fake,fail=odd", "fake,fail=launch"


@dataclass(frozen=True)
class Run:
    """A run of twenty launches, three at a time, of boxes that work and boxes that do not."""

    rows: Sequence[Mapping[str, str]]
    report: str

    def values(self, metric: str, runtime: str) -> list[float]:
        own = [row for row in self.rows if row["runtime"] == runtime]
        return [float(row["value"]) for row in own if row["metric"] == metric]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("parallel")
    place, out = Place(folder), folder / "run"
    said = place.tarebench(
        "run", "parallel", "--quiet", "--out", out, "--repeat", "1", "--set", "launches=20",
        "--set", "launchers=3", "--runtime", "bare", "--runtime", ODD, "--runtime", NEVER,
    )  # fmt: skip
    assert said.status == 1, said.err
    return Run(place.rows(out), place.told(out))


def test_every_launch_is_counted(done: Run) -> None:
    assert len(done.values("parallel.launch", "bare")) == 20
    assert done.values("parallel.failures", "bare") == [0.0]
    (rate,), (ceiling,) = (done.values(f"parallel.{m}", "bare") for m in ("rate", "ceiling"))
    assert rate > 0
    assert ceiling > 0


def test_quantiles_are_absent_where_launches_are_few(done: Run) -> None:
    ready = [row for row in done.rows if row["metric"] == "parallel.ready"]
    assert {row["runtime"] for row in ready} == {"bare"}  # ODD has ten good ones
    assert [json.loads(row["dimensions"]) for row in ready] == [
        {"launchers": "3", "quantile": "0.5"}
    ]
    assert "absent: needs 1000 launches" in done.report


def test_failed_launches_are_counted_with_their_reason(done: Run) -> None:
    outcomes = {row["outcome"] for row in done.rows if row["runtime"] == ODD}
    assert outcomes == {"ok"}
    assert done.values("parallel.failures", ODD) == [10.0]
    assert len(done.values("parallel.launch", ODD)) == 10
    assert "10 × this fake was told to fail" in done.report


def test_a_trial_without_a_good_launch_has_failed(done: Run) -> None:
    assert not done.values("parallel.rate", NEVER)
    told = {(row["outcome"], row["reason"]) for row in done.rows if row["runtime"] == NEVER}
    assert told == {("failed", "this fake was told to fail")}
