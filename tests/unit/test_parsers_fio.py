"""fio's JSON as samples: real output, too few completions, and everything that is no JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.parsers import OutputUnreadable, end_of
from harness.parsers.fio import latencies, parse, samples, supported

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
RANDREAD = (GOLDEN / "fio-randread.json").read_bytes()
FSYNC = (GOLDEN / "fio-fsync.json").read_bytes()


def changed(**values: Any) -> bytes:
    """The randread document with fields of its job's `read` replaced."""
    document = json.loads(RANDREAD)
    document["jobs"][0]["read"] |= values
    return json.dumps(document).encode()


def test_a_real_report_is_read() -> None:
    found = {(s.metric, s.dimensions.get("quantile")): (s.value, s.unit) for s in samples(RANDREAD)}
    read = json.loads(RANDREAD)["jobs"][0]["read"]
    assert found["read.iops", None] == (read["iops"], "1/s")
    assert found["read.bytes", None] == (read["io_bytes"], "bytes")
    ns = read["lat_ns"]["percentile"]["99.900000"]
    assert found["read.latency", "0.999"] == (ns / 1e9, "s")
    assert {q for _, q in found} == {None, "0.5", "0.9", "0.99", "0.999"}
    assert not any(name.startswith(("write", "trim", "sync")) for name, _ in found)


def test_fsync_has_a_latency_of_its_own_and_no_percentile_that_few_calls_cannot_tell() -> None:
    calls = json.loads(FSYNC)["jobs"][0]["sync"]["total_ios"]
    assert 1000 <= calls < 10_000
    found = [s.dimensions["quantile"] for s in samples(FSYNC) if s.metric == "sync.latency"]
    assert found == ["0.5", "0.9", "0.99"]


@pytest.mark.parametrize(
    ("quantile", "count", "enough"),
    [(0.999, 10_000, True), (0.999, 9_999, False), (0.5, 20, True), (0.5, 19, False),
     (0.01, 999, False), (0.01, 1000, True), (1.0, 10**9, False), (0.0, 10**9, False)],
)  # fmt: skip
def test_ten_completions_lie_beyond_a_percentile(quantile: float, count: int, enough: bool) -> None:
    assert supported(quantile, count) is enough


def test_a_job_that_did_nothing_has_no_samples() -> None:
    assert list(samples(changed(total_ios=0, iops=0, io_bytes=0))) == []


def test_words_before_the_document_are_passed_over() -> None:
    assert parse(b"note: both iodepth >= 1 and {\n" + RANDREAD) == parse(RANDREAD)


@pytest.mark.parametrize(
    "output",
    [b"", b"fio-3.33", b"{", RANDREAD[:200], b"[]", b'{"jobs": []}', b'{"jobs": 7}', b"{}",
     b'{"jobs": [{"jobname": "x"}]}', changed(iops="fast"), changed(io_bytes=None),
     changed(iops=float("nan")), changed(lat_ns={"mean": 1, "percentile": {"90.00'000": 7}}),
     b"\xff\xfe\0garbage \x1b[31m", b"[" * 100_000, b'\n{"jobs":' + b"[" * 100_000],
)  # fmt: skip
def test_what_is_no_report_is_refused_with_its_end(output: bytes) -> None:
    with pytest.raises(OutputUnreadable, match="output ends with") as caught:
        samples(output)
    assert len(caught.value.message) < 1000
    assert caught.value.message.isprintable()


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(output: bytes) -> None:
    with pytest.raises(OutputUnreadable):
        samples(b"{" + output)


def test_the_end_of_an_output_is_one_printable_line() -> None:
    assert end_of(b"a\nb\n\x1b[2Jlast") == "a b \N{REPLACEMENT CHARACTER}[2Jlast"
    assert end_of(b"") == "nothing"
    assert len(end_of("ä".encode() * 10_000)) == 300


def test_percentiles_of_nothing_are_absent() -> None:
    assert latencies(parse(RANDREAD).jobs[0].write.lat_ns, 0) == {}
