"""Reads a stored run, whatever is left of it, into two tables.

A run may come as a folder with its journal, as a folder that kept only `samples.parquet`, or
as an HTML report that was mailed around. All three carry the same rows, so everything behind
this module sees one thing: `RunData`. The rows are described in results/README.md; the part
of them that other tools rely on is `CONTRACT`.

The journal is the truth as long as it is there. Where `samples.parquet` says that it was made
of exactly this journal, it is read in its place, because it is read by column.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from harness.analysis import embedded, journals, manifests, told
from harness.analysis.derived import with_derived
from harness.analysis.journals import NOT_RUN, WARMUP, Fingerprint, about
from harness.analysis.rows import (
    NUMBERS,
    WALL,
    Parquet,
    Positions,
    Rows,
    Series,
    Table,
    Words,
)
from harness.analysis.tables import (
    CONTRACT,
    EXTRA,
    PLANNED,
    STORED,
    factorised,
    planned,
    rows_of,
    samples_frame,
    tally_frame,
    trials_frame,
)
from harness.analysis.told import Told
from harness.errors import UsageError, brief
from harness.model import Outcome, TrialRecord
from harness.paths import JOURNAL, MANIFEST

__all__ = [
    "CONTRACT", "EXTRA", "JOURNAL", "MANIFEST", "NOT_RUN", "SAMPLES", "STORED", "WALL", "WARMUP",
    "RunData", "from_records", "from_table", "load_all", "load_run", "load_runs",
]  # fmt: skip

SAMPLES = "samples.parquet"
Found = TypeVar("Found")

_AT_ONCE = 4
_EAGER = 200_000
"""A table up to this many rows is read whole at once, so that damage is known at once."""


@dataclass(frozen=True)
class RunData:
    """One stored run.

    `samples` has a row a sample with the columns `CONTRACT + EXTRA`. `trials` has a row a
    planned trial: trial, experiment (as planned, also for a warm-up), runtime, runtime_class,
    accel, block, position, warmup, outcome, reason, started_utc, wall_s, and the mappings
    marks (ns), identity and conditions. `notes` says what of the stored run was unreadable.
    `folder` is where the run is stored; None when it was read from a report. `journal` tells
    which journal it was read from, if it was. `sampled` is the time series that a report carried
    (`timeseries.load`).

    Both tables are made when they are first asked for, and are never changed: what needs another
    table makes another run of it (`dataclasses.replace`). Of a run of a million trials they are
    large, and `values`, `series`, `tally`, `measured` and `told` answer without them.
    """

    run: str
    manifest: Mapping[str, Any]
    trials: pd.DataFrame
    samples: pd.DataFrame
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    journal: Fingerprint | None = None
    sampled: bytes = b""

    @classmethod
    def of(
        cls,
        manifest: Mapping[str, Any],
        rows: Rows,
        notes: Sequence[str] = (),
        folder: Path | None = None,
        journal: Fingerprint | None = None,
        sampled: bytes = b"",
    ) -> RunData:
        """A run whose tables are made of these rows when they are asked for."""
        made = object.__new__(cls)
        made.__dict__.update(
            run=str(manifest.get("run", "")), manifest=manifest, notes=tuple(notes),
            folder=folder, journal=journal, sampled=sampled, rows=rows,
        )  # fmt: skip
        return made

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            if name not in ("samples", "trials") or "rows" not in self.__dict__:
                raise AttributeError(name)
            made = samples_frame(self.rows) if name == "samples" else self.trials_at(None)
            self.__dict__[name] = made
            return made

    @cached_property
    def rows(self) -> Rows:
        """The rows of `samples` by column."""
        return rows_of(self.trials, self.samples)

    def values(
        self, metric: str, runtime: str | None = None, **dimensions: str
    ) -> pd.Series[float]:
        """The values of a metric in measured `ok` trials, indexed by block.

        Only samples that have these `dimensions`, whatever others they have. A metric belongs
        to the experiment of its prefix, so warm-ups are never among them.
        """
        return self.once(
            ("values", metric, runtime, *sorted(dimensions.items())),
            lambda: self._values(self.rows.index.rows(metric, runtime, dimensions)),
        ).copy()

    def _values(self, at: Positions) -> pd.Series[float]:
        self.rows.need(["value", "block"])
        values, blocks = self.rows.numbers("value")[at], self.rows.numbers("block")[at]
        return pd.Series(values, index=blocks, copy=False)

    @cached_property
    def _known(self) -> dict[tuple[Any, ...], Any]:
        """What was asked for once: the question's name, then what it was asked with."""
        return {}

    def once(self, question: tuple[Any, ...], answer: Callable[[], Found]) -> Found:
        """The answer to a question about this run, worked out when it is first asked; nobody may
        change it."""
        if question not in self._known:
            self._known[question] = answer()
        return cast(Found, self._known[question])

    def exactly(self, series: Series) -> pd.Series[float]:
        """The same of the samples that have the dimensions of a series, and no others."""
        return self._values(self.rows.index.exactly(series))

    def by_trial(self, series: Series) -> pd.Series[float]:
        """The same by place in `trials`, for what is compared within a trial."""
        at = self.rows.index.exactly(series)
        places = np.searchsorted(self.rows.wall, at, side="right") - 1
        return pd.Series(self.rows.numbers("value")[at], index=places)

    def series(self, *metrics: str) -> Sequence[Series]:
        """What `values` has: each metric (of these, or all) by runtime and dimensions."""
        index = self.rows.index
        return [found for each in metrics or index.metrics for found in index.series(each)]

    @cached_property
    def tally(self) -> pd.DataFrame:
        """How many trials there are of each kind, in the order in which the kinds first occur.

        A row has experiment (as planned), runtime, runtime_class, accel, warmup, outcome,
        reason, and `count`.
        """
        return tally_frame(self._kinds)

    def kinds(self, name: str) -> Words:
        """A column of `tally`, a value a trial; of `warmup`, "yes" or "no"."""
        return self._kinds[name]

    def measured(self, experiment: str, runtime: str, warmup: bool = False) -> Positions:
        """The places in `trials` of an experiment's `ok` trials on a runtime."""
        return self.once(
            ("measured", experiment, runtime, warmup),
            lambda: np.flatnonzero(
                self.kinds("experiment").among(experiment) & self.kinds("runtime").among(runtime)
                & self.kinds("outcome").among(Outcome.OK.value)
                & self.kinds("warmup").among("yes" if warmup else "no")
            ),
        )  # fmt: skip

    @cached_property
    def classes(self) -> Mapping[str, tuple[str, str]]:
        """Class and accelerator of each runtime whose trials tell them."""
        told = self.tally[self.tally["runtime_class"] != ""].drop_duplicates("runtime")
        rows = told[["runtime", "runtime_class", "accel"]].itertuples(index=False)
        return {str(runtime): (str(kind), str(accel)) for runtime, kind, accel in rows}

    def first(self, metric: str, experiment: str, runtime: str) -> float | None:
        """A metric of the first measured trial; None where that trial has none."""
        own = (
            self.kinds("experiment").among(experiment) & self.kinds("runtime").among(runtime)
            & self.kinds("warmup").among("no")
        )  # fmt: skip
        ends = [*self.rows.wall[own][:1], *self.rows.wall[own][1:2], self.rows.length]
        found = self.rows.index.rows(metric, runtime, {})[:1]
        if not own.any() or not len(found) or not ends[0] < found[0] < ends[1]:
            return None
        return float(self.rows.numbers("value")[found[0]])

    def trials_at(self, places: Positions | None, told: Sequence[str] = STORED) -> pd.DataFrame:
        """These rows of `trials`, without making the others; all of them for None. Of what they
        tell (marks, identity, conditions) no more than is asked for need be among the columns."""
        if "trials" in self.__dict__:
            return self.trials if places is None else self.trials.iloc[places]
        return trials_frame(self.rows, self._kinds, places, told)

    def numbers(self, name: str) -> npt.NDArray[Any]:
        """`block`, `position` or `wall_s`, a value a trial."""
        if "trials" in self.__dict__:
            return self.trials[name].to_numpy()
        column = "value" if name == "wall_s" else name
        return self.once(("numbers", name), lambda: self.rows.numbers(column)[self.rows.wall])

    def told(self, column: str, key: str) -> pd.Series[Any]:
        """What trials say under a key of `marks`, `identity` or `conditions`, if it is a plain
        value: a number, a word or a flag. Indexed by place in `trials`; those that do not say
        it are left out."""
        found = self._told(column, key if column == "identity" else None).get(key)
        return pd.Series(dtype=float, index=np.empty(0, np.int64)) if found is None else found

    def told_of(self, column: str, key: str, runtime: str) -> Sequence[Any]:
        """The different values of `told` in a runtime's trials, in their order."""
        found = self.once(
            ("told of", column, key),
            lambda: told.by_word(self.told(column, key), self.kinds("runtime")),
        )
        return found.get(runtime, [])

    def keys(self, column: str) -> Sequence[str]:
        """All keys that `told` knows of `marks` or `conditions`."""
        return list(self._told(column, None))

    def last_conditions(self, experiment: str, runtime: str) -> Mapping[str, Any]:
        """The conditions of the last `ok` trial of an experiment on a runtime, or nothing."""
        measured = self.measured(experiment, runtime)
        warmups = self.measured(experiment, runtime, warmup=True)
        last = max([*measured[-1:], *warmups[-1:]], default=None)
        return {} if last is None else self.told_at("conditions", int(last))

    def table(self) -> pa.Table:
        """The whole run as one table by column: what `samples.parquet` holds."""
        rows = self.rows
        columns: dict[str, Any] = {
            name: rows.numbers(name) if name in NUMBERS else rows.words(name).arrow()
            for name in (*CONTRACT, *EXTRA)
        }
        place = np.full(rows.length, len(rows.wall))
        place[rows.wall] = np.arange(len(rows.wall))
        for name in STORED:
            texts = rows.texts(name).cast(pa.large_string())
            padded = pa.chunked_array([*texts.chunks, pa.array([""], pa.large_string())])
            columns[name] = padded.take(pa.array(place))
        return pa.table(columns)

    def stored(self) -> pd.DataFrame:
        """The same with words in full."""
        frame = self.samples.copy()
        table = self.table()
        for name in STORED:
            frame[name] = table.column(name).to_pandas().astype(str)
        return frame

    @cached_property
    def _kinds(self) -> Mapping[str, Words]:
        """The columns of `tally`, a value a trial."""
        if "trials" in self.__dict__:
            frame = self.trials.assign(warmup=np.where(self.trials["warmup"], "yes", "no"))
            return {name: factorised(frame[name]) for name in PLANNED}
        names = [name for name in PLANNED if name != "warmup"]
        self.rows.need([*names, "warmup_of"])
        found = {name: self.rows.words(name).at(self.rows.wall) for name in names}
        warm = found["experiment"].among(WARMUP)
        found["warmup"] = Words(warm.astype(np.uint8), ["no", "yes"])
        found["experiment"] = planned(
            found["experiment"], self.rows.words("warmup_of").at(self.rows.wall), warm
        )
        return {name: found[name] for name in PLANNED}

    def marks(self, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """A mark in nanoseconds, a value a trial, and which trials have it."""
        return self.once(("marks", name), lambda: self._stamps(name))

    def _stamps(self, mark: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        told = self.told("marks", mark)
        stamps = np.zeros(len(self.kinds("runtime").codes), dtype=np.int64)
        there = np.zeros(len(stamps), dtype=bool)
        stamps[told.index], there[told.index] = told.to_numpy(), True
        return stamps, there

    def told_at(self, column: str, place: int) -> Mapping[str, Any]:
        """All plain values that one trial tells, by key."""
        found = {}
        for key, values in self._told(column, None).items():
            at = int(np.searchsorted(values.index, place))
            if at < len(values) and values.index[at] == place:
                value = values.iloc[at]
                found[key] = value.item() if isinstance(value, np.generic) else value
        return found

    def _told(self, column: str, key: str | None) -> Mapping[str, pd.Series[Any]]:
        return self.once(("told", column, key), lambda: told.column(self._texts(column), key))

    def _texts(self, column: str) -> pa.ChunkedArray:
        if "trials" in self.__dict__:
            return Told._from_sequence(self.trials[column].array).texts
        return self.rows.texts(column)


def load_run(path: Path) -> RunData:
    """Read a run folder, or an HTML report that embeds its data.

    Raises UsageError when the path is neither, or is of a newer schema than this version, and
    for a report of several runs.
    """
    found = load_all(path)
    if len(found) > 1:
        raise UsageError(
            f"{path} holds {len(found)} runs",
            "give one run: a run folder, or a report of a single run",
        )
    return found[0]


def load_all(path: Path) -> tuple[RunData, ...]:
    """The run of a folder, or all runs that an HTML report embeds; raises as `load_run` does."""
    try:
        if path.is_dir():
            return (_from_folder(path),)
        if path.is_file() and path.suffix.lower() in (".html", ".htm"):
            return tuple(_from_report(each, path) for each in embedded.read(path))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror or error}", "look at the file's permissions"
        ) from error
    if path.exists():
        raise UsageError(
            f"{path} is not a run",
            "give a run folder, or an HTML report that tarebench wrote",
        )
    raise UsageError(f"there is no run at {path}", "`tarebench list runs` shows what there is")


def load_runs(paths: Iterable[Path]) -> Iterator[RunData]:
    """Many runs, a few at a time beside each other; the first that cannot be read ends it.

    Raises what `load_run` raises. What is asked of a run is read when it is asked for, so that
    runs that are let go one after the other need the memory of a few.
    """
    with ThreadPoolExecutor(_AT_ONCE) as readers:
        waiting: deque[Future[RunData]] = deque()
        for path in paths:
            waiting.append(readers.submit(load_run, path))
            if len(waiting) > 2 * _AT_ONCE:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _from_report(found: embedded.Carried, path: Path) -> RunData:
    manifest = manifests.read(found.manifest, path)
    return _from_parquet(manifest, _opened(found.samples, path), sampled=found.series)


def _from_folder(folder: Path) -> RunData:
    if not (folder / MANIFEST).is_file():
        raise UsageError(
            f"{folder} is not a run: it has no {MANIFEST}",
            "`tarebench list runs` shows the runs that there are",
        )
    data = manifests.contents(folder / MANIFEST)
    table, journal = _table_of(folder), folder / JOURNAL
    if table is not None:
        return _from_parquet(manifests.read(data, folder, long_plan=False), table, folder)
    manifest, notes = manifests.read(data, folder)
    if journal.is_file():
        with journal.open("rb") as file:
            reader = journals.Reader(file)
            rows = journals.rows(manifest, reader, manifests.planned(manifest))
        notes = (*notes, *reader.notes)
        return RunData.of(manifest, with_derived(manifest, rows), notes, folder, reader.read)
    if manifest.get("plan"):
        rows = journals.rows(manifest, [], manifests.planned(manifest))
        return RunData.of(manifest, rows, (*notes, "no trial had been stored"), folder)
    raise UsageError(
        f"{folder} has neither {JOURNAL} nor {SAMPLES}", "no trial was stored in this run"
    )


def _table_of(folder: Path) -> Parquet | None:
    """The stored table, where there is one and the journal has nothing else to say."""
    samples, journal = folder / SAMPLES, folder / JOURNAL
    if not journal.is_file():
        return _opened(samples, samples) if samples.is_file() else None
    try:
        table = Parquet(samples)
        same = about(table).journal
        if same is None or same.size != journal.stat().st_size:
            return None
        if table.length <= _EAGER:
            Rows(table).need([*CONTRACT, *EXTRA, *STORED])
    except (OSError, ValueError, pa.ArrowException, UsageError):
        return None
    return table if Fingerprint.of(journal) == same else None


def from_records(
    manifest: Mapping[str, Any], records: Iterable[TrialRecord], notes: Sequence[str] = ()
) -> RunData:
    """A run from what the journal holds. The last record of a trial counts; what the plan
    names and no record tells is an interrupted trial that was not run."""
    rows = journals.rows(manifest, records, manifests.planned(manifest))
    return RunData.of(manifest, with_derived(manifest, rows), notes)


def from_table(manifest: Mapping[str, Any], table: pd.DataFrame) -> RunData:
    """A run from all columns of `samples.parquet` as a table with words in full."""
    _check_columns(list(table.columns))
    plain = pa.Table.from_pandas(table[[*CONTRACT, *EXTRA]], preserve_index=False)
    wall = table[table["metric"] == WALL]
    texts = {
        name: pa.chunked_array([pa.array(wall[name].astype(str).tolist(), pa.string())])
        for name in ("trial", *STORED)
    }
    return RunData.of(manifest, with_derived(manifest, Rows(Table(plain, texts))))


def _check_columns(names: Sequence[str]) -> None:
    missing = [name for name in (*CONTRACT, *EXTRA, *STORED) if name not in names]
    if missing:
        raise UsageError(
            f"the stored samples lack the columns {', '.join(missing)}",
            "they were not written by tarebench, or by a newer one",
        )


def _from_parquet(
    manifest: manifests.Manifest, table: Parquet, folder: Path | None = None, sampled: bytes = b""
) -> RunData:
    _check_columns(table.names)
    said, rows = about(table), Rows(table)
    lost = table.lose_unreadable(STORED) if table.length <= _EAGER else ()
    if table.length <= _EAGER:
        rows.need([*CONTRACT, *EXTRA])
    notes = [f"the column {name} of the stored samples is damaged and was left out"
             for name in lost]  # fmt: skip
    return RunData.of(
        manifest.data, with_derived(manifest.data, rows), (*manifest.notes, *said.notes, *notes),
        folder, said.journal, sampled,
    )  # fmt: skip


def _opened(source: Path | bytes, path: Path) -> Parquet:
    try:
        table = Parquet(source)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise UsageError(
            f"the samples in {path} cannot be read: {brief(error)}",
            "the file is damaged; if the journal is still there, remove samples.parquet",
        ) from error
    if isinstance(source, bytes):
        embedded.check_size(table.length, table.unpacked_bytes, path)
    return table
