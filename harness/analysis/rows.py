"""The rows of a run by column: each column is read when a question first needs it.

A run of a million trials has eleven million rows of twenty columns. Nearly all of these hold
words that repeat, and a question needs few of them. Words are therefore kept as small numbers
into their distinct values, JSON is parsed once a distinct text, and nothing is read for a
question that nobody asks. What follows from several columns (which rows a metric of a runtime
has) is worked out once, in one pass, for all questions (`Index`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from harness.errors import UsageError, brief
from harness.model import Outcome

WALL = "trial.wall"
WORDS = (
    "run", "scenario", "experiment", "runtime", "runtime_class", "accel", "trial", "outcome",
    "reason", "metric", "unit", "dimensions", "warmup_of", "started_utc",
)  # fmt: skip
NUMBERS: Mapping[str, Any] = {"block": np.int64, "position": np.int64, "value": np.float64}
TEXTS = ("trial", "marks", "identity", "conditions")
"""What is asked for a trial at a time: of the rows `trial.wall` alone."""
REPEATED = "identity"
"""The one of these whose long texts are mostly the same, and are kept once each."""

_KEPT_ONCE = pa.dictionary(pa.int32(), pa.string())
_SMALL = 2**16
_STRETCH = 2**19
_INDEXED = ("metric", "runtime", "dimensions", "outcome")

Found = TypeVar("Found")
Codes = npt.NDArray[Any]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Words:
    """A column of words: `codes` has a row's place in `values`."""

    codes: Codes
    values: Sequence[str]

    def among(self, *wanted: str) -> npt.NDArray[np.bool_]:
        """Which rows hold one of these words: few words of many, so each is looked for."""
        found = np.zeros(len(self.codes), dtype=bool)
        for code, value in enumerate(self.values):
            if value in wanted:
                found |= self.codes == code
        return found

    def at(self, rows: Positions | slice) -> Words:
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


Column = Words | npt.NDArray[Any]


class Source(Protocol):
    """Where columns come from."""

    length: int

    def parts(self, names: Sequence[str]) -> Iterable[tuple[int, Mapping[str, Column]]]:
        """These columns in parts, each with the number of its first row."""
        ...

    def texts(self, name: str, wall: Positions, places: Positions | None) -> pa.ChunkedArray:
        """A column of texts, a value a trial: of all, or of those at these rising places.
        `wall` are the rows of trials. Texts that repeat may come as Arrow's dictionaries."""
        ...


class Parquet:
    """A Parquet file or its bytes, open only while it is read: of runs there may be thousands.

    Raises OSError or ValueError (pyarrow's are both) when it is damaged.
    """

    def __init__(self, file: Path | bytes) -> None:
        self._source = file
        self._about: Any = None
        with self._open() as opened:
            self._about = about = opened.metadata
            self.names: Sequence[str] = opened.schema_arrow.names
        self.length: int = about.num_rows
        self.metadata: Mapping[bytes, bytes] = about.metadata or {}
        groups = [about.row_group(number) for number in range(about.num_row_groups)]
        self.unpacked_bytes = sum(group.total_byte_size for group in groups)
        self._begins = np.cumsum([0, *(group.num_rows for group in groups)])
        self._lost: set[str] = set()

    def lose_unreadable(self, names: Sequence[str]) -> Sequence[str]:
        """From now on, those of these columns that cannot be read are empty; returns them."""
        if not self._can_read(names):
            self._lost = {name for name in names if not self._can_read([name])}
        return [name for name in names if name in self._lost]

    def _can_read(self, names: Sequence[str]) -> bool:
        try:
            with self._open() as file:
                file.read(columns=list(names))
        except (OSError, ValueError, pa.ArrowException):
            return False
        return True

    def parts(self, names: Sequence[str]) -> Iterable[tuple[int, Mapping[str, Column]]]:
        """These columns, a row group a part, several at a time."""

        def part(group: int) -> tuple[int, Mapping[str, Column]]:
            with self._open() as file:
                table = file.read_row_group(group, columns=list(names), use_threads=False)
            return int(self._begins[group]), _columns(table, names)

        return beside(part, range(len(self._begins) - 1))

    def texts(self, name: str, wall: Positions, places: Positions | None) -> pa.ChunkedArray:
        """A column of texts, one row group after the other."""
        rows = wall if places is None else wall[places]
        if name in self._lost:
            return pa.chunked_array([pa.array([""] * len(rows), pa.string())])
        kind = _KEPT_ONCE if name == REPEATED else pa.string()
        groups = np.unique(np.searchsorted(self._begins, rows, side="right") - 1)

        def part(group: int) -> Sequence[pa.Array]:
            begin, end = self._begins[group], self._begins[group + 1]
            inside = rows[np.searchsorted(rows, begin) : np.searchsorted(rows, end)] - begin
            with self._open() as file:
                column = file.read_row_group(group, columns=[name], use_threads=False).column(name)
            chunks: Sequence[pa.Array] = _as(kind, column.take(pa.array(inside))).chunks
            return chunks

        found = beside(part, groups.tolist())
        return pa.chunked_array([chunk for chunks in found for chunk in chunks], kind)

    def _open(self) -> Any:
        words = [REPEATED, *WORDS]
        source = pa.BufferReader(self._source) if isinstance(self._source, bytes) else self._source
        try:
            return pq.ParquetFile(source, metadata=self._about, read_dictionary=words)
        except KeyError as error:
            raise ValueError("a column does not hold plain values") from error


class Table:
    """A table in memory; `texts` hold a value a trial and not a value a row."""

    def __init__(self, table: pa.Table, texts: Mapping[str, pa.ChunkedArray]) -> None:
        self._table, self._texts = table, texts
        self.length: int = table.num_rows

    def parts(self, names: Sequence[str]) -> Iterable[tuple[int, Mapping[str, Column]]]:
        """These columns, all rows at once."""
        yield 0, _columns(self._table, names)

    def texts(self, name: str, wall: Positions, places: Positions | None) -> pa.ChunkedArray:
        """A column of texts, a value a trial."""
        texts = self._texts[name]
        return texts if places is None else _taken(texts, places)


def _taken(texts: pa.ChunkedArray, places: Positions) -> pa.ChunkedArray:
    """The texts at these rising places, chunk by chunk: Arrow would copy all into one first."""
    ends = np.cumsum([0, *(len(chunk) for chunk in texts.chunks)])
    inside = np.split(places, np.searchsorted(places, ends[1:]))
    found = [
        chunk.take(pa.array(here - begin))
        for chunk, begin, here in zip(texts.chunks, ends, inside, strict=False)
    ]
    return pa.chunked_array(found, texts.type)


def beside(work: Callable[[int], Found], numbers: Sequence[int]) -> Iterator[Found]:
    """The work for each number, on all processors: pyarrow and numpy do it without Python."""
    if len(numbers) < 2:
        yield from map(work, numbers)
        return
    with ThreadPoolExecutor(os.cpu_count()) as workers:
        yield from workers.map(work, numbers)


class Rows:
    """The columns of a run. Raises UsageError where one is damaged, or not what it should be."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._words: dict[str, Words] = {}
        self._numbers: dict[str, npt.NDArray[Any]] = {}
        self._kept_places = np.empty(0, np.int64)
        self._kept: dict[str, pa.ChunkedArray] = {}
        self.length = source.length

    def need(self, names: Sequence[str]) -> None:
        """Read these columns at once, if they have not been."""
        missing = [n for n in names if n not in self._words and n not in self._numbers]
        if not missing:
            return
        numbers = {n: np.empty(self.length, NUMBERS[n]) for n in missing if n in NUMBERS}
        words: dict[str, list[tuple[int, Words]]] = {n: [] for n in missing if n not in NUMBERS}
        with _damage_told():
            for begin, columns in self._source.parts(missing):
                for name, column in columns.items():
                    if isinstance(column, Words):
                        words[name].append((begin, column))
                    else:
                        numbers[name][begin : begin + len(column)] = column
        self._numbers.update(numbers)
        self._words.update((name, _joined(found, self.length)) for name, found in words.items())

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
        if places is not None and name in self._kept and np.array_equal(places, self._kept_places):
            return self._kept[name]
        with _damage_told():
            found = self._source.texts(name, self.wall, places)
        if places is None and len(self._kept_places):
            self._kept[name] = _taken(found, self._kept_places)
        return found

    def keep(self, places: Positions) -> None:
        """From now on, when a column of texts is read, keep those at these rising places, which
        will be asked for again: all of them would be too much to keep."""
        self._kept_places, self._kept = places, {}

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
    """A metric of a runtime with its dimensions, in `ok` trials: `count` values, the first in
    the row `first`."""

    metric: str
    runtime: str
    dimensions: Mapping[str, str]
    unit: str
    count: int
    first: int = 0


class Index:
    """The rows of every series, found in one pass: sorted by series, each in its own order.

    Rows are taken in stretches, as processors like them: every stretch is sorted by itself, and
    the rows of a series are those that it has in each stretch.
    """

    def __init__(self, rows: Rows) -> None:
        rows.need(_INDEXED)
        self._rows = rows
        key, numbers, shape = _keys(rows)
        begins = range(0, rows.length, _STRETCH)

        def sort(begin: int) -> tuple[Codes, Positions]:
            part = key(slice(begin, begin + _STRETCH))
            counts = np.bincount(part, minlength=len(numbers) + 1)
            return np.argsort(part, kind="stable").astype(np.int32), np.cumsum([0, *counts])

        sorted_ = list(beside(sort, begins))
        self._stretches = [(b, *found) for b, found in zip(begins, sorted_, strict=True)]
        counts = sum((np.diff(ends) for _, _, ends in self._stretches), np.zeros(1, np.int64))
        words = [rows.words(name).values for name in _INDEXED[:3]]
        parsed = [_mapping(text) for text in words[2]]
        self._found: dict[str, list[tuple[Series, int]]] = {}
        for number in np.flatnonzero(counts[:-1]) if rows.length else ():
            m, r, d = np.unravel_index(numbers[number], shape)
            series = Series(words[0][m], words[1][r], parsed[d], "", int(counts[number]))
            self._found.setdefault(series.metric, []).append((series, int(number)))

    def series(self, metric: str) -> Iterator[Series]:
        """Every series of a metric."""
        unit = self._rows.words("unit")
        for series, number in self._found.get(metric, ()):
            first = self._first(number)
            yield replace(series, unit=unit.values[unit.codes[first]], first=first)

    @property
    def metrics(self) -> Sequence[str]:
        """All metrics that there are."""
        return list(self._found)

    def rows(self, metric: str, runtime: str | None, dimensions: Mapping[str, str]) -> Positions:
        """The rows of a metric, in their order, that have these dimensions among theirs."""
        wanted = dimensions.items()
        found = [
            self._at(number)
            for series, number in self._found.get(metric, ())
            if runtime in (None, series.runtime) and series.dimensions.items() >= wanted
        ]
        return _in_order(found)

    def exactly(self, series: Series) -> Positions:
        """The rows of a metric of a runtime that have these dimensions and no others."""
        found = [
            self._at(number)
            for other, number in self._found.get(series.metric, ())
            if (other.runtime, other.dimensions) == (series.runtime, series.dimensions)
        ]
        return _in_order(found)

    def _first(self, number: int) -> int:
        begin, order, ends = next(s for s in self._stretches if s[2][number] < s[2][number + 1])
        return int(begin + order[ends[number]])

    def _at(self, number: int) -> Positions:
        return np.concatenate([
            order[ends[number] : ends[number + 1]].astype(np.int64) + begin
            for begin, order, ends in self._stretches
        ])  # fmt: skip


def _in_order(found: Sequence[Positions]) -> Positions:
    if len(found) == 1:
        return found[0]
    return np.sort(np.concatenate([np.empty(0, np.int64), *found]))


def _keys(rows: Rows) -> tuple[Callable[[slice], Codes], Positions, Sequence[int]]:
    """What tells each row's series as a small number, what each number stands for, and the sizes
    of the three words that make it. Rows that are not `ok` have the number after the last.

    Numbers of 16 bits are sorted in linear time (numpy: radix sort), and nearly always do.
    """
    words = [rows.words(name) for name in _INDEXED[:3]]
    shape = [max(len(each.values), 1) for each in words]
    outcome, space = rows.words("outcome"), math.prod(shape)

    def key(part: slice) -> Codes:
        found = words[0].codes[part].astype(np.uint16)
        for each, size in zip(words[1:], shape[1:], strict=True):
            found *= np.uint16(size)
            found += each.codes[part].astype(np.uint16)
        np.putmask(found, ~outcome.at(part).among(Outcome.OK.value), space)
        return found

    if space < _SMALL:
        return key, np.arange(space), shape
    wide = np.ravel_multi_index([each.codes for each in words], shape)
    numbers, places = np.unique(wide, return_inverse=True)
    places[~outcome.among(Outcome.OK.value)] = len(numbers)
    few = places.astype(np.uint16 if len(numbers) < _SMALL else np.int64)
    return lambda part: few[part], numbers, shape


@contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(
            f"the stored samples cannot be read: {brief(error)}",
            "the file is damaged; if the journal is still there, remove samples.parquet",
        ) from error


def _columns(table: pa.Table, names: Sequence[str]) -> Mapping[str, Column]:
    found: dict[str, Column] = {}
    for name in names:
        column = table.column(name)
        table = table.drop_columns([name])  # what was taken over need not stay
        kind = NUMBERS.get(name)
        found[name] = _codes(column) if kind is None else _floats_or_ints(column, kind)
    return found


def _codes(column: pa.ChunkedArray) -> Words:
    kept_once = _as(_KEPT_ONCE, column)
    kept_once.validate(full=True)  # a damaged file may number texts that are not there
    chunks = kept_once.unify_dictionaries().chunks
    values = [str(v or "") for v in chunks[0].dictionary.to_pylist()] if chunks else []
    missing = any(chunk.null_count for chunk in chunks)
    if missing and "" not in values:
        values.append("")
    parts = [
        (chunk.indices.fill_null(values.index("")) if chunk.null_count else chunk.indices)
        .to_numpy(zero_copy_only=False)
        .astype(_narrow(len(values)))
        for chunk in chunks
    ]
    return Words(np.concatenate(parts) if parts else np.empty(0, np.uint8), values)


def _joined(parts: Sequence[tuple[int, Words]], length: int) -> Words:
    """Parts of a column, whose values differ, as one."""
    known: dict[str, int] = {}
    for _, words in parts:
        for value in words.values:
            known.setdefault(value, len(known))
    if len(parts) == 1:
        return parts[0][1]
    codes = np.empty(length, _narrow(len(known)))
    for begin, words in parts:
        places = np.array([known[value] for value in words.values] or [0], codes.dtype)
        same = np.array_equal(places, np.arange(len(places)))
        codes[begin : begin + len(words.codes)] = words.codes if same else places[words.codes]
    return Words(codes, list(known))


def _narrow(count: int) -> Any:
    return np.uint8 if count <= 2**8 else np.uint16 if count <= 2**16 else np.int32


def _floats_or_ints(column: pa.ChunkedArray, kind: Any) -> npt.NDArray[Any]:
    wanted = pa.from_numpy_dtype(kind)
    column = column.cast(wanted)
    if column.null_count:
        column = pc.fill_null(column, pa.scalar(float("nan") if kind is np.float64 else 0, wanted))
    return np.asarray(column.chunk(0) if column.num_chunks == 1 else column)


def _as(kind: pa.DataType, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column of texts in another of the forms that texts have."""
    if kind == _KEPT_ONCE and not pa.types.is_dictionary(column.type):
        return column.cast(pa.string()).dictionary_encode()
    return column if column.type == kind else column.cast(kind)


def _mapping(text: str) -> Mapping[str, str]:
    """A JSON object of words; nothing where a text is something else."""
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except (msgspec.DecodeError, UnicodeEncodeError):
        return {}
