"""From the records of a journal to columns, one record after the other.

A journal is as long as its run, and a record holds far more as objects than as figures: each
is taken apart as soon as it is read. A line that cannot be read costs one trial, and is told.
"""

from __future__ import annotations

import math
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from harness.analysis.rows import WALL, Parquet, Rows, Table
from harness.analysis.told import encode
from harness.errors import brief
from harness.model import Outcome, Trial, TrialRecord

WARMUP = "warmup"
NOT_RUN = "not run"
ABOUT = b"tarebench.run"
"""Metadata of `samples.parquet`: the notes of the run, and the journal that it was made of."""

LONGEST_LINE = 64 * 1024 * 1024
"""A record of a trial with a hundred thousand samples is a tenth of this."""

_TOLD_LINES = 5
_CHUNK = 20_000
_INT64 = range(-(2**63), 2**63)


class Fingerprint(NamedTuple):
    """Tells whether a journal is still what it was when it was stored as a table."""

    size: int = 0
    crc32: int = 0

    def after(self, piece: bytes) -> Fingerprint:
        """That of a longer journal."""
        return Fingerprint(self.size + len(piece), zlib.crc32(piece, self.crc32))

    @classmethod
    def of(cls, path: Path) -> Fingerprint:
        """That of a whole file. Raises OSError."""
        found = cls()
        with path.open("rb") as file:
            while piece := file.read(1 << 22):
                found = found.after(piece)
        return found


class About(NamedTuple):
    """What `samples.parquet` says of itself."""

    notes: tuple[str, ...] = ()
    journal: Fingerprint | None = None


def about(table: Parquet) -> About:
    """What the file says of itself; nothing where it says nothing that can be read."""
    try:
        return msgspec.json.decode(table.metadata.get(ABOUT, b"{}"), type=About)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return About()


class Reader:
    """Reads records from a journal; `notes` say which lines were left out.

    A torn last line is what a kill leaves: its trial counts as not run, and no note is needed.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._bad: list[str] = []
        self._count = 0
        self.read = Fingerprint()

    def __iter__(self) -> Iterator[TrialRecord]:
        decode = msgspec.json.Decoder(TrialRecord).decode
        for number, line, whole in self._lines():
            try:
                if len(line) > LONGEST_LINE:
                    raise ValueError(f"it is longer than {LONGEST_LINE} bytes")
                record = decode(line)
                _check(record)
            except (msgspec.DecodeError, ValueError, RecursionError) as error:
                if whole:
                    self._note(number, error)
            else:
                yield record

    def _lines(self) -> Iterator[tuple[int, bytes, bool]]:
        """Lines that are not blank: their number, and whether they have an end. No more of a
        line is held than can be a record."""
        number = 0
        while line := self._piece():
            number += 1
            rest = line
            while not rest.endswith(b"\n") and (more := self._piece()):
                rest = more
            if line.strip():
                yield number, line, rest.endswith(b"\n")

    def _piece(self) -> bytes:
        piece = self._file.readline(LONGEST_LINE + 1)
        self.read = self.read.after(piece)
        return piece

    def _note(self, number: int, error: Exception) -> None:
        self._count += 1
        if len(self._bad) < _TOLD_LINES:
            self._bad.append(f"line {number} of the journal was left out: {brief(error)}")

    @property
    def notes(self) -> tuple[str, ...]:
        """A note a damaged line, or their number where they are many."""
        more = self._count - len(self._bad)
        return (*self._bad, *([f"{more} more lines of the journal were left out"] if more else []))


def _check(record: TrialRecord) -> None:
    """Whole numbers that no column can hold. Raises ValueError."""
    for value in (record.block, record.position, *record.marks.values()):
        if value not in _INT64:
            raise ValueError(f"{value} is out of range")


def missing(trial: Trial, manifest: Mapping[str, Any]) -> TrialRecord:
    """What stands for a trial that was planned and has no record."""
    facts = manifest.get("runtimes", {}).get(trial.runtime, {})
    return TrialRecord(
        trial=trial.trial, experiment=trial.experiment, runtime=trial.runtime,
        runtime_class=str(facts.get("class", "")), accel=str(facts.get("accel", "")),
        block=trial.block, position=trial.position, warmup=trial.warmup,
        outcome=Outcome.INTERRUPTED, reason=NOT_RUN, started_utc="", wall_s=math.nan,
    )  # fmt: skip


def rows(
    manifest: Mapping[str, Any], records: Iterable[TrialRecord], planned: Sequence[Trial]
) -> Rows:
    """All rows: the planned trials in the plan's order, then what else was recorded.

    The last record of a trial counts.
    """
    columns, last = _Columns(), dict[str, int]()
    for number, record in enumerate(records):
        columns.add(record)
        last[record.trial] = number
    order = []
    for trial in planned:
        found = last.pop(trial.trial, None)
        if found is None:
            found = columns.trials
            columns.add(missing(trial, manifest))
        order.append(found)
    order += last.values()
    return columns.rows(manifest, np.array(order, dtype=np.int64))


class _Codes:
    """A column of words that grows."""

    def __init__(self) -> None:
        self.codes, self.known = array("i"), dict[str, int]()

    def add(self, word: str) -> None:
        self.codes.append(self.known.setdefault(word, len(self.known)))

    def arrow(self, at: npt.NDArray[np.int64]) -> pa.Array:
        codes = np.array(self.codes, dtype=np.int32)[at]
        return pa.DictionaryArray.from_arrays(codes, pa.array(list(self.known), pa.string()))


class _Texts:
    """A column of long texts that grows: in Arrow's form, but for the newest."""

    def __init__(self) -> None:
        self._done: list[pa.Array] = []
        self._new: list[str] = []

    def add(self, text: str) -> None:
        self._new.append(text)
        if len(self._new) == _CHUNK:
            self._flush()

    def _flush(self) -> None:
        self._done.append(pa.array(self._new, pa.string()))
        self._new = []

    def arrow(self, at: npt.NDArray[np.int64]) -> pa.ChunkedArray:
        self._flush()
        return pa.chunked_array(self._done, pa.string()).take(pa.array(at))


class _Columns:
    """Columns of trials, and of samples with the number of samples of each trial."""

    def __init__(self) -> None:
        self.trials = 0
        self._words = {name: _Codes() for name in (
            "experiment", "runtime", "runtime_class", "accel", "trial", "outcome", "reason",
            "warmup_of", "started_utc",
        )}  # fmt: skip
        self._numbers = {name: array("q") for name in ("block", "position", "count")}
        self._texts = {name: _Texts() for name in ("trial", "marks", "identity", "conditions")}
        self._samples = {name: _Codes() for name in ("metric", "unit", "dimensions")}
        self._values = array("d")
        self._dimensions: dict[tuple[tuple[str, str], ...], str] = {}

    def add(self, record: TrialRecord) -> None:
        warmup = record.warmup
        told = {
            "experiment": WARMUP if warmup else record.experiment, "runtime": record.runtime,
            "runtime_class": record.runtime_class, "accel": record.accel,
            "trial": record.trial, "outcome": record.outcome.value, "reason": record.reason,
            "warmup_of": record.experiment if warmup else "", "started_utc": record.started_utc,
        }  # fmt: skip
        for name, word in told.items():
            self._words[name].add(word)
        measured = record.outcome is Outcome.OK and not warmup
        samples = [s for s in record.samples if s.metric != WALL] if measured else []
        for name, number in (
            ("block", record.block), ("position", record.position), ("count", len(samples) + 1),
        ):  # fmt: skip
            self._numbers[name].append(number)
        self._texts["trial"].add(record.trial)
        self._texts["marks"].add(encode(record.marks))
        self._texts["identity"].add(encode(record.identity))
        self._texts["conditions"].add(encode(record.conditions))
        self._sample(WALL, "s", {}, record.wall_s)
        for each in samples:
            self._sample(each.metric, each.unit, each.dimensions, each.value)
        self.trials += 1

    def _sample(self, metric: str, unit: str, dimensions: Mapping[str, str], value: float) -> None:
        key = tuple(dimensions.items())
        text = self._dimensions.get(key)
        if text is None:
            text = self._dimensions[key] = encode(dict(dimensions))
        self._samples["metric"].add(metric)
        self._samples["unit"].add(unit)
        self._samples["dimensions"].add(text)
        self._values.append(value)

    def rows(self, manifest: Mapping[str, Any], order: npt.NDArray[np.int64]) -> Rows:
        """The rows of these trials."""
        counts = np.array(self._numbers["count"], dtype=np.int64)
        begins = np.cumsum(counts) - counts
        trial = np.repeat(order, counts[order])
        within = np.arange(len(trial)) - np.repeat(
            np.cumsum(counts[order]) - counts[order], counts[order]
        )
        sample = begins[trial] + within
        scenario = str((manifest.get("scenario") or {}).get("name", ""))
        found: dict[str, Any] = {
            "run": _constant(str(manifest.get("run", "")), len(trial)),
            "scenario": _constant(scenario, len(trial)),
            **{name: codes.arrow(trial) for name, codes in self._words.items()},
            **{name: codes.arrow(sample) for name, codes in self._samples.items()},
            "value": np.array(self._values, dtype=np.float64)[sample],
        }
        for name in ("block", "position"):
            found[name] = np.array(self._numbers[name], dtype=np.int64)[trial]
        texts = {name: each.arrow(order) for name, each in self._texts.items()}
        return Rows(Table(pa.table(found), texts))


def _constant(word: str, length: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(np.zeros(length, np.int32), pa.array([word]))
