"""The raw time series: small, read back as written, and readable after any kill."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness import series
from harness.probes.sampler import open_series
from harness.series import COUNTERS, Cost, Reader, Reading

TRIAL = {"trial": "00001", "experiment": "density", "runtime": "crun"}
BEGIN = [
    series.event("S", {"hz": 10}),
    series.event("T", TRIAL),
    series.event("A", {"n": 1, "instance": "box", "counters": ["cpu_ns", "memory_bytes"]}),
]


def read(lines: Sequence[bytes]) -> tuple[list[Reading], Reader]:
    reader = Reader()
    return list(reader.read(lines)), reader


def test_differences_are_added_up_again() -> None:
    lines = [*BEGIN, series.row(1, [1000, 50, 4096], None), series.row(1, [100, 0, -96], 2048)]
    first, second = read(lines)[0]
    assert (first.trial, first.runtime, first.instance) == ("00001", "crun", "box")
    assert (first.t_ns, second.t_ns) == (1000, 1100)
    at = COUNTERS.index("memory_bytes")
    assert (first.counters[0], second.counters[0]) == (50, 50)
    assert (first.counters[at], second.counters[at]) == (4096, 4000)
    assert (first.pss_bytes, second.pss_bytes) == (None, 2048)
    assert first.counters.count(None) == len(COUNTERS) - 2


def test_an_idle_instance_takes_few_bytes() -> None:
    assert series.row(12, [100_000_123, 0, 0, 0, 0], None) == b"12 100000123\n"


@pytest.mark.parametrize("cut", range(1, 10))
def test_torn_last_line_is_left_out(cut: int) -> None:
    whole = series.row(1, [1000, 50, 4096], None)
    assert cut < len(whole)
    found, reader = read([*BEGIN, whole, series.row(1, [100, 7, 7], None)[:cut]])
    assert [reading.t_ns for reading in found] == [1000]
    assert reader.damaged == 1


def test_a_second_sampler_starts_anew() -> None:
    again = [*BEGIN, series.row(1, [9000, 1, 1], None)]
    found, reader = read([*BEGIN, series.row(1, [1000, 50, 4096], None), *again])
    assert [reading.t_ns for reading in found] == [1000, 9000]
    assert [cost.hz for cost in reader.costs] == [10, 10]


def test_rows_of_what_was_never_begun_are_damage() -> None:
    found, reader = read([BEGIN[0], b"7 1 2 3\n", b"X what\n", b"A {\n", b"\n"])
    assert found == []
    assert reader.damaged >= 3


def test_cost_is_told_as_a_share_of_a_core(tmp_path: Path) -> None:
    path = tmp_path / series.RAW
    said = {"hz": 10, "cpu_ns": 10**7, "active_ns": 10**9, "ticks": 10}
    path.write_bytes(b"".join(BEGIN) + series.event("C", said) + b"C {torn\nC []\nC {torn")
    cost = series.last_cost(path)
    assert cost == Cost(hz=10, cpu_ns=10**7, active_ns=10**9, ticks=10)
    assert (cost.share, cost.achieved_hz) == (0.01, 10.0)
    path.write_bytes(b"".join(BEGIN))
    assert series.last_cost(path) is None


@pytest.mark.parametrize("torn", [b"", b"1 2", b"x" * 200_000])
@pytest.mark.parametrize("whole", [b"", b"S {}\n", b"S {}\n" + b"1 2 3\n" * 30_000])
def test_a_resumed_series_begins_on_a_line_of_its_own(
    tmp_path: Path, whole: bytes, torn: bytes
) -> None:
    path = tmp_path / "raw"
    path.write_bytes(whole + torn)
    with open_series(path) as file:
        file.write(b"S new\n")
    assert path.read_bytes() == whole + b"S new\n"


def test_events_are_json() -> None:
    assert json.loads(series.event("T", TRIAL)[2:]) == TRIAL
