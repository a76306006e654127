"""What trials tell beside their samples: marks, identity and conditions, stored as JSON.

Of a million trials these are a gigabyte of text. As a column of `RunData.trials` a text is
parsed when its trial is looked at (`Told`); a key of all trials is read in one pass, without
an object a trial (`column`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from pandas.api.extensions import ExtensionArray, ExtensionDtype, take

from harness.analysis.rows import Words, beside

_BATCH, _WHOLE = 50_000, 2**31
"""Texts that are read at once; of a part of a column that keeps its distinct texts, all."""

_FLAT = (
    pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_string,
    pa.types.is_null,
)  # fmt: skip
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def encode(value: object) -> str:
    """JSON as every table has it: keys sorted, no spaces."""
    return msgspec.json.encode(value, order="sorted").decode()


def decode(text: str) -> dict[str, Any]:
    """The object that a text is; an empty one for what is none (other hands wrote it)."""
    try:
        return _decode(text or "{}")
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {}


def column(texts: pa.ChunkedArray, key: str | None = None) -> Mapping[str, pd.Series[Any]]:
    """The plain values (numbers, words, flags) of all texts by key, or of one key alone.

    Each series is indexed by the text's place and holds those texts that have the key.
    """
    step = _WHOLE if pa.types.is_dictionary(texts.type) else _BATCH
    batches = [
        chunk.slice(start, step) for chunk in texts.chunks for start in range(0, len(chunk), step)
    ]
    parts: dict[str, list[pd.Series[Any]]] = {}
    begin = 0
    read = beside(lambda number: list(_batch(batches[number], key)), range(len(batches)))
    for batch, columns in zip(batches, read, strict=True):
        for name, found in columns:
            parts.setdefault(name, []).append(found.set_axis(found.index + begin))
        begin += len(batch)
    return {name: pd.concat(found) if len(found) > 1 else found[0] for name, found in parts.items()}


def by_word(told: pd.Series[Any], words: Words) -> Mapping[str, Sequence[Any]]:
    """The different values of a `column`, in their order, by the word that each text has."""
    codes, values = pd.factorize(told)
    pairs = codes * len(words.values) + words.codes[told.index]
    plain, found = values.tolist(), dict[str, list[Any]]()
    for pair in pd.unique(pairs).tolist():
        value, word = divmod(pair, len(words.values))
        found.setdefault(words.values[word], []).append(plain[value])
    return found


def _batch(batch: pa.Array, key: str | None) -> Iterator[tuple[str, pd.Series[Any]]]:
    table = None if key else _fast(batch)
    if table is None:
        yield from _slow(batch, key)
        return
    for name in table.column_names:
        values = table.column(name)
        there = np.asarray(pc.is_valid(values).to_numpy())
        if there.any():
            found = values.drop_null().to_numpy()
            yield name, pd.Series(found, index=np.flatnonzero(there))


def _fast(batch: pa.Array) -> pa.Table | None:
    """Arrow's own reader, where the texts are as plain as we write them."""
    try:
        text = _as_one(batch.cast(pa.string()))
        table = pj.read_json(pa.BufferReader(text), pj.ReadOptions(block_size=text.size + 1))
    except (pa.ArrowException, OSError, ValueError):
        return None
    plain = all(any(test(field.type) for test in _FLAT) for field in table.schema)
    return table if plain and table.num_rows == len(batch) else None


def _as_one(texts: pa.StringArray) -> pa.Buffer:
    """All texts back to back, as Arrow has them, without a copy; a line each where some are
    empty, which the reader would pass over."""
    lengths = pc.binary_length(texts)
    if pc.min(lengths).as_py():
        ends = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset :][: len(texts) + 1]
        return texts.buffers()[2].slice(int(ends[0]), int(ends[-1] - ends[0]))
    lines = pc.if_else(pc.equal(lengths, 0), "{}", texts)
    whole = pa.ListArray.from_arrays(pa.array([0, len(lines)], pa.int32()), lines)
    return pc.binary_join(whole, "\n")[0].as_buffer()


def _slow(batch: pa.Array, key: str | None) -> Iterator[tuple[str, pd.Series[Any]]]:
    """Each distinct text is parsed by itself."""
    distinct = batch.dictionary_encode()
    codes, used = pd.factorize(distinct.indices.to_numpy(zero_copy_only=False))
    said = [decode(text) for text in distinct.dictionary.take(pa.array(used)).to_pylist()]
    keys = dict.fromkeys(name for each in said for name in each) if key is None else (key,)
    for name in keys:
        values = [each.get(name) for each in said]
        plain = np.array([v is not None and not isinstance(v, (dict, list)) for v in values], bool)
        places = np.flatnonzero(plain[codes])
        if len(places):
            known = pd.Series([v for v, told in zip(values, plain, strict=True) if told])
            yield name, known.iloc[(np.cumsum(plain) - 1)[codes[places]]].set_axis(places)


class ToldDtype(ExtensionDtype):
    """The type of a column of JSON objects."""

    name = "json"
    type = dict
    na_value: Any = None

    @classmethod
    def construct_array_type(cls) -> Any:
        """The array of this type."""
        return Told


class Told(ExtensionArray):
    """JSON objects, each parsed when it is looked at."""

    _texts: pa.Array

    def __init__(self, texts: pa.Array | pa.ChunkedArray) -> None:
        whole = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
        if isinstance(whole, pa.ChunkedArray):  # no chunk at all, in some versions
            whole = pa.array([], pa.string())
        self._texts = whole.cast(pa.large_string())

    @property
    def texts(self) -> pa.ChunkedArray:
        """The same as they are stored."""
        return pa.chunked_array([self._texts])

    @property
    def dtype(self) -> ToldDtype:
        """Its type."""
        return ToldDtype()

    @property
    def nbytes(self) -> int:
        """What it holds in memory."""
        return int(self._texts.nbytes)

    @classmethod
    def _from_sequence(cls, scalars: Any, *, dtype: Any = None, copy: bool = False) -> Told:
        del dtype, copy
        if isinstance(scalars, Told):
            return scalars
        return cls(pa.array([encode(each or {}) for each in scalars], pa.large_string()))

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, item: Any) -> Any:
        if isinstance(item, (int, np.integer)):
            return decode(self._texts[int(item)].as_py())
        wanted: Any = pd.api.indexers.check_array_indexer(self, item)
        return Told(self._texts.take(pa.array(np.arange(len(self))[wanted])))

    def __eq__(self, other: object) -> Any:
        if isinstance(other, Told) and len(other) == len(self):
            return np.array(pc.equal(self._texts, other._texts).to_numpy(zero_copy_only=False))
        return np.array([each == other for each in self], dtype=bool)

    __hash__ = None  # type: ignore[assignment]

    def isna(self) -> npt.NDArray[np.bool_]:
        """An object that is empty is not missing."""
        return np.zeros(len(self), dtype=bool)

    def take(self, indices: Any, *, allow_fill: bool = False, fill_value: Any = None) -> Told:
        """The objects at these places; an empty one where there is none."""
        del fill_value
        places = np.asarray(indices, dtype=np.int64)
        if not allow_fill:
            found: Any = take(np.arange(len(self)), places)
            return Told(self._texts.take(pa.array(found)))
        filled = pa.concat_arrays([self._texts, pa.array(["{}"], pa.large_string())])
        return Told(filled.take(pa.array(np.where(places < 0, len(self), places))))

    def copy(self) -> Told:
        """The texts never change, so they are shared."""
        return Told(self._texts)

    @classmethod
    def _concat_same_type(cls, to_concat: Sequence[Told]) -> Told:
        return cls(pa.concat_arrays([each._texts for each in to_concat]))
