"""The rows of a run by column: each column is read when a question first needs it.

A run of a million trials has eleven million rows of twenty columns. Nearly all of these hold
words that repeat, and a question needs few of them. Words are therefore kept as small numbers
into their distinct values, JSON is parsed once a distinct text, and nothing is read for a
question that nobody asks. What follows from several columns (which rows a metric of a runtime
has) is worked out once, in one pass, for all questions (`Index`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.errors import UsageError
from harness.model import Outcome

WALL = "trial.wall"
WORDS = (
    "run", "scenario", "experiment", "runtime", "runtime_class", "accel", "trial", "outcome",
    "reason", "metric", "unit", "dimensions", "warmup_of", "started_utc",
)  # fmt: skip
NUMBERS: Mapping[str, Any] = {"block": np.int64, "position": np.int64, "value": np.float64}
TEXTS = ("trial", "marks", "identity", "conditions")
"""What is asked for a trial at a time: of the rows `trial.wall` alone."""

_SMALL = 2**22
_INDEXED = ("metric", "runtime", "dimensions", "outcome", "unit")

Codes = npt.NDArray[Any]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Words:
    """A column of words: `codes` has a row's place in `values`."""

    codes: Codes
    values: Sequence[str]

    def among(self, *wanted: str) -> npt.NDArray[np.bool_]:
        """Which rows hold one of these words."""
        known = np.array([value in wanted for value in self.values] or [False])
        return np.asarray(known[self.codes])

    def at(self, rows: Positions) -> Words:
        """The words of these rows."""
        return Words(self.codes[rows], self.values)

    def arrow(self) -> pa.Array:
        """The same as Arrow has it, with the values in the order in which they first occur."""
        codes, used = pd.factorize(self.codes)
        values = pa.array([self.values[code] for code in used], pa.string())
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), values)

    def pandas(self) -> pd.Series[str]:
        """The same as words in full."""
        values = pd.Series(list(self.values), dtype=str)
        return pd.Series(values.array.take(self.codes))


class Source(Protocol):
    """Where columns come from."""

    length: int

    def read(self, names: Sequence[str]) -> pa.Table:
        """These columns, all rows."""
        ...

    def texts(self, name: str, wall: Positions, places: Positions | None) -> pa.ChunkedArray:
        """A column of texts, a value a trial: of all, or of those at these rising places.
        `wall` are the rows of trials."""
        ...


class Parquet:
    """A Parquet file or its bytes. Raises OSError or ValueError when it is damaged."""

    def __init__(self, file: Path | bytes) -> None:
        words = [name for name in WORDS if name != "trial"]
        opened = BytesIO(file) if isinstance(file, bytes) else str(file)
        self._file = pq.ParquetFile(opened, read_dictionary=words, memory_map=False)
        self.length: int = self._file.metadata.num_rows
        self.names: Sequence[str] = self._file.schema_arrow.names
        about = self._file.metadata
        self.metadata: Mapping[bytes, bytes] = about.metadata or {}
        self.unpacked_bytes = sum(
            about.row_group(group).total_byte_size for group in range(about.num_row_groups)
        )
        self._lost: set[str] = set()

    def lose_unreadable(self, names: Sequence[str]) -> Sequence[str]:
        """From now on, those of these columns that cannot be read are empty; returns them."""
        for name in names:
            try:
                self._file.read(columns=[name])
            except (OSError, ValueError, pa.ArrowException):
                self._lost.add(name)
        return [name for name in names if name in self._lost]

    def read(self, names: Sequence[str]) -> pa.Table:
        """These columns, all rows."""
        return self._file.read(columns=list(names))

    def texts(self, name: str, wall: Positions, places: Positions | None) -> pa.ChunkedArray:
        """A column of texts, one row group after the other."""
        rows = wall if places is None else wall[places]
        if name in self._lost:
            return _chunked([pa.array([""] * len(rows), pa.string())])
        found, begin = [], 0
        for group in range(self._file.num_row_groups):
            end = begin + self._file.metadata.row_group(group).num_rows
            inside = rows[np.searchsorted(rows, begin) : np.searchsorted(rows, end)] - begin
            begin = end
            if len(inside):
                column = self._file.read_row_group(group, columns=[name]).column(name)
                found += column.take(pa.array(inside)).cast(pa.string()).chunks
        return _chunked(found)


class Table:
    """A table in memory; `texts` hold a value a trial and not a value a row."""

    def __init__(self, table: pa.Table, texts: Mapping[str, pa.ChunkedArray]) -> None:
        self._table, self._texts = table, texts
        self.length: int = table.num_rows

    def read(self, names: Sequence[str]) -> pa.Table:
        """These columns, all rows."""
        return self._table.select(list(names))

    def texts(self, name: str, wall: Positions, places: Positions | None) -> pa.ChunkedArray:
        """A column of texts, a value a trial."""
        texts = self._texts[name]
        return texts if places is None else texts.take(pa.array(places))


class Rows:
    """The columns of a run. Raises UsageError where one is damaged, or not what it should be."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._words: dict[str, Words] = {}
        self._numbers: dict[str, npt.NDArray[Any]] = {}
        self.length = source.length

    def need(self, names: Sequence[str]) -> None:
        """Read these columns at once, if they have not been."""
        missing = [n for n in names if n not in self._words and n not in self._numbers]
        if not missing:
            return
        with _damage_told():
            table = self._source.read(missing)
            for name in missing:
                column = table.column(name)
                table = table.drop_columns([name])  # what was taken over need not stay
                if name in NUMBERS:
                    self._numbers[name] = _floats_or_ints(column, NUMBERS[name])
                else:
                    self._words[name] = _codes(column)

    def words(self, name: str) -> Words:
        """A column of words."""
        self.need([name])
        return self._words[name]

    def numbers(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers; a missing value is NaN, a missing whole number 0."""
        self.need([name])
        return self._numbers[name]

    def texts(self, name: str, places: Positions | None = None) -> pa.ChunkedArray:
        """One of `TEXTS`: a value a trial, in the order of the rows `trial.wall`; of all trials,
        or of those at these rising places."""
        with _damage_told():
            return self._source.texts(name, self.wall, places)

    @cached_property
    def wall(self) -> Positions:
        """The rows `trial.wall`, one a trial."""
        return np.flatnonzero(self.words("metric").among(WALL))

    @cached_property
    def index(self) -> Index:
        """Which rows of trials that are `ok` hold which series."""
        return Index(self)


@dataclass(frozen=True)
class Series:
    """A metric of a runtime with its dimensions, in `ok` trials; `count` values."""

    metric: str
    runtime: str
    dimensions: Mapping[str, str]
    unit: str
    count: int


class Index:
    """The rows of every series, found in one pass: sorted by series, each in its own order."""

    def __init__(self, rows: Rows) -> None:
        rows.need(_INDEXED)
        metric, runtime = rows.words("metric"), rows.words("runtime")
        dimensions, unit = rows.words("dimensions"), rows.words("unit")
        shape = tuple(max(len(w.values), 1) for w in (metric, runtime, dimensions))
        good = rows.words("outcome").among(Outcome.OK.value)
        key = np.ravel_multi_index((metric.codes, runtime.codes, dimensions.codes), shape)
        found, dense, counts = _dense(np.where(good, key, -1))
        self._order = np.argsort(dense, kind="stable").astype(np.int64, copy=False)
        ends = np.cumsum(counts)
        parsed = [_mapping(text) for text in dimensions.values]
        self._found: dict[str, list[tuple[Series, slice]]] = {}
        for number, begin, end in zip(found, ends - counts, ends, strict=True):
            if number < 0:
                continue
            m, r, d = np.unravel_index(number, shape)
            first = self._order[begin]
            series = Series(
                metric.values[m], runtime.values[r], parsed[d], unit.values[unit.codes[first]],
                int(end - begin),
            )  # fmt: skip
            self._found.setdefault(series.metric, []).append((series, slice(begin, end)))

    def series(self, metric: str) -> Iterator[Series]:
        """Every series of a metric."""
        return (series for series, _ in self._found.get(metric, ()))

    @property
    def metrics(self) -> Sequence[str]:
        """All metrics that there are."""
        return list(self._found)

    def rows(self, metric: str, runtime: str | None, dimensions: Mapping[str, str]) -> Positions:
        """The rows of a metric, in their order, that have these dimensions among theirs."""
        wanted = dimensions.items()
        found = [
            self._order[part]
            for series, part in self._found.get(metric, ())
            if runtime in (None, series.runtime) and series.dimensions.items() >= wanted
        ]
        if len(found) == 1:
            return found[0]
        return np.sort(np.concatenate([np.empty(0, np.int64), *found]))


def _dense(key: npt.NDArray[np.int64]) -> tuple[Positions, Codes, Positions]:
    """The distinct keys (-1 for none), each row's place among them, and how often each occurs.

    Small numbers are counted rather than sorted, and then need 16 bits, which numpy sorts in
    one pass (radix sort).
    """
    if len(key) == 0:
        return key, key, key
    if key.max() < _SMALL:
        all_counts = np.bincount(key + 1)
        found = np.flatnonzero(all_counts)
        places = np.zeros(len(all_counts), np.uint16 if len(found) < 2**16 else np.int32)
        places[found] = np.arange(len(found))
        return found - 1, places[key + 1], all_counts[found]
    found, places, counts = np.unique(key, return_inverse=True, return_counts=True)
    small = np.uint16 if len(found) < 2**16 else np.int32
    return found, places.astype(small), counts


@contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(
            f"the stored samples cannot be read: {error}",
            "the file is damaged; if the journal is still there, remove samples.parquet",
        ) from error


def _codes(column: pa.ChunkedArray) -> Words:
    if not pa.types.is_dictionary(column.type):
        column = column.cast(pa.string()).dictionary_encode()
    elif not pa.types.is_string(column.type.value_type):
        column = column.cast(pa.dictionary(pa.int32(), pa.string()))
    chunks = column.unify_dictionaries().chunks
    values = [str(v or "") for v in chunks[0].dictionary.to_pylist()] if chunks else []
    missing = any(chunk.null_count for chunk in chunks) or None in values
    if missing and "" not in values:
        values.append("")
    small: Any = np.uint8 if len(values) < 2**8 else np.uint16 if len(values) < 2**16 else np.int32
    parts = [
        (chunk.indices.fill_null(values.index("")) if chunk.null_count else chunk.indices)
        .to_numpy(zero_copy_only=False)
        .astype(small)
        for chunk in chunks
    ]
    return Words(np.concatenate(parts) if parts else np.empty(0, np.uint8), values)


def _floats_or_ints(column: pa.ChunkedArray, kind: Any) -> npt.NDArray[Any]:
    wanted = pa.from_numpy_dtype(kind)
    column = column.cast(wanted)
    if column.null_count:
        column = pc.fill_null(column, pa.scalar(float("nan") if kind is np.float64 else 0, wanted))
    return np.asarray(column.to_numpy())


def _chunked(parts: Sequence[pa.Array]) -> pa.ChunkedArray:
    return pa.chunked_array(list(parts), pa.string())


def _mapping(text: str) -> Mapping[str, str]:
    """A JSON object of words; nothing where a text is something else."""
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeEncodeError):
        return {}
