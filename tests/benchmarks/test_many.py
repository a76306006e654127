"""A million trials: read, summarised and reported in bounded time and memory.

Every figure is taken in a child process of its own, on the same file, after its imports: what
we do, and what a bare aggregation by DuckDB and by pandas takes (count, median and quartiles by
runtime, metric and dimensions). The report also draws its charts, which no aggregation does, so
that it has a bound of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from tests.many import make_large_run, of_many_runs, samples_a_block, trials_a_block

pytestmark = [pytest.mark.benchmark, pytest.mark.slow]

TRIALS = 1_000_000
LONGEST_S = 15.0
LARGEST_BYTES = 2 * 2**30
RATIO = 2.0

_TELL = """
import json, resource, sys
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({**took, "peak_bytes": peak}))
"""

SUMMARISE = """
import sys, time
from pathlib import Path
from harness.analysis.frames import load_run
from harness.analysis.summary import summarise
took, begin = {}, time.perf_counter()
summary = summarise(load_run(Path(sys.argv[1])))
took["summarise"] = time.perf_counter() - begin
assert summary.rows and summary.ranking
"""

REPORT = """
import sys, time
from pathlib import Path
from harness.analysis.frames import load_run
from harness.report import build
took, begin = {}, time.perf_counter()
build([load_run(Path(sys.argv[1]))], Path(sys.argv[2]))
took["report"] = time.perf_counter() - begin
"""

AGGREGATE = (
    "select runtime, metric, dimensions, count(*), median(value), quantile_cont(value, 0.25), "
    "quantile_cont(value, 0.75) from '{files}' where outcome = 'ok' group by all"
)

DUCKDB = f"""
import sys, time
import duckdb
duckdb.sql("set threads = 2")
duckdb.sql("set enable_progress_bar = false")
took, begin = {{}}, time.perf_counter()
found = duckdb.sql({AGGREGATE!r}.format(files=sys.argv[1] + "/samples.parquet")).fetchall()
took["aggregate"] = time.perf_counter() - begin
assert len(found) > 100
"""

PANDAS = """
import sys, time
import pandas as pd
took, begin = {}, time.perf_counter()
columns = ["runtime", "metric", "dimensions", "outcome", "value"]
frame = pd.read_parquet(sys.argv[1] + "/samples.parquet", columns=columns)
groups = frame[frame["outcome"] == "ok"].groupby(["runtime", "metric", "dimensions"])["value"]
found = groups.quantile([0.25, 0.5, 0.75]), groups.count()
took["aggregate"] = time.perf_counter() - begin
assert len(found[1]) > 100
"""

OURS_OF_MANY = """
import sys, time
from pathlib import Path
from harness.analysis.frames import load_runs
from harness.analysis import statistics
took, begin = {}, time.perf_counter()
medians = [
    statistics.median(run.values("startup.ready", name))
    for run in load_runs(sorted(Path(sys.argv[1]).iterdir()))
    for name in run.manifest["scenario"]["runtimes"]
]
took["summarise"] = time.perf_counter() - begin
assert len(medians) > 1000
"""


def child(code: str, *arguments: object) -> Mapping[str, float]:
    """What a child process says of itself."""
    done = subprocess.run(
        [sys.executable, "-c", code + _TELL, *map(str, arguments)],
        check=True, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    found: Mapping[str, float] = json.loads(done.stdout)
    return found


def best(code: str, *arguments: object) -> Mapping[str, float]:
    """The better of two, key by key: another process may have used the machine."""
    first, second = child(code, *arguments), child(code, *arguments)
    return {key: min(first[key], second[key]) for key in first}


def held_at_most(argv: list[str]) -> int:
    """The most that a command and its processes held together, what they share counted once."""
    most = 0
    with subprocess.Popen(argv) as process:
        while process.poll() is None:
            most = max(most, sum(_held(each) for each in _family(process.pid)))
            time.sleep(0.2)  # a reading stops the process for milliseconds
    assert process.returncode == 0
    return most


def _family(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _held(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.NoSuchProcess:
        return 0


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert TRIALS / trials_a_block() * samples_a_block() >= 10_000_000 * 0.99
    return make_large_run(tmp_path_factory.mktemp("many") / "run", TRIALS)


def test_a_million_trials(benchmark: BenchmarkFixture, large: Path, tmp_path: Path) -> None:
    bare = {"DuckDB": best(DUCKDB, large), "pandas": child(PANDAS, large)}
    page = tmp_path / "report.html"
    ours = {**best(SUMMARISE, large), **best(REPORT, large, page)}
    code = [sys.executable, "-c", REPORT, str(large), str(page)]
    held_bytes = benchmark.pedantic(held_at_most, args=(code,), rounds=1)
    benchmark.extra_info.update(
        {"ours": dict(ours), "held_bytes": held_bytes,
         **{name: dict(found) for name, found in bare.items()}}
    )  # fmt: skip
    times = ours["summarise"] / bare["DuckDB"]["aggregate"]
    held = f"at most {held_bytes / 2**20:.0f} MiB held"
    told = f"ours {ours}, {times:.1f} times DuckDB's; {held}, {bare}"
    print(told)
    assert ours["report"] <= LONGEST_S, told  # it reads and summarises too
    assert held_bytes <= LARGEST_BYTES, told
    assert ours["summarise"] <= RATIO * bare["DuckDB"]["aggregate"], told
    assert page.stat().st_size < 12 * 2**20


def test_a_thousand_runs(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    for _ in of_many_runs(tmp_path / "runs", 1000, 1000):
        pass
    bare = best(DUCKDB, tmp_path / "runs" / "*")
    ours = best(OURS_OF_MANY, tmp_path / "runs")
    benchmark.pedantic(child, args=(OURS_OF_MANY, tmp_path / "runs"), rounds=1)
    benchmark.extra_info.update({"ours": dict(ours), "DuckDB": dict(bare)})
    print(f"ours {ours}, DuckDB {bare}")
    assert ours["summarise"] <= LONGEST_S
    assert ours["peak_bytes"] <= LARGEST_BYTES
