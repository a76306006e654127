"""What travels inside a report: the whole run up to a size, and of a larger one an honest part."""

from __future__ import annotations

import re
import zipfile
from base64 import b64decode
from csv import DictReader
from io import BytesIO, StringIO
from pathlib import Path
from urllib.parse import unquote

import pytest

from harness.analysis import timeseries
from harness.analysis.frames import load_run
from harness.report import build
from harness.report.digest import digest
from tests.synthetic import QUICK, Plan, make_run
from tests.unit.test_analysis_timeseries import sampled_run

MIB = 2**20


def address(page: str, download: str) -> str:
    """Where a link leads that saves a file of this name."""
    found = re.search(rf'<a [^>]*download="{re.escape(download)}" href="([^"]*)"', page)
    assert found is not None, download
    return found[1]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More than 1,000 trials of all kinds, and more than 20,000 samples."""
    folder = make_run(tmp_path_factory.mktemp("large") / "large",
                      Plan(runtimes=(*QUICK, "kvm"), blocks=120, states=True))  # fmt: skip
    build([load_run(folder)], folder / "report.html")
    return folder


@pytest.mark.slow
def test_a_thousand_trials_are_less_than_five_megabytes(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Plan(blocks=67))
    run = load_run(folder)
    assert len(run.trials) >= 1000
    build([run], tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 5 * MIB
    again = load_run(tmp_path / "report.html")
    assert len(again.samples) == min(len(run.samples), 20_000)


@pytest.mark.slow
def test_a_large_run_is_carried_in_part_and_says_so(large: Path, tmp_path: Path) -> None:
    page, run = (large / "report.html").read_text(), load_run(large)
    assert len(run.samples) > 20_000
    assert (large / "report.html").stat().st_size < 8 * MIB
    part = load_run(large / "report.html")
    assert len(part.samples) <= 20_000
    assert set(part.samples.groupby("block")["runtime"].nunique()) == {8}
    assert "drawn at random" in part.notes[-1]
    assert "whole blocks, drawn at random" in page
    build([part], tmp_path / "again.html")
    assert "of 120 blocks, drawn at random" in (tmp_path / "again.html").read_text()
    packed = address(page, "large.csv.zip")
    archive = zipfile.ZipFile(BytesIO(b64decode(packed.partition(",")[2])))
    assert archive.read("large.csv").count(b"\n") == len(part.samples) + 1


@pytest.mark.slow
def test_summaries_are_of_the_whole(large: Path) -> None:
    text = unquote(address((large / "report.html").read_text(), "large-summaries.csv"))
    rows = list(DictReader(StringIO(text.partition(",")[2])))
    ready = {r["runtime"]: r for r in rows if r["metric"] == "startup.ready"}
    values = load_run(large).values("startup.ready", "crun")
    assert ready["crun"]["values"] == ready["crun"]["blocks"] == "120"
    assert float(ready["crun"]["median"]) == pytest.approx(float(values.median()))
    assert ready["qemu"]["emulated"] == "emulated"


def test_a_small_run_is_carried_whole(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", Plan(runtimes=("bare", "crun"), blocks=6)))
    build([run], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "-summaries.csv" not in page
    assert unquote(address(page, "run.csv")).count("\n") == len(run.samples) + 1
    five = {row[0]: row for row in digest(run).rows if row[4] == "startup.ready"}
    assert five["bare"][7:9] == (6, 6)


def test_time_series_travel_too(tmp_path: Path) -> None:
    folder = sampled_run(tmp_path / "run")
    timeseries.store(folder, "run", complete=True)
    build([load_run(folder)], tmp_path / "r.html")
    there, alone = timeseries.load(load_run(folder)), load_run(tmp_path / "r.html")
    carried = timeseries.load(alone)
    assert there is not None
    assert carried is not None
    assert carried.table.equals(there.table)
    assert carried.costs == there.costs
    build([alone], tmp_path / "again.html")
    assert "What did the boxes do meanwhile?" in (tmp_path / "again.html").read_text()


def test_a_long_time_series_is_thinned_and_says_so(tmp_path: Path) -> None:
    folder = sampled_run(tmp_path / "run")
    timeseries.store(folder, "run", complete=True)
    run = load_run(folder)
    whole = timeseries.load(run)
    assert whole is not None
    (folder / timeseries.STORED).write_bytes(timeseries.portable(whole, 40))
    part = timeseries.load(run)
    assert part is not None
    assert part.whole == whole.table.num_rows == 73
    assert part.table.num_rows <= 40
    last = whole.table.to_pandas().groupby("instance", observed=True)["cpu_ns"].last()
    kept = part.table.to_pandas().groupby("instance", observed=True)["cpu_ns"].last()
    assert kept.equals(last)


def test_a_damaged_time_series_costs_only_itself(tmp_path: Path) -> None:
    folder = sampled_run(tmp_path / "run")
    timeseries.store(folder, "run", complete=True)
    (folder / timeseries.STORED).write_bytes(b"PAR1 not really")
    build([load_run(folder)], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "the time series cannot be read" in page
    assert "How long until a box is ready?" in page
