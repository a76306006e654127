"""The report's part on density says what was held and why it ended, and no more than that."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from harness.analysis.density import curves, densities
from harness.analysis.frames import load_run
from harness.analysis.summary import summarise
from harness.metrics import METRICS
from harness.model import MIB, Identity, Outcome, Sample, Trial, TrialRecord
from harness.report import build_folder
from harness.report.section import Section
from harness.report.sections import density
from tests.synthetic import Plan, make_run

COSTS = {"crun": 4.2 * MIB, "docker": 7.1 * MIB, "qemu": 157.0 * MIB}
KINDS = {"qemu": ("emulated machine", "tcg")}


def ramp_of(trial: Trial, dice: random.Random, failed: bool) -> TrialRecord:
    """One synthetic ramp to 8 instances, read at 0, 1, 2, 4 and 8."""
    each = COSTS[trial.runtime] * dice.gauss(1, 0.003)
    kind, accel = KINDS.get(trial.runtime, ("container", "none"))

    def sample(metric: str, value: float, **dimensions: str) -> Sample:
        name = f"density.{metric}"
        return Sample(name, value, METRICS[name].unit, dimensions)

    samples = [
        sample("instances", 8, stop="max_instances"), sample("slope", each),
        sample("slope_host", each * 1.1), sample("remainder", each * 0.1),
        sample("harness", 60_000), sample("rate", 20), sample("teardown", 0.4),
    ]  # fmt: skip
    for n in (0, 1, 2, 4, 8):
        samples += [sample("charged", n * each, n=str(n)),
                    sample("host_delta", n * each * 1.1, n=str(n))]  # fmt: skip
    for n in (1, 2, 4, 8):
        samples += [sample("latency", 1e-4 * n * (3 if q == "0.99" else 1), n=str(n), quantile=q)
                    for q in ("0.5", "0.99")]  # fmt: skip
    samples += [sample("ready", 0.01 + n / 1000, n=str(n)) for n in range(1, 9)]
    return TrialRecord(
        trial=trial.trial, experiment="density", runtime=trial.runtime, runtime_class=kind,
        accel=accel, block=trial.block, position=0, warmup=False,
        outcome=Outcome.FAILED if failed else Outcome.OK,
        reason="instance 3 of 4 was lost: its process 7 ended by itself" if failed else "",
        started_utc="2026-11-23T20:00:00Z", wall_s=9.0, samples=[] if failed else samples,
        identity=Identity(identical=True),
        conditions={"stop": "max_instances", "stop_text": "8 were asked for",
                    "touched_bytes": 4 * MIB, "reserve_bytes": 2048 * MIB,
                    "available_before_bytes": 20480 * MIB},
    )  # fmt: skip


def ramps_in(folder: Path, ramps: Mapping[str, int], lose: frozenset[str] = frozenset()) -> Path:
    """A synthetic run with so many ramps a runtime; the last of those in `lose` has failed."""
    make_run(folder, Plan(runtimes=tuple(ramps), blocks=2, memory=False, phases=False))
    manifest = json.loads((folder / "manifest.json").read_text())
    dice = random.Random(5)
    with (folder / "journal.jsonl").open("ab") as journal:
        for runtime, count in ramps.items():
            for block in range(count):
                trial = Trial(f"d{runtime}{block}", "density", runtime, block, 0)
                manifest["plan"].append(msgspec.to_builtins(trial))
                failed = runtime in lose and block == count - 1
                journal.write(msgspec.json.encode(ramp_of(trial, dice, failed)) + b"\n")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def section_of(folder: Path) -> Section:
    run = load_run(folder)
    section = density.make(run, summarise(run))
    assert section is not None
    return section


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ramps = {"crun": 8, "docker": 8, "qemu": 8}
    return ramps_in(tmp_path_factory.mktemp("runs") / "ramps", ramps, frozenset({"docker"}))


@pytest.fixture(scope="module")
def section(folder: Path) -> Section:
    return section_of(folder)


def test_ramps_are_read_back(folder: Path) -> None:
    run = load_run(folder)
    found = {each.runtime: each for each in densities(run)}
    assert list(found) == ["crun", "docker", "qemu"]
    slope = found["crun"].estimates["slope"]
    assert slope is not None
    assert slope.value == pytest.approx(4.2 * MIB, rel=0.01)
    assert slope.interval is not None
    assert (len(found["docker"].stops), found["docker"].tried) == (7, 8)
    (curve, *others) = curves(run, "density.charged", "crun")
    assert [n for n, _ in curve] == [0, 1, 2, 4, 8]
    assert len(others) == 7
    assert len(curves(run, "density.latency", "crun", quantile="0.99")) == 8


def test_answer_names_what_was_held_and_the_cost_with_intervals_that_hold_together(
    section: Section,
) -> None:
    (answer,) = section.answers
    assert answer.headline == "This host held 8 crun and 8 docker instances at once."
    assert "crun: 8 were asked for" in answer.detail
    assert "touched set of 4.00 MiB included" in answer.detail
    assert "4.2" in answer.detail
    assert "hold together with 95 %" in answer.detail
    assert "qemu" not in answer.text, "nothing is said of machines from emulated ones"


def test_one_ramp_has_no_interval_and_says_so(tmp_path: Path) -> None:
    (answer,) = section_of(ramps_in(tmp_path / "one", {"crun": 1})).answers
    assert "too few for an interval" in answer.detail


def test_emulated_machines_alone_give_no_answer(tmp_path: Path) -> None:
    assert section_of(ramps_in(tmp_path / "one", {"qemu": 8})).answers == ()


def test_charts_tables_and_failures_are_in_the_page(folder: Path, section: Section) -> None:
    charts = [e.chart.name for e in section.exhibits if e.chart]
    assert charts == ["density", "density-memory", "density-ready", "density-latency"]
    (ends,) = (e.table for e in section.exhibits if e.name == "density" and e.table)
    rows = {row[0]: row for row in ends.rows}
    assert rows["docker"][-1] == "7 of 8"
    assert "qemu (emulated)" in rows
    build_folder(folder)
    page = (folder / "report.html").read_text()
    assert "instance 3 of 4 was lost" in page
    assert "How many fit, and what does one more cost?" in page


def test_runs_without_ramps_have_no_such_section(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", Plan(runtimes=("bare",), blocks=2)))
    assert density.make(run, summarise(run)) is None
