"""Reads a stored run, whatever is left of it, into two tables.

A run may come as a folder with its journal, as a folder that kept only `samples.parquet`, or
as an HTML report that was mailed around. All three carry the same rows, so everything behind
this module sees one thing: `RunData`. The rows are described in results/README.md; the part
of them that other tools rely on is `CONTRACT`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from harness.analysis import embedded
from harness.analysis.derived import with_derived
from harness.errors import UsageError
from harness.model import SCHEMA_VERSION, Outcome, Sample, Trial, TrialRecord

MANIFEST = "manifest.json"
JOURNAL = "journal.jsonl"
SAMPLES = "samples.parquet"

CONTRACT = (
    "run", "scenario", "experiment", "runtime", "runtime_class", "accel", "trial", "block",
    "outcome", "reason", "metric", "value", "unit", "dimensions",
)  # fmt: skip
"""Columns of the CSV export, in order: one row a sample. See DESIGN, the command line."""

EXTRA = ("position", "warmup_of", "started_utc")
"""Columns that follow `CONTRACT` in an export."""

STORED = ("marks", "identity", "conditions")
"""JSON columns that only `samples.parquet` has, filled on the rows `trial.wall`."""

WALL = "trial.wall"
WARMUP = "warmup"
NOT_RUN = "not run"

Row = dict[str, Any]


@dataclass(frozen=True)
class RunData:
    """One stored run.

    `samples` has a row a sample with the columns `CONTRACT + EXTRA`. `trials` has a row a
    planned trial: trial, experiment (as planned, also for a warm-up), runtime, runtime_class,
    accel, block, position, warmup, outcome, reason, started_utc, wall_s, and the mappings
    marks (ns), identity and conditions. `notes` says what of the stored run was unreadable.
    `folder` is where the run is stored; None when it was read from a report.
    """

    run: str
    manifest: Mapping[str, Any]
    trials: pd.DataFrame
    samples: pd.DataFrame
    notes: tuple[str, ...] = ()
    folder: Path | None = None

    def values(
        self, metric: str, runtime: str | None = None, **dimensions: str
    ) -> pd.Series[float]:
        """The values of a metric in measured `ok` trials, indexed by block.

        Only samples that have these `dimensions`, whatever others they have. A metric belongs
        to the experiment of its prefix, so warm-ups are never among them.
        """
        rows = self.samples[self.samples["metric"] == metric]
        if runtime is not None:
            rows = rows[rows["runtime"] == runtime]
        if dimensions:
            wanted = dimensions.items()
            has = rows["dimensions"].map(lambda text: json.loads(text).items() >= wanted)
            rows = rows[has.astype(bool)]
        rows = rows[rows["outcome"] == Outcome.OK.value]
        return pd.Series(
            rows["value"].to_numpy(dtype=float), index=rows["block"].to_numpy(dtype=int)
        )

    def last_conditions(self, experiment: str, runtime: str) -> Mapping[str, Any]:
        """The conditions of the last `ok` trial of an experiment on a runtime, or nothing."""
        rows = self.trials
        good = rows[
            (rows["runtime"] == runtime)
            & (rows["experiment"] == experiment)
            & (rows["outcome"] == Outcome.OK.value)
        ]
        found: Mapping[str, Any] = good["conditions"].iloc[-1] if len(good) else {}
        return found

    def stored(self) -> pd.DataFrame:
        """The whole run as one table: what `samples.parquet` holds."""
        table = self.samples.copy()
        wall = self.trials.set_index("trial")
        first = table["metric"] == WALL
        for column in STORED:
            texts = wall[column].map(_json)
            table[column] = table["trial"].map(texts).where(first, "").astype(str)
        return table


def load_run(path: Path) -> RunData:
    """Read a run folder, or an HTML report that embeds its data.

    Raises UsageError when the path is neither, or is of a newer schema than this version.
    """
    if path.is_dir():
        return replace(_from_folder(path), folder=path)
    if path.is_file() and path.suffix.lower() in (".html", ".htm"):
        manifest, parquet = embedded.read(path)
        check_schema(manifest, path)
        return from_table(manifest, _parquet(BytesIO(parquet), path))
    if path.exists():
        raise UsageError(
            f"{path} is not a run",
            "give a run folder, or an HTML report that tarebench wrote",
        )
    raise UsageError(f"there is no run at {path}", "`tarebench list runs` shows what there is")


def check_schema(manifest: Mapping[str, Any], path: Path) -> None:
    """Raise UsageError unless the manifest is of a version that we can read."""
    version = manifest.get("schema")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise UsageError(
            f"{path} does not say which version of tarebench's format it has",
            "its manifest.json is damaged, or it is not a run",
        )
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{path} was written in format {version}; this tarebench reads up to {SCHEMA_VERSION}",
            "read it with a newer tarebench",
        )


def _from_folder(folder: Path) -> RunData:
    manifest_path = folder / MANIFEST
    if not manifest_path.is_file():
        raise UsageError(
            f"{folder} is not a run: it has no {MANIFEST}",
            "`tarebench list runs` shows the runs that there are",
        )
    try:
        manifest = json.loads(manifest_path.read_bytes())
    except ValueError as error:
        raise UsageError(
            f"{manifest_path} cannot be read: {error}", "restore the file; the journal is untouched"
        ) from error
    if not isinstance(manifest, dict):
        raise UsageError(f"{manifest_path} is not a manifest", "give a folder that tarebench wrote")
    check_schema(manifest, folder)
    journal = folder / JOURNAL
    if journal.is_file():
        records, notes = read_journal(journal.read_bytes())
        return from_records(manifest, records, notes)
    samples = folder / SAMPLES
    if samples.is_file():
        return from_table(manifest, _parquet(samples, samples))
    if manifest.get("plan"):
        return from_records(manifest, [], ("no trial had been stored",))
    raise UsageError(
        f"{folder} has neither {JOURNAL} nor {SAMPLES}", "no trial was stored in this run"
    )


def read_journal(data: bytes) -> tuple[list[TrialRecord], tuple[str, ...]]:
    """All records, and a note a damaged line. A torn last line is what a kill leaves: no note."""
    decode = msgspec.json.Decoder(TrialRecord).decode
    records: list[TrialRecord] = []
    notes: list[str] = []
    lines = data.split(b"\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            records.append(decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if number < len(lines):
                notes.append(f"line {number} of the journal was left out: {error}")
    return records, tuple(notes)


def from_records(
    manifest: Mapping[str, Any], records: Iterable[TrialRecord], notes: Sequence[str] = ()
) -> RunData:
    """A run from what the journal holds. The last record of a trial counts; what the plan
    names and no record tells is an interrupted trial that was not run."""
    by_trial: dict[str, TrialRecord | None] = {record.trial: record for record in records}
    planned = msgspec.convert(manifest.get("plan", []), list[Trial])
    order = [by_trial.pop(t.trial, None) or _missing(t, manifest) for t in planned]
    everything = [*order, *(record for record in by_trial.values() if record is not None)]
    trials = [_trial_row(record) for record in everything]
    samples = [row for record in everything for row in _sample_rows(manifest, record)]
    return RunData(
        run=str(manifest.get("run", "")),
        manifest=manifest,
        trials=_trials_frame(trials),
        samples=with_derived(manifest, _samples_frame(samples)),
        notes=tuple(notes),
    )


def from_table(manifest: Mapping[str, Any], table: pd.DataFrame) -> RunData:
    """A run from the table of `samples.parquet`."""
    missing = [name for name in (*CONTRACT, *EXTRA, *STORED) if name not in table.columns]
    if missing:
        raise UsageError(
            f"the stored samples lack the columns {', '.join(missing)}",
            "they were not written by tarebench, or by a newer one",
        )
    wall = table[table["metric"] == WALL]
    trials = [
        _trial_row_of({str(k): v for k, v in row.items()}) for row in wall.to_dict(orient="records")
    ]
    samples = with_derived(manifest, table[[*CONTRACT, *EXTRA]])
    return RunData(
        run=str(manifest.get("run", "")),
        manifest=manifest,
        trials=_trials_frame(trials),
        samples=samples,
    )


def _missing(trial: Trial, manifest: Mapping[str, Any]) -> TrialRecord:
    facts = manifest.get("runtimes", {}).get(trial.runtime, {})
    return TrialRecord(
        trial=trial.trial, experiment=trial.experiment, runtime=trial.runtime,
        runtime_class=str(facts.get("class", "")), accel=str(facts.get("accel", "")),
        block=trial.block, position=trial.position, warmup=trial.warmup,
        outcome=Outcome.INTERRUPTED, reason=NOT_RUN, started_utc="", wall_s=math.nan,
    )  # fmt: skip


def _trial_row(record: TrialRecord) -> Row:
    row: Row = msgspec.to_builtins(record)
    del row["samples"]
    return row


def _trial_row_of(row: Row) -> Row:
    warmup = row["experiment"] == WARMUP
    return {
        **{name: row[name] for name in CONTRACT[3:10]},
        "experiment": row["warmup_of"] if warmup else row["experiment"],
        "position": row["position"],
        "warmup": warmup,
        "started_utc": row["started_utc"],
        "wall_s": row["value"],
        **{name: json.loads(row[name] or "{}") for name in STORED},
    }


def _sample_rows(manifest: Mapping[str, Any], record: TrialRecord) -> Iterable[Row]:
    head = {
        "run": str(manifest.get("run", "")),
        "scenario": str(manifest.get("scenario", {}).get("name", "")),
        "experiment": WARMUP if record.warmup else record.experiment,
        "runtime": record.runtime,
        "runtime_class": record.runtime_class,
        "accel": record.accel,
        "trial": record.trial,
        "block": record.block,
        "outcome": record.outcome.value,
        "reason": record.reason,
        "position": record.position,
        "warmup_of": record.experiment if record.warmup else "",
        "started_utc": record.started_utc,
    }
    wall = Sample(metric=WALL, value=record.wall_s, unit="s")
    measured = record.outcome is Outcome.OK and not record.warmup
    for sample in [wall, *(record.samples if measured else [])]:
        yield {
            **head,
            "metric": sample.metric,
            "value": sample.value,
            "unit": sample.unit,
            "dimensions": _json(sample.dimensions),
        }


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _samples_frame(rows: Sequence[Row]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=[*CONTRACT, *EXTRA])
    return frame.astype({"block": "int64", "position": "int64", "value": "float64"})


def _trials_frame(rows: Sequence[Row]) -> pd.DataFrame:
    columns = (
        "trial", "experiment", "runtime", "runtime_class", "accel", "block", "position",
        "warmup", "outcome", "reason", "started_utc", "wall_s", *STORED,
    )  # fmt: skip
    frame = pd.DataFrame(rows, columns=list(columns))
    return frame.astype(
        {"block": "int64", "position": "int64", "warmup": "bool", "wall_s": "float64"}
    )


def _parquet(source: Path | BytesIO, path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(source)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the samples in {path} cannot be read: {error}",
            "the file is damaged; if the journal is still there, remove samples.parquet",
        ) from error
