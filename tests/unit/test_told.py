"""What trials tell, as columns: the quick way of reading says what each text says by itself."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pytest

from harness.analysis import told

TEXTS = ['{"a":1,"b":"x"}', '{"a":2}', '{"b":"}{"}', "{}", '{"c":null}', '{"a":3.5,"d":true}']


def one_by_one(texts: Sequence[str]) -> dict[str, dict[int, object]]:
    """The plain values by key and place."""
    found: dict[str, dict[int, object]] = {}
    for place, text in enumerate(texts):
        for key, value in told.decode(text).items():
            if value is not None and not isinstance(value, list):
                found.setdefault(key, {})[place] = value
    return found


def as_columns(column: pa.ChunkedArray) -> dict[str, dict[int, object]]:
    return {
        key: dict(zip(values.index.tolist(), values.tolist(), strict=True))
        for key, values in told.column(column).items()
    }


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize(
    "texts",
    [TEXTS, ["", *TEXTS, ""], ["", ""], ["{}"], [*TEXTS, "{"], [*TEXTS, '{"a":[1]}'], []],
    ids=["plain", "some empty", "all empty", "nothing told", "damaged", "nested", "none"],
)
def test_columns_say_what_each_text_says(texts: Sequence[str], kind: pa.DataType) -> None:
    assert as_columns(pa.chunked_array([pa.array(texts, kind)])) == one_by_one(texts)


def test_a_slice_of_a_column_is_read_and_nothing_around_it() -> None:
    whole = pa.array(['{"a":0}', *TEXTS, '{"a":9}'])
    part = whole.slice(1, len(TEXTS))
    assert as_columns(pa.chunked_array([part])) == one_by_one(TEXTS)
    assert as_columns(pa.chunked_array([whole.slice(0, 1), part])) == {
        key: {place + 1: v for place, v in values.items()} | ({0: 0} if key == "a" else {})
        for key, values in one_by_one(TEXTS).items()
    }
