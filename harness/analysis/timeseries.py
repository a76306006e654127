"""Counters over time: from the sampler's raw file to Parquet, and to traces that can be drawn.

`timeseries.parquet` has a row a reading (results/README.md). While a run can still be resumed
its raw file stays, and is what counts; from a complete run it goes when the Parquet is written.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from harness.analysis import embedded
from harness.analysis.export import write_whole
from harness.analysis.frames import RunData
from harness.errors import UsageError
from harness.model import Outcome
from harness.series import COUNTERS, HOST, PSS, RAW, Cost, Reader, Reading

STORED = "timeseries.parquet"
NAMES = ("trial", "experiment", "runtime", "instance")
CUMULATIVE = frozenset({
    "cpu_ns", "throttled_ns", "read_bytes", "write_bytes", "receive_bytes", "transmit_bytes",
})  # fmt: skip
_COSTS, _WHOLE = b"tarebench.sampler", b"tarebench.readings"
MOST_READINGS = 20_000
"""Readings that travel in a report."""

_ABSENT = -1
_GRID = 240
_FEWEST = 4
"""Readings without which a trial has no shape."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """All readings of a run as a table, and what each sampler has cost.

    `whole` is how many readings there were, where the table has only a part of them.
    """

    table: pa.Table
    costs: tuple[Cost, ...]
    whole: int | None = None


@dataclass(frozen=True)
class Trace:
    """One trial over time, on a regular grid of seconds since its first reading.

    `boxes` are sums over the instances and `host` the whole host, by counter: a rate in units
    a second where the counter grows, the size itself where it is one (of the host: its growth
    since the trial began). `instances` lived at each point.
    """

    experiment: str
    runtime: str
    trial: str
    seconds: Floats
    boxes: Mapping[str, Floats]
    host: Mapping[str, Floats]
    instances: npt.NDArray[np.int64]


def store(folder: Path, run: str, complete: bool) -> None:
    """Write `timeseries.parquet` from a raw series, if there is one; see the module."""
    raw = folder / RAW
    if not raw.is_file():
        return
    with raw.open("rb") as lines:
        series = decode(lines, run)
    buffer = BytesIO()
    pq.write_table(series.table, buffer, compression="zstd")
    write_whole(folder / STORED, buffer.getvalue())
    if complete:
        raw.unlink()


def load(run: RunData) -> Series | None:
    """The series of a run; None where nothing was sampled, or the report does not carry it.

    Raises UsageError for a series that cannot be read.
    """
    if run.folder is None:
        return _stored(run.sampled) if run.sampled else None
    folder = run.folder
    if (folder / RAW).is_file():
        with (folder / RAW).open("rb") as lines:
            return decode(lines, run.run)
    if (folder / STORED).is_file():
        return _stored((folder / STORED).read_bytes())
    return None


def _stored(data: bytes) -> Series:
    """A series from its Parquet, which may come from anybody."""
    try:
        file = pq.ParquetFile(BytesIO(data))
        about = file.metadata
        groups = (about.row_group(number) for number in range(about.num_row_groups))
        embedded.check_size(about.num_rows, sum(g.total_byte_size for g in groups), Path(STORED))
        table = file.read()
        said = table.schema.metadata or {}
        costs = msgspec.json.decode(said.get(_COSTS, b"[]"), type=list[Cost])
        whole = int(said[_WHOLE]) if _WHOLE in said else None
        missing = {*NAMES, "t_ns", *COUNTERS} - set(table.column_names)
        if missing:
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    except (OSError, ValueError, pa.ArrowException, msgspec.MsgspecError) as error:
        raise UsageError(
            f"the time series cannot be read: {error}",
            f"the rest of the run does not need {STORED}",
        ) from error
    return Series(table, tuple(costs), whole)


def portable(series: Series, most: int = MOST_READINGS) -> bytes:
    """The series as Parquet, of at most so many readings.

    Of each instance every second, third, … reading is kept, and its last; counters count, so
    rates stay right and lose only their sharpness. Where that is still too much, the trials at
    the end are left out.
    """
    table, rows = series.table, series.table.num_rows
    if rows > most:
        frame = table.select(["trial", "instance"]).to_pandas()
        groups = frame.groupby(["trial", "instance"], observed=True, sort=False)
        place = groups.cumcount().to_numpy()
        last = groups.cumcount(ascending=False).to_numpy() == 0
        kept = (place % -(-rows // most) == 0) | last
        trial = pd.factorize(frame["trial"])[0]
        fit = np.cumsum(np.bincount(trial[kept])) <= most
        fit[0] = True
        table = table.filter(pa.array(kept & fit[trial]))
        known = table.schema.metadata or {}
        whole = str(series.whole or rows).encode()
        table = table.replace_schema_metadata({**known, _WHOLE: whole})
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def decode(lines: Iterable[bytes], run: str) -> Series:
    """A table from raw lines."""
    reader, columns = Reader(), _Columns()
    for reading in reader.read(lines):
        columns.add(reading)
    costs = json.dumps(msgspec.to_builtins(reader.costs)).encode()
    table = columns.table(run).replace_schema_metadata({_COSTS: costs})
    return Series(table, tuple(reader.costs))


class _Columns:
    """Columns that grow: words as numbers of a dictionary, figures as 64-bit integers."""

    def __init__(self) -> None:
        self._codes = {name: array("i") for name in NAMES}
        self._words: dict[str, dict[str, int]] = {name: {} for name in NAMES}
        self._figures = {name: array("q") for name in ("t_ns", *COUNTERS, PSS)}

    def add(self, reading: Reading) -> None:
        for name in NAMES:
            words = self._words[name]
            self._codes[name].append(words.setdefault(getattr(reading, name), len(words)))
        self._figures["t_ns"].append(reading.t_ns)
        for name, value in zip(COUNTERS, reading.counters, strict=True):
            self._figures[name].append(_ABSENT if value is None else value)
        self._figures[PSS].append(_ABSENT if reading.pss_bytes is None else reading.pss_bytes)

    def table(self, run: str) -> pa.Table:
        rows = len(self._figures["t_ns"])
        found: dict[str, Any] = {"run": _dictionary(np.zeros(rows, np.int32), [run])}
        for name in NAMES:
            found[name] = _dictionary(np.array(self._codes[name]), list(self._words[name]))
        for name, figures in self._figures.items():
            values = np.array(figures, dtype=np.int64)
            found[name] = pa.array(values, mask=values == _ABSENT)
        return pa.table(found)


def _dictionary(codes: npt.NDArray[np.int32], words: Sequence[str]) -> Any:
    return pa.DictionaryArray.from_arrays(
        pa.array(codes.astype(np.int32)), pa.array(list(words), pa.string())
    )


def traces(run: RunData, series: Series) -> Iterator[Trace]:
    """Every measured trial that succeeded and was sampled long enough to have a shape."""
    good = run.trials[(run.trials["outcome"] == Outcome.OK.value) & ~run.trials["warmup"]]
    wanted = frozenset(good["trial"])
    frame = series.table.drop_columns(["run"]).to_pandas()
    for key, rows in frame.groupby(["experiment", "runtime", "trial"], observed=True, sort=False):
        experiment, runtime, trial = map(str, key)
        boxes = [part for name, part in _instances(rows) if name != HOST]
        host = [part for name, part in _instances(rows) if name == HOST]
        if trial in wanted and any(len(part) >= _FEWEST for part in boxes):
            yield _trace(experiment, runtime, trial, boxes, host)


def _instances(rows: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(name), part) for name, part in rows.groupby("instance", observed=True, sort=False)]


def _trace(
    experiment: str,
    runtime: str,
    trial: str,
    boxes: Sequence[pd.DataFrame],
    host: Sequence[pd.DataFrame],
) -> Trace:
    everything = [*boxes, *host]
    begin = min(int(part["t_ns"].iloc[0]) for part in everything)
    end = max(int(part["t_ns"].iloc[-1]) for part in everything)
    longest = max(len(part) for part in everything)
    grid = np.linspace(0, (end - begin) / 1e9, min(_GRID, longest))
    alive = np.zeros(len(grid), dtype=np.int64)
    for part in boxes:
        at = (part["t_ns"].to_numpy() - begin) / 1e9
        alive += (grid >= at[0]) & (grid <= at[-1])
    return Trace(
        experiment, runtime, trial, grid, _sums(boxes, begin, grid),
        {name: found - (found[0] if name not in CUMULATIVE else 0)
         for name, found in _sums(host, begin, grid).items()},
        alive,
    )  # fmt: skip


def _sums(parts: Sequence[pd.DataFrame], begin_ns: int, grid: Floats) -> dict[str, Floats]:
    """Each counter that any instance has, summed over instances on the grid."""
    found: dict[str, Floats] = {}
    for part in parts:
        at = (part["t_ns"].to_numpy() - begin_ns) / 1e9
        for name in COUNTERS:
            values = part[name].to_numpy(dtype=np.float64, na_value=np.nan)
            if not len(values) or np.isnan(values).any():
                continue
            found.setdefault(name, np.zeros(len(grid)))
            found[name] += _on_grid(at, values, grid, rate=name in CUMULATIVE)
    return found


def _on_grid(at: Floats, values: Floats, grid: Floats, rate: bool) -> Floats:
    """A counter's rate, or a size, at the points of the grid; 0 where the instance is not."""
    if not rate:
        return np.where((grid >= at[0]) & (grid <= at[-1]), np.interp(grid, at, values), 0.0)
    middles = (grid[1:] + grid[:-1]) / 2
    edges = np.concatenate([grid[:1], middles, grid[-1:]])
    return np.asarray(np.diff(np.interp(edges, at, values)) / np.diff(edges))
