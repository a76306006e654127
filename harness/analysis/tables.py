"""The two tables of a run, made of its columns; and its columns, made of the two tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from harness.analysis.rows import NUMBERS, WALL, Positions, Rows, Table, Words
from harness.analysis.told import Told

CONTRACT = (
    "run", "scenario", "experiment", "runtime", "runtime_class", "accel", "trial", "block",
    "outcome", "reason", "metric", "value", "unit", "dimensions",
)  # fmt: skip
"""Columns of the CSV export, in order: one row a sample. See DESIGN, the command line."""

EXTRA = ("position", "warmup_of", "started_utc")
"""Columns that follow `CONTRACT` in an export."""

STORED = ("marks", "identity", "conditions")
"""JSON columns that only `samples.parquet` has, filled on the rows `trial.wall`."""

_LARGEST = 2**62
"""What a number of 64 bits holds."""

PLANNED = ("experiment", "runtime", "runtime_class", "accel", "warmup", "outcome", "reason")
"""The columns of `RunData.tally`."""


def samples_frame(rows: Rows) -> pd.DataFrame:
    """`RunData.samples`."""
    rows.need([*CONTRACT, *EXTRA])
    return pd.DataFrame({
        name: rows.numbers(name) if name in NUMBERS else rows.words(name).pandas()
        for name in (*CONTRACT, *EXTRA)
    })  # fmt: skip


def trials_frame(
    rows: Rows,
    kinds: Mapping[str, Words],
    places: Positions | None = None,
    told: Sequence[str] = STORED,
) -> pd.DataFrame:
    """`RunData.trials`, or its rows at these places, with these of the mappings."""
    at = np.arange(len(rows.wall)) if places is None else places
    wall = rows.wall[at]
    plain = {name: kinds[name].at(at).pandas() for name in PLANNED}
    frame = pd.DataFrame({
        "trial": pd.Series(rows.texts("trial", places).to_pylist(), dtype=str),
        **{name: plain[name] for name in PLANNED[:4]},
        "block": rows.numbers("block")[wall], "position": rows.numbers("position")[wall],
        "warmup": kinds["warmup"].at(at).among("yes"), "outcome": plain["outcome"],
        "reason": plain["reason"], "started_utc": rows.words("started_utc").at(wall).pandas(),
        "wall_s": rows.numbers("value")[wall],
        **{name: Told(rows.texts(name, places)) for name in told},
    })  # fmt: skip
    return frame if places is None else frame.set_axis(places)


def tally_frame(kinds: Mapping[str, Words]) -> pd.DataFrame:
    """`RunData.tally`."""
    key: Any = np.zeros(len(kinds["runtime"].codes), dtype=np.int64)
    space = 1
    for words in kinds.values():
        size = max(len(words.values), 1)
        if space * size > _LARGEST:
            key, found = pd.factorize(key)
            space = max(len(found), 1)
        key, space = key * size + words.codes, space * size
    key, found = pd.factorize(key)
    first = np.empty(len(found), dtype=np.int64)
    first[key[::-1]] = np.arange(len(key))[::-1]  # of the rows of a kind, the first is set last
    columns = {name: words.at(first).pandas() for name, words in kinds.items()}
    frame = pd.DataFrame({**columns, "count": np.bincount(key, minlength=len(first))})
    return frame.assign(warmup=frame["warmup"] == "yes")


def rows_of(trials: pd.DataFrame, samples: pd.DataFrame) -> Rows:
    """The rows of two tables that were made by other hands."""
    table = pa.Table.from_pandas(samples[[*CONTRACT, *EXTRA]], preserve_index=False)
    order = samples.loc[samples["metric"] == WALL, "trial"]
    place = pd.Index(trials["trial"]).get_indexer(order)
    texts = {
        name: Told._from_sequence(trials[name].array).take(place, allow_fill=True).texts
        for name in STORED
    }
    ids = pa.chunked_array([pa.array(order.astype(str).tolist(), pa.string())])
    return Rows(Table(table, {"trial": ids, **texts}))


def planned(experiment: Words, warmup_of: Words, warm: npt.NDArray[np.bool_]) -> Words:
    """The experiment that a trial was planned for."""
    shift = len(experiment.values)
    codes = np.where(warm, warmup_of.codes.astype(np.int64) + shift, experiment.codes)
    return Words(codes, [*experiment.values, *warmup_of.values])


def factorised(column: pd.Series[Any]) -> Words:
    """A column of a table as codes."""
    codes, values = pd.factorize(column.astype(str))
    return Words(codes, [str(value) for value in values])
