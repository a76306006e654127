"""What sysbench, stress-ng and 7-Zip print: real output, and everything that is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.model import Sample
from harness.parsers import OutputUnreadable, sevenzip, stress_ng, sysbench

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
CPU = (GOLDEN / "sysbench-cpu.txt").read_bytes()
MEMORY = (GOLDEN / "sysbench-memory.txt").read_bytes()
STRESS = (GOLDEN / "stress-ng.txt").read_bytes()
SEVEN = (GOLDEN / "7zip.txt").read_bytes()

Parse = Callable[[bytes], Sequence[Sample]]
PARSERS: Sequence[tuple[Parse, bytes]] = (
    (sysbench.samples, CPU), (sysbench.samples, MEMORY), (stress_ng.samples, STRESS),
    (sevenzip.samples, SEVEN),
)  # fmt: skip


def values(samples: Sequence[Sample]) -> dict[tuple[str, ...], tuple[float, str]]:
    return {(s.metric, *s.dimensions.values()): (s.value, s.unit) for s in samples}


def line(output: bytes, start: str) -> list[str]:
    """The words of the line that begins so."""
    text = output.decode()
    return next(each.split() for each in text.splitlines() if each.strip().startswith(start))


def test_sysbench_tells_events_time_and_latencies() -> None:
    found = values(sysbench.samples(CPU))
    said = float(line(CPU, "events per second:")[3])
    assert found["events",][0] == pytest.approx(said, rel=0.005)
    assert found["duration",] == (float(line(CPU, "total time:")[2].rstrip("s")), "s")
    assert found["latency", "avg"] == (float(line(CPU, "avg:")[1]) / 1e3, "s")
    assert found["latency", "0.95"] == (float(line(CPU, "95th")[2]) / 1e3, "s")
    assert ("transferred",) not in found


def test_sysbench_memory_tells_bytes_a_second() -> None:
    found = values(sysbench.samples(MEMORY))
    said = float(line(MEMORY, line(MEMORY, "Total operations")[0])[2])
    mib = float(MEMORY.decode().split("transferred (")[1].split()[0])
    assert found["transferred",] == (mib * 1024 * 1024, "1/s")
    assert said > 0


def test_stress_ng_tells_each_stressor() -> None:
    found = values(stress_ng.samples(STRESS))
    assert {name for _, name in found} == {"fork", "switch"}
    words = next(w for each in STRESS.decode().splitlines()
                 if len(w := each.split()) > 8 and w[3] == "fork")  # fmt: skip
    assert found["ops", "fork"][0] == pytest.approx(float(words[8]), rel=0.02)
    assert found["cpu", "fork"] == (float(words[6]) + float(words[7]), "s")


def test_seven_zip_tells_both_directions() -> None:
    words = line(SEVEN, "Avr:")
    assert values(sevenzip.samples(SEVEN)) == {
        ("compress",): (float(words[1]) * 1024, "1/s"),
        ("decompress",): (float(words[6]) * 1024, "1/s"),
    }


@pytest.mark.parametrize("parse", [sysbench.samples, stress_ng.samples, sevenzip.samples])
@pytest.mark.parametrize("output", [b"", b"FATAL: invalid option\n", b"\xff\0\x80", b"Avr: 1"])
def test_garbage_is_refused_with_its_end(parse: Parse, output: bytes) -> None:
    with pytest.raises(OutputUnreadable, match="its output ends with: "):
        parse(output)


@pytest.mark.parametrize(("parse", "output"), PARSERS)
def test_output_that_was_cut_off_is_refused_or_told_as_far_as_it_goes(
    parse: Parse, output: bytes
) -> None:
    whole = values(parse(output))
    for end in range(0, len(output), 23):
        try:
            found = values(parse(output[:end]))
        except OutputUnreadable:
            continue
        assert set(found) <= set(whole)


def test_time_that_did_not_pass_is_no_rate() -> None:
    with pytest.raises(OutputUnreadable, match="no time"):
        sysbench.samples(b"total time: 0.0000s\ntotal number of events: 5\n")
    with pytest.raises(OutputUnreadable, match="no time"):
        stress_ng.samples(b"stress-ng: metrc: [1] fork 5 0.00 0.1 0.1 0.0 0.0\n")


@given(st.data(), st.sampled_from(PARSERS))
def test_whatever_is_printed_gives_samples_or_the_one_error(
    data: st.DataObject, parser: tuple[Parse, bytes]
) -> None:
    parse, real = parser
    begin = data.draw(st.integers(0, len(real)))
    end = data.draw(st.integers(begin, len(real)))
    junk = data.draw(st.one_of(st.binary(max_size=60), st.from_regex(rb"[ \t\n0-9.|:]{0,400}")))
    try:
        found = parse(real[:begin] + junk + real[end:])
    except OutputUnreadable:
        return
    assert found
    assert all(sample.value >= 0 for sample in found)
