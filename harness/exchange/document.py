"""A whole run as one JSON document, for programs that know neither Parquet nor our folders.

The shape is a contract of its own (results/README.md, "the JSON document"): its version moves
when a meaning changes, whatever the stored form of runs does. Values that are not there are
null, never 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import msgspec

from harness.analysis.frames import RunData
from harness.analysis.measured import metric_of

FORMAT = "tarebench-run"
VERSION = 1


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sample of a trial, in base units."""

    metric: str
    value: float | None
    unit: str
    dimensions: dict[str, str]


class TrialEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One planned trial with its samples; `wall_s` is null where it is not known."""

    trial: str
    experiment: str
    runtime: str
    runtime_class: str
    accel: str
    block: int
    position: int
    warmup: bool
    outcome: str
    reason: str
    started_utc: str
    wall_s: float | None
    marks: dict[str, int]
    identity: dict[str, Any]
    conditions: dict[str, Any]
    samples: list[Value]


class MetricEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a metric that occurs in the document means."""

    unit: str
    better: str
    description: str


class Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole of it."""

    format: str
    version: int
    run: str
    manifest: dict[str, Any]
    metrics: dict[str, MetricEntry]
    trials: list[TrialEntry]
    notes: list[str]


def to_json(run: RunData) -> bytes:
    """The document, indented by one, in UTF-8."""
    samples = _samples(run)
    trials = [
        TrialEntry(
            **{**row, "wall_s": _number(row["wall_s"]), "samples": samples.get(row["trial"], [])}
        )
        for row in ({str(k): v for k, v in r.items()} for r in run.trials.to_dict("records"))
    ]
    document = Document(
        format=FORMAT, version=VERSION, run=run.run, manifest=dict(run.manifest),
        metrics=_metrics(run), trials=trials, notes=list(run.notes),
    )  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _samples(run: RunData) -> Mapping[str, list[Value]]:
    """Samples by trial; `trial.wall` stands in the trial itself."""
    found: dict[str, list[Value]] = {}
    columns = ("trial", "metric", "value", "unit", "dimensions")
    rows = run.samples[run.samples["metric"] != "trial.wall"]
    for trial, metric, value, unit, said in zip(*(rows[name] for name in columns), strict=True):
        dimensions = json.loads(said)
        found.setdefault(trial, []).append(Value(metric, _number(value), unit, dimensions))
    return found


def _metrics(run: RunData) -> dict[str, MetricEntry]:
    found = {str(name): metric_of(run, str(name)) for name in run.samples["metric"].unique()}
    return {
        name: MetricEntry(metric.unit, metric.better, metric.description)
        for name, metric in found.items()
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
