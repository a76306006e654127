"""Parsers that a user chooses: what is declared is what comes out, and all else is refused."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.model import Sample
from harness.parsers import OutputUnreadable, regex
from harness.parsers.chosen import MAX_BYTES, Parser, read
from harness.spool import SpooledOutput

UNIT = {"unit": "1/s", "better": "higher"}


def parser(kind: str, **keys: Any) -> Parser:
    """A parser as a scenario's table says it."""
    made: Parser = msgspec.convert({"kind": kind, **keys}, Parser)
    return made


def printed(data: bytes) -> SpooledOutput:
    output = SpooledOutput()
    output.add(data)
    return output


def read_all(chosen: Parser, out: bytes, err: bytes = b"") -> dict[str, float]:
    found: list[Sample] = list(read(chosen, printed(out), printed(err)))
    return {sample.metric: sample.value for sample in found}


JSON = parser("json", values={
    "rate": {"path": "results.1.rate", "scale": 1000.0, **UNIT},
    "odd": {"path": ["a.b", 0], "unit": "s", "better": "lower"},
})  # fmt: skip
REGEX = parser("regex", values={"rate": {"pattern": r"^rate: ([\d.]+)$", **UNIT}})
LINES = parser("lines", skip=1, values={"mean": {"column": 2, "statistic": "mean", **UNIT},
                                        "last": {"statistic": "last", **UNIT}})  # fmt: skip


def test_json_paths_lead_through_lists_and_keys_with_dots() -> None:
    document = {"results": [{"rate": 1}, {"rate": 2.5}], "a.b": [7]}
    found = read_all(JSON, json.dumps(document).encode())
    assert found == {"job.rate": 2500.0, "job.odd": 7.0}


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (b"", "not JSON"),
        (b"Segmentation fault", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"results": []}', "nothing at '1' of the path of rate"),
        (b'{"results": [0, {"rate": true}]}', "not a number"),
        (b'{"results": [0, {"rate": "5"}]}', "not a number"),
        (b'{"results": [0, {"rate": NaN}], "a.b": [1]}', "not finite"),
        (b'{"results": [0, {"rate": 1' + b"0" * 400 + b'}], "a.b": [1]}', "not finite"),
        (b'{"results": [0, {"rate": 1' + b"0" * 9000 + b'}], "a.b": [1]}', "not JSON"),
    ],
)
def test_json_that_has_not_what_was_declared_is_refused(output: bytes, why: str) -> None:
    with pytest.raises(OutputUnreadable, match=why) as caught:
        read_all(JSON, output)
    assert "its output ends with: " in caught.value.message


def test_regex_takes_its_first_match_line_by_line() -> None:
    assert read_all(REGEX, b"noise\nrate: 12.5\nrate: 99\n") == {"job.rate": 12.5}
    named = parser("regex", values={"x": {"pattern": r"(a|b)=(?P<value>\d+)", **UNIT}})
    assert read_all(named, b"b=7") == {"job.x": 7.0}
    with pytest.raises(OutputUnreadable, match="matches nothing"):
        read_all(REGEX, b"rate: fast\n")
    with pytest.raises(OutputUnreadable, match="not a number"):
        read_all(REGEX, b"rate: 1.2.3\n")


def test_regex_that_never_ends_is_ended() -> None:
    endless = regex.RegexValue(pattern=r"^(a+)+$", unit="s", better="lower")
    begin = time.monotonic()
    with pytest.raises(OutputUnreadable, match="not matched within"):
        regex.samples(b"a" * 60 + b"!", {"x": endless}, time_limit_s=1.0)
    assert time.monotonic() - begin < 30


def test_lines_make_one_figure_of_a_column() -> None:
    assert read_all(LINES, b"n value\n1 10\n2 20\n\n3 60\n") == {"job.mean": 30.0, "job.last": 3.0}
    commas = parser("lines", separator=",", values={"x": {"column": 2, **UNIT}})
    assert read_all(commas, b"a,1\nb,3\nc,2") == {"job.x": 2.0}


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (b"heading\n", "no lines"), (b"h\n1\n", "no column 2"), (b"h\n1 2\nx y\n", "not a number"),
        (b"h\n1 1e999\n", "not finite"), (b"h\n1 nan\n", "not finite"),
        (b"h\n1 inf\n2 -inf\n", "not finite"), (b"h\n1 1_000\n", "not a number"),
    ],
)  # fmt: skip
def test_lines_that_hold_no_numbers_are_refused(output: bytes, why: str) -> None:
    with pytest.raises(OutputUnreadable, match=why):
        read_all(LINES, output)


def test_another_stream_can_be_read_and_too_much_of_it_is_not() -> None:
    errors = parser("lines", stream="stderr", values={"x": UNIT})
    assert read_all(errors, b"", b"4\n") == {"job.x": 4.0}
    with pytest.raises(OutputUnreadable, match="more than 16 MiB"):
        read_all(errors, b"", b"4\n" * (MAX_BYTES // 2 + 1))


def test_what_a_tools_parser_gives_is_declared() -> None:
    for kind in ("fio", "sysbench", "stress-ng"):
        chosen = parser(kind)
        assert all(m.name == name and m.better for name, m in chosen.metrics().items())
        with pytest.raises(OutputUnreadable):
            read_all(chosen, b"garbage")


@pytest.mark.parametrize(
    ("kind", "values", "why"),
    [
        ("json", {}, "length >= 1"),
        ("json", {"Rate": {"path": "x", **UNIT}}, "matching regex"),
        ("json", {"duration": {"path": "x", **UNIT}}, "the name duration is taken"),
        ("json", {"x": {"path": "x", "unit": "MB/s", "better": "higher"}}, "MB/s"),
        ("json", {"x": {"path": "x", "unit": "s"}}, "better"),
        ("regex", {"x": {"pattern": "(", **UNIT}}, "not a regular expression"),
        ("regex", {"x": {"pattern": "a", **UNIT}}, "needs one group"),
        ("regex", {"x": {"pattern": "(a)(b)", **UNIT}}, "needs one group"),
        ("lines", {"x": {"column": 0, **UNIT}}, ">= 1"),
        ("lines", {"x": {"statistic": "mode", **UNIT}}, "mode"),
        ("csv", {}, "csv"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_any_run(
    kind: str, values: dict[str, Any], why: str
) -> None:
    with pytest.raises(msgspec.ValidationError, match=why):
        parser(kind, values=values)


@given(st.one_of(
    st.binary(max_size=200),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["results", "rate", "a.b", "1"]), inner, max_size=3),
    ).map(lambda document: json.dumps(document).encode()),
))  # fmt: skip
def test_any_output_gives_finite_samples_or_the_one_error(output: bytes) -> None:
    for chosen in (JSON, LINES):
        try:
            found = read_all(chosen, output)
        except OutputUnreadable:
            continue
        assert all(math.isfinite(value) for value in found.values())


@settings(max_examples=5, deadline=None)
@given(st.binary(max_size=100))
def test_regex_reads_any_bytes(output: bytes) -> None:
    found = read_all(REGEX, output + b"\nrate: 4\n")
    assert math.isfinite(found["job.rate"])
