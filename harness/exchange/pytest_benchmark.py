"""A run as a file of pytest-benchmark, for `pytest-benchmark compare` and what reads the same.

Each series in seconds becomes a benchmark whose `data` are the trials' values; its group is the
metric, so that only like stands beside like. What was emulated in software has groups of its
own, and is never ranked with boxes on the processor itself. Everything there is shown as a time:
bytes, rates and counts would be lies in it and are left out, and so are curves, whose points
are no trials. The caller is told what was left out.

The format is that of pytest-benchmark 5 (pytest_benchmark/plugin.py,
`pytest_benchmark_generate_json`). Quartiles are numpy's, linear between order statistics.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from harness import __version__
from harness.analysis.frames import RunData
from harness.analysis.measured import Measured, measured, metric_of
from harness.analysis.statistics import Floats
from harness.exchange.encoded import Encoded
from harness.model import Outcome

_MADE_FOR = "5.1.0"
"""The version of pytest-benchmark whose format this is."""

_HOST = {
    "processor": "cpu_model",
    "machine": "architecture",
    "release": "kernel",
    "system": "system",
    "python_version": "python",
    "os": "os",
}
_CPU = {"brand_raw": "cpu_model", "count": "threads", "arch_string_raw": "architecture"}
"""Key of `machine_info`, and of its `cpu` → key of the manifest's host."""


def to_pytest_benchmark(run: RunData) -> Encoded:
    """The file, and what of the run it does not hold."""
    everything = measured(run)
    timed = [s for s in everything if s.unit == "s" and not s.curve]
    document = {
        "machine_info": _machine(run),
        "commit_info": {},
        "benchmarks": [_benchmark(run, series) for series in timed],
        "datetime": str(run.manifest.get("started_utc", "")),
        "version": _MADE_FOR,
    }
    kept = {id(series) for series in timed}
    return Encoded(
        msgspec.json.format(msgspec.json.encode(document), indent=4) + b"\n",
        _left_out([series for series in everything if id(series) not in kept]),
    )


def _left_out(series: Sequence[Measured]) -> tuple[str, ...]:
    curves = sorted({s.metric for s in series if s.curve})
    others = sorted({s.metric for s in series if not s.curve})
    told = []
    if others:
        told.append(f"left out, because they are no times: {', '.join(others)}")
    if curves:
        told.append(f"left out, because their values are no trials: {', '.join(curves)}")
    return tuple(told)


def _benchmark(run: RunData, series: Measured) -> Mapping[str, Any]:
    group = f"{series.metric}, emulated in software" if series.emulated else series.metric
    return {
        "group": group,
        "name": series.name,
        "fullname": f"tarebench::{run.manifest.get('scenario', {}).get('name', '')}::{series.name}",
        "params": {"runtime": series.runtime, **series.dimensions},
        "param": series.runtime,
        "extra_info": {
            "run": run.run,
            "tarebench": str(run.manifest.get("tarebench", __version__)),
            "metric": series.metric,
            "description": metric_of(run, series.metric).description,
            "better": metric_of(run, series.metric).better,
            "runtime_class": series.runtime_class,
            "accel": series.accel,
            "emulated": series.emulated,
            "failed_trials": _failed(run, series),
        },
        "options": {"warmup": False},
        "stats": _stats(np.asarray(series.values, dtype=np.float64)),
    }


def _failed(run: RunData, series: Measured) -> int:
    """Trials of the metric's experiment that went wrong: in no value, and not to be forgotten."""
    bad = run.tally["outcome"].isin([Outcome.FAILED.value, Outcome.TIMEOUT.value])
    same = run.tally["runtime"] == series.runtime
    same &= run.tally["experiment"] == series.metric.partition(".")[0]
    return int(run.tally.loc[bad & same & ~run.tally["warmup"], "count"].sum())


def _stats(data: Floats) -> Mapping[str, Any]:
    q1, middle, q3 = (float(q) for q in np.quantile(data, (0.25, 0.5, 0.75)))
    mean, deviation = float(data.mean()), float(data.std(ddof=1)) if len(data) > 1 else 0.0
    low, high = q1 - 1.5 * (q3 - q1), q3 + 1.5 * (q3 - q1)
    within = data[(data >= low) & (data <= high)]
    beyond = int((np.abs(data - mean) > deviation).sum())
    outside = len(data) - len(within)
    total = float(data.sum())
    return {
        "min": float(data.min()), "max": float(data.max()), "mean": mean, "stddev": deviation,
        "rounds": len(data), "median": middle, "iqr": q3 - q1, "q1": q1, "q3": q3,
        "iqr_outliers": outside, "stddev_outliers": beyond, "outliers": f"{beyond};{outside}",
        "ld15iqr": float(within.min()), "hd15iqr": float(within.max()),
        "ops": len(data) / total if total else 0.0, "total": total,
        "data": [float(value) for value in data], "iterations": 1,
    }  # fmt: skip


def _machine(run: RunData) -> Mapping[str, Any]:
    """What the manifest tells of the host; what it does not know is absent."""
    host = run.manifest.get("host", {})
    told: dict[str, Any] = {key: host[of] for key, of in _HOST.items() if host.get(of)}
    cpu = {key: host[of] for key, of in _CPU.items() if host.get(of)}
    flags = {key: bool(host.get(key)) for key in ("hypervisor", "emulated")}
    return {**told, "cpu": cpu, **flags}
