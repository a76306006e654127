"""Samples that are not measured but follow from others: they stand in every table and export.

`ladder.added` of a trial is its `ladder.ready` less that of the rung below in the same block.
Derived rows are made whenever a run is read, right after the row that they follow from, so that
a stored table and a journal give the same, and a better formula reaches old runs too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from harness.analysis.rows import Column, Positions, Rows, Words
from harness.analysis.told import encode

READY, ADDED = "ladder.ready", "ladder.added"
DERIVED = (ADDED,)


def rungs(manifest: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The scenario's rungs as the manifest has them; none where it has no ladder."""
    experiments = manifest.get("scenario", {}).get("experiments", {})
    found: Sequence[Mapping[str, Any]] = (experiments.get("ladder") or {}).get("rungs", ())
    return found


def with_derived(manifest: Mapping[str, Any], rows: Rows) -> Rows:
    """The rows with those that follow from them, in the order of trials."""
    metric = rows.words("metric")
    stale = metric.among(*DERIVED)
    at, values, dimensions = _added(manifest, rows)
    if not stale.any() and len(at) == 0:
        return rows
    kept = np.flatnonzero(~stale)
    both = np.concatenate([kept, at])
    made = np.concatenate([np.zeros(len(kept), bool), np.ones(len(at), bool)])
    order = np.lexsort((made, both))
    return _WithAdded(rows, both[order], np.flatnonzero(made[order]), values, dimensions)


class _WithAdded(Rows):
    """Rows in another order, some of them twice: the second time with what was added."""

    def __init__(
        self,
        base: Rows,
        order: Positions,
        made: Positions,
        values: npt.NDArray[np.float64],
        dimensions: Words,
    ) -> None:
        super().__init__(_Nothing(len(order)))
        self._base, self._order, self._made = base, order, made
        self._added_values, self._added_dimensions = values, dimensions

    def need(self, names: Sequence[str]) -> None:
        missing = [n for n in names if n not in self._words and n not in self._numbers]
        self._base.need(missing)
        for name in missing:
            if name == "value":
                found = self._base.numbers(name)[self._order]
                found[self._made] = self._added_values
                self._numbers[name] = found
            elif name in ("block", "position"):
                self._numbers[name] = self._base.numbers(name)[self._order]
            else:
                self._words[name] = self._retold(name)

    def _retold(self, name: str) -> Words:
        words = self._base.words(name).at(self._order)
        if name == "metric":
            return self._with(words, Words(np.zeros(len(self._made), np.uint8), [ADDED]))
        return self._with(words, self._added_dimensions) if name == "dimensions" else words

    def _with(self, words: Words, made: Words) -> Words:
        codes = words.codes.astype(np.int32)
        codes[self._made] = made.codes.astype(np.int32) + len(words.values)
        return Words(codes, [*words.values, *made.values])

    def texts(self, name: str, places: Positions | None = None) -> pa.ChunkedArray:
        return self._base.texts(name, places)


class _Nothing:
    """A source that is never asked."""

    def __init__(self, length: int) -> None:
        self.length = length

    def parts(self, names: Sequence[str]) -> Iterable[tuple[int, Mapping[str, Column]]]:
        raise KeyError(names)

    def texts(self, name: str, wall: Positions, places: Positions | None) -> pa.ChunkedArray:
        raise KeyError(name)


def _added(
    manifest: Mapping[str, Any], rows: Rows
) -> tuple[Positions, npt.NDArray[np.float64], Words]:
    """After which rows something is added: its value, and its dimensions."""
    ladder = rungs(manifest)
    by_name = {rung["name"]: rung for rung in ladder}
    at, values, codes = [], [], []
    texts: list[str] = []
    ready = _ready(rows) if ladder else {}
    for rung in {rung["runtime"]: rung for rung in ladder}.values():
        own, below = ready.get(rung["runtime"]), rung.get("over")
        if own is None or below is None:
            continue
        under = ready.get(by_name[below]["runtime"])
        if under is None:
            continue
        under = under[~under.index.duplicated(keep="last")]
        found = own["value"].to_numpy() - under["value"].reindex(own.index).to_numpy()
        there = own.index.isin(under.index)
        at.append(own["row"].to_numpy()[there])
        values.append(found[there])
        codes.append(np.full(int(there.sum()), len(texts), np.int32))
        texts.append(encode({"over": below, "rung": rung["name"]}))
    if not at:
        return np.empty(0, np.int64), np.empty(0), Words(np.empty(0, np.int32), [])
    order = np.argsort(np.concatenate(at), kind="stable")
    return (
        np.concatenate(at)[order], np.concatenate(values)[order],
        Words(np.concatenate(codes)[order], texts),
    )  # fmt: skip


def _ready(rows: Rows) -> Mapping[str, pd.DataFrame]:
    """By runtime, the rows of READY: their place and value, indexed by block."""
    at = np.flatnonzero(rows.words("metric").among(READY))
    runtime = rows.words("runtime").at(at)
    frame = pd.DataFrame(
        {"row": at, "value": rows.numbers("value")[at]}, index=rows.numbers("block")[at]
    )
    return {runtime.values[code]: frame[runtime.codes == code] for code in np.unique(runtime.codes)}
