"""From readings to Parquet and to traces: nothing is lost, rates and sizes are what they were."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness import series
from harness.analysis import timeseries
from harness.analysis.frames import load_run
from harness.report.writer import build_folder
from harness.series import COUNTERS, HOST, PSS
from tests.synthetic import Plan, make_run

S = 1_000_000_000
STEP = S // 10
CPU_SHARE, HELD, BUSY = 0.5, 1 << 20, 2


def sampled_run(folder: Path, complete: bool = True) -> Path:
    """A run whose first measured crun trial was sampled for three seconds: two boxes, the second
    for the last second only; each uses half a processor and holds a MiB."""
    make_run(folder, Plan(runtimes=("bare", "crun"), blocks=2))
    manifest = json.loads((folder / "manifest.json").read_text())
    trial = next(
        t for t in manifest["plan"] if t["runtime"] == "crun" and t["experiment"] == "memory"
    )
    if not complete:
        manifest["outcome"] = "interrupted"
        (folder / "manifest.json").write_text(json.dumps(manifest))
    said = {name: trial[name] for name in ("trial", "experiment", "runtime")}
    lines = [series.event("S", {"hz": 10}), series.event("T", said)]
    names = ["cpu_ns", "memory_bytes"]
    for number, name in enumerate((HOST, "a", "b"), 1):
        lines.append(series.event("A", {"n": number, "instance": name, "counters": names}))
    for tick in range(31):
        for number, (begin, busy) in enumerate(((0, BUSY), (0, CPU_SHARE), (20, CPU_SHARE)), 1):
            if tick == begin:
                lines.append(series.row(number, [1000 * S + tick * STEP, 7, HELD], 5000))
            elif tick > begin:
                lines.append(series.row(number, [STEP, int(busy * STEP), 0], None))
    lines.append(series.event("C", {"hz": 10, "ticks": 31, "active_ns": 3 * S, "cpu_ns": S // 50}))
    (folder / series.RAW).write_bytes(b"".join(lines))
    return folder


def test_every_reading_is_in_the_table(tmp_path: Path) -> None:
    folder = sampled_run(tmp_path / "run")
    timeseries.store(folder, "run", complete=True)
    assert not (folder / series.RAW).exists()
    found = timeseries.load(load_run(folder))
    assert found is not None
    assert found.table.column_names == ["run", *timeseries.NAMES, "t_ns", *COUNTERS, PSS]
    assert found.table.num_rows == 31 + 31 + 11
    assert [cost.ticks for cost in found.costs] == [31]
    frame = found.table.to_pandas()
    assert set(frame["instance"]) == {HOST, "a", "b"}
    assert frame["rss_bytes"].isna().all(), "a counter that is not there is absent, not 0"
    assert frame[PSS].notna().sum() == 3
    last = frame[frame["instance"] == "a"].iloc[-1]
    assert (last["cpu_ns"], last["t_ns"]) == (7 + 30 * STEP // 2, 1000 * S + 30 * STEP)


def test_a_run_that_may_go_on_keeps_its_raw_series(tmp_path: Path) -> None:
    folder = sampled_run(tmp_path / "run", complete=False)
    timeseries.store(folder, "run", complete=False)
    assert (folder / series.RAW).exists()
    assert (folder / timeseries.STORED).exists()


def test_rates_sizes_and_instances_are_what_they_were(tmp_path: Path) -> None:
    folder = sampled_run(tmp_path / "run")
    run = load_run(folder)
    found = timeseries.load(run)
    assert found is not None
    (trace,) = timeseries.traces(run, found)
    assert (trace.experiment, trace.runtime) == ("memory", "crun")
    cpu, memory = trace.boxes["cpu_ns"] / 1e9, trace.boxes["memory_bytes"]
    early, late = trace.seconds < 1.9, trace.seconds > 2.1
    np.testing.assert_allclose(cpu[early], CPU_SHARE)
    np.testing.assert_allclose(cpu[late], 2 * CPU_SHARE)
    assert set(memory[early]) == {HELD}
    assert set(memory[late]) == {2 * HELD}
    assert (trace.instances[0], trace.instances[-1]) == (1, 2)
    np.testing.assert_allclose(trace.host["cpu_ns"] / 1e9, BUSY)
    assert np.trapezoid(cpu, trace.seconds) == pytest.approx(2.0, rel=0.02)


def test_the_report_draws_it_and_tells_what_the_sampler_took(tmp_path: Path) -> None:
    folder = sampled_run(tmp_path / "run")
    page = build_folder(folder).read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "What did the boxes do meanwhile?" in page
    assert "The sampler’s own cost" in page
    assert "0.67 %" in page
    assert (folder / "charts" / "timeseries-memory-cpu.png").stat().st_size > 1000
    assert not (folder / "charts" / "timeseries-memory-disk.png").exists()


def test_a_run_without_series_and_a_report_alone_have_no_such_section(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Plan(runtimes=("bare",), blocks=2, memory=False))
    assert timeseries.load(load_run(folder)) is None
    timeseries.store(folder, "run", complete=True)
    assert not (folder / timeseries.STORED).exists()
    alone = load_run(build_folder(folder))
    assert timeseries.load(alone) is None
    assert alone.folder is None
