"""Runs of very many trials: what is asked of them takes no longer than it must.

The bench of a million trials is tests/benchmarks/test_many.py; this one runs with every change.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from time import process_time

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from harness.analysis import tables
from harness.analysis.export import samples_parquet, write_whole
from harness.analysis.frames import RunData, load_run, load_runs
from harness.analysis.rows import Parquet, Positions, Rows
from harness.analysis.summary import summarise
from harness.analysis.thin import MOST_SAMPLES, keep_texts, thinned
from harness.report import build
from tests.many import RUNTIMES, make_large_run, of_many_runs, trials_a_block

TRIALS = 50_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_large_run(tmp_path_factory.mktemp("many") / "run", TRIALS)


def cpu_s(work: Callable[[], object]) -> float:
    """The least CPU time of three: what the work itself takes, on all processors."""
    took = []
    for _ in range(3):
        begin = process_time()
        work()
        took.append(process_time() - begin)
    return min(took)


def aggregate(folder: Path) -> pd.DataFrame:
    """What pandas alone does with the same file."""
    columns = ["runtime", "metric", "dimensions", "outcome", "value"]
    frame = pd.read_parquet(folder / "samples.parquet", columns=columns)
    groups = frame[frame["outcome"] == "ok"].groupby(["runtime", "metric", "dimensions"])["value"]
    found: pd.DataFrame = groups.describe(percentiles=[0.25, 0.5, 0.75])
    return found


def ours(folder: Path) -> object:
    """The same from a run: every series' quartiles, and the count of every kind of trial."""
    run = load_run(folder)
    return run.tally, [np.quantile(run.exactly(s), (0.25, 0.5, 0.75)) for s in run.series()]


def test_the_same_figures_take_at_most_twice_what_pandas_takes(folder: Path) -> None:
    assert cpu_s(lambda: ours(folder)) <= 2 * cpu_s(lambda: aggregate(folder))


def test_it_says_what_pandas_says(folder: Path) -> None:
    run, expected = load_run(folder), aggregate(folder)["50%"]
    series = [s for s in run.series() if s.metric != "trial.wall"]
    assert len(series) > 250
    for each in series[::7]:
        dimensions = ",".join(f'"{k}":"{v}"' for k, v in each.dimensions.items())
        found = expected[each.runtime, each.metric, f"{{{dimensions}}}"]
        assert run.exactly(each).median() == pytest.approx(found)


def test_nothing_is_made_for_questions_that_nobody_asks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, texts = set[str](), Rows.texts

    def told(rows: Rows, name: str, places: Positions | None = None) -> pa.ChunkedArray:
        read.add(name)
        return texts(rows, name, places)

    monkeypatch.setattr(Rows, "texts", told)
    run = load_run(folder)
    summarise(run)
    assert not {"trials", "samples"} & set(vars(run))
    assert read == {"identity"}  # which proves what may be compared; the rest would be parsed


def test_kinds_of_trials_are_told_apart_however_many_there_may_be(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally = load_run(folder).tally
    assert tally["count"].sum() >= TRIALS
    assert not tally.drop(columns="count").duplicated().any()
    monkeypatch.setattr(tables, "_LARGEST", 1)
    assert load_run(folder).tally.equals(tally)


def test_texts_that_repeat_say_what_each_of_them_says(folder: Path) -> None:
    run = load_run(folder)
    places = np.arange(30_000, 30_020)
    one_by_one = {
        place: proof["identical"] for place, proof in run.trials_at(places)["identity"].items()
    }
    assert one_by_one == run.told("identity", "identical").iloc[places].to_dict()
    assert len(run.told("identity", "identical")) == len(run.rows.wall)


def test_a_part_is_whole_blocks_and_always_the_same(folder: Path) -> None:
    run = load_run(folder)
    part, again = thinned(run), thinned(run)
    assert part.samples.equals(again.samples)
    assert MOST_SAMPLES * 0.9 < part.rows.length <= MOST_SAMPLES
    sizes = part.trials.groupby("block").size()
    assert set(sizes) == {trials_a_block()}
    blocks = np.unique(run.rows.numbers("block"))
    assert f"{len(sizes)} of {len(blocks)} blocks" in part.notes[-1]
    whole = run.values("startup.ready", "crun")
    assert part.values("startup.ready", "crun").equals(whole[whole.index.isin(sizes.index)])
    assert thinned(part) is part


def test_what_a_part_tells_is_not_read_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = thinned(load_run(folder)).table()
    read, texts = list[str](), Parquet.texts

    def told(
        file: Parquet, name: str, wall: Positions, places: Positions | None
    ) -> pa.ChunkedArray:
        read.append(name)
        return texts(file, name, wall, places)

    monkeypatch.setattr(Parquet, "texts", told)
    run = load_run(folder)
    keep_texts(run)
    assert len(run.told("conditions", "trial_steal_s"))
    assert len(run.told("identity", "identical"))
    assert thinned(run).table().equals(expected)
    assert sorted(read) == ["conditions", "identity", "marks", "trial"]
    assert run.rows.texts("conditions").length() == len(run.rows.wall)


def test_the_page_of_a_large_run_is_small_and_says_what_it_holds(
    folder: Path, tmp_path: Path
) -> None:
    build([load_run(folder)], tmp_path / "r.html")
    assert (tmp_path / "r.html").stat().st_size < 12 * 2**20
    text = (tmp_path / "r.html").read_text()
    found = re.search(r"Of this run’s (\d+) trials, (\d+) are inside this page", text)
    assert found
    part = load_run(tmp_path / "r.html")
    assert len(part.trials) == int(found.group(2))
    assert f"{found.group(2)} of the run's {found.group(1)} trials" in part.notes[-1]


def test_a_table_of_several_row_groups_is_the_same_run(folder: Path, tmp_path: Path) -> None:
    run = load_run(folder)
    for name, content in (("manifest.json", (folder / "manifest.json").read_bytes()),
                          ("samples.parquet", samples_parquet(run))):  # fmt: skip
        write_whole(tmp_path / name, content)
    again = load_run(tmp_path)
    assert again.tally.equals(run.tally)
    assert again.trials_at(np.arange(30_000, 30_050)).equals(
        run.trials_at(np.arange(30_000, 30_050))
    )
    assert again.values("io.randread.iops", depth="1").equals(
        run.values("io.randread.iops", depth="1")
    )


def test_many_runs_come_in_their_order(tmp_path: Path) -> None:
    paths = list(of_many_runs(tmp_path, 30, 40))
    runs: list[RunData] = list(load_runs(paths))
    assert [run.folder for run in runs] == paths
    assert {tuple(run.manifest["scenario"]["runtimes"]) for run in runs} == {tuple(RUNTIMES)}
