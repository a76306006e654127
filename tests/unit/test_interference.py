"""Neighbours without a box: what victims print, which pairs a trial gives, and the report."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis import interference as told
from harness.analysis.frames import RunData, from_records, load_run
from harness.analysis.interference import Pair
from harness.analysis.summary import summarise
from harness.errors import HarnessError, RuntimeUnavailable
from harness.experiments import interference, loads
from harness.experiments.bench import Bench
from harness.metrics import METRICS
from harness.model import Limits, LimitSupport, RuntimeClass, RuntimeFacts, Sample, Support
from harness.model import TrialRecord as Record
from harness.neighbours_table import neighbours_table
from harness.parsers import OutputUnreadable, sysbench
from harness.report.sections.interference import make
from harness.report.sheet import Layout
from harness.report.style import NARROW, WIDE, settings
from harness.settings import Interference
from harness.terminal import headline_tables
from tests.synthetic import Plan, make_run, ok_record

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
HISTOGRAM = (GOLDEN / "sysbench-histogram.txt").read_bytes()
HELD = RuntimeFacts(limits=LimitSupport(cpus=Support.SUPPORTED))


# What the tools print.


def test_a_histogram_holds_every_event_and_agrees_with_the_report() -> None:
    counted = sysbench.histogram(HISTOGRAM)
    events = next(s for s in sysbench.samples(HISTOGRAM) if s.metric == "events")
    duration = next(s for s in sysbench.samples(HISTOGRAM) if s.metric == "duration")
    assert sum(count for _, count in counted) == round(events.value * duration.value) == 150
    assert [seconds for seconds, _ in counted] == sorted({seconds for seconds, _ in counted})
    mean = sum(seconds * count for seconds, count in counted) / 150
    average = {s.dimensions.get("statistic"): s.value for s in sysbench.samples(HISTOGRAM)}["avg"]
    assert mean == pytest.approx(average, rel=0.02)


def test_quantiles_of_a_histogram_need_their_events() -> None:
    found = loads.of_histogram(HISTOGRAM)
    assert set(found) == {"0.5", "0.9"}
    assert 0.0007 < found["0.5"] <= found["0.9"] < 0.1
    with pytest.raises(OutputUnreadable):
        loads.of_histogram(b"no events")


@given(st.lists(st.integers(1, 10_000), min_size=20, max_size=60))
def test_a_shells_times_are_read_as_the_spans_between_them(spans: Sequence[int]) -> None:
    stamps = [1_700_000_000_999_000]
    for span in spans:
        stamps.append(stamps[-1] + span)
    text = "".join(f"{t // 10**6}.{t % 10**6:06d}\n" for t in stamps)
    found = loads.of_stamps(text.encode())
    assert "0.99" not in found
    assert min(spans) <= round(found["0.5"] * 1e6) <= max(spans)
    assert sum(span <= round(found["0.5"] * 1e6) for span in spans) >= len(spans) / 2 - 1


@pytest.mark.parametrize("text", ["", "1.000001\n", "2.000000\n1.000000\n", "a\nb\n"])
def test_no_spans_and_a_clock_that_was_set_back_are_told(text: str) -> None:
    with pytest.raises(OutputUnreadable):
        loads.of_stamps(text.encode())


# Which rounds there are, and what a trial gives.


class Machine:
    name = "kvm"
    runtime_class = RuntimeClass.MACHINE


class Far(Machine):
    elsewhere = True


class Container:
    name = "crun"
    runtime_class = RuntimeClass.CONTAINER


def bench(runtime: object, facts: RuntimeFacts = HELD, cpus: float | None = 1) -> Bench:
    made = object.__new__(Bench)
    made.__dict__.update(runtime=runtime, facts=facts, limits=Limits(cpus=cpus))
    return made


def test_rounds_are_those_that_a_box_can_have() -> None:
    rounds = interference._rounds
    assert rounds(bench(Container()), Interference()) == (["on", "off"], None)
    assert rounds(bench(Container(), RuntimeFacts()), Interference()) == (["off"], "on")
    assert rounds(bench(Container(), cpus=None), Interference()) == (["off"], "on")
    assert rounds(bench(Machine()), Interference()) == (["on"], "off")
    with pytest.raises(HarnessError, match="nothing holds crun"):
        rounds(bench(Container(), RuntimeFacts()), Interference(limits=("on",)))


def test_what_cannot_be_done_is_refused_before_the_run() -> None:
    interference.fits(Machine(), Interference())  # type: ignore[arg-type]
    with pytest.raises(RuntimeUnavailable, match="has a size"):
        interference.fits(Machine(), Interference(limits=("off",)))  # type: ignore[arg-type]
    with pytest.raises(RuntimeUnavailable, match="this host's counters"):
        interference.fits(Far(), Interference())  # type: ignore[arg-type]


def test_slowdown_is_over_the_same_quantile_alone() -> None:
    times = {
        ("cpu", "none"): {"0.5": 0.004, "0.9": 0.005},
        ("cpu", "fork"): {"0.5": 0.008},  # too slow for the iterations that 0.9 needs
    }
    found = interference._samples("on", times)
    slow = [s for s in found if s.metric == "interference.slowdown"]
    assert [(s.value, s.unit, s.dimensions) for s in slow] == [
        (2.0, "1", {"victim": "cpu", "aggressor": "fork", "limits": "on", "quantile": "0.5"})
    ]
    assert sum(s.metric == "interference.victim" for s in found) == 3


# The report.


def samples(box: str, limits: str, chance: random.Random) -> list[Sample]:
    times = {
        (victim, aggressor): {
            q: 0.004 * float(q) * (1 + (aggressor == victim)) * chance.uniform(0.98, 1.02)
            for q in ("0.5", "0.9")
        }
        for victim in loads.VICTIMS
        for aggressor in ("none", *loads.AGGRESSORS)
    }
    return list(interference._samples(limits, times))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    """Six blocks of three boxes in which each load disturbs its own kind, twofold."""
    folder = make_run(tmp_path_factory.mktemp("neighbours") / "run", Plan(blocks=1))
    manifest = {**load_run(folder).manifest, "plan": []}
    chance, records = random.Random(1), []
    kinds = {"bare": ("bare metal", "none"), "crun": ("container", "none"),
             "qemu": ("emulated machine", "tcg")}  # fmt: skip
    for block in range(6):
        for box, (kind, accel) in kinds.items():
            rounds = {"bare": ["off"], "crun": ["on", "off"], "qemu": ["on"]}[box]
            left = {"bare": "on", "crun": None, "qemu": "off"}[box]
            records.append(ok_record(
                "interference", box, (kind, accel), block,
                [s for limits in rounds for s in samples(box, limits, chance)],
                {"host_cpus": 2, "left_out": left,
                 **{f"workers_{limits}": 1 for limits in rounds}},
            ))  # fmt: skip
    return from_records(manifest, records)


def test_the_metrics_are_declared() -> None:
    assert METRICS["interference.slowdown"].better == "lower"
    assert METRICS["interference.victim"].unit == "s"


def test_the_report_has_a_cell_for_each_pair_and_box(run: RunData) -> None:
    summary = summarise(run)
    section = make(run, summary)
    assert section is not None
    heat, tail = section.exhibits
    assert heat.table is not None
    assert len(heat.table.rows) == 4 * 16
    assert heat.table.rows[0][:3] == ("computing beside computing", "bare", "without limits")
    for exhibit in (heat, tail):
        assert exhibit.chart is not None
        cells = exhibit.chart.numbers.rows
        assert {cell[1] for cell in cells} == {
            "bare, no limits", "crun, limits", "crun, no limits", "qemu, limits"
        }  # fmt: skip
        own = [cell for cell in cells if cell[0] == "forking beside forking"]
        assert all(1.8 < float(str(cell[3])) < 2.2 for cell in own)
        assert {cell[4] for cell in own} <= {0.4, 0.7}
        other = [cell for cell in cells if cell[0] == "forking beside computing"]
        assert all(cell[4] == 0.0 for cell in other)
        for layout in (WIDE, NARROW):
            with settings():
                assert isinstance(layout, Layout)
                assert exhibit.chart.draw(layout).axes
    notes = " ".join(section.notes)
    assert "Nothing holds bare" in notes
    assert "qemu is never without limits" in notes


def test_the_answer_names_the_worst_neighbour_of_what_was_not_emulated(run: RunData) -> None:
    section = make(run, summarise(run))
    assert section is not None
    (answer,) = section.answers
    assert "qemu" not in answer.headline + answer.detail
    assert "with limits crun 2" in answer.headline
    assert "without limits bare 2" in answer.headline
    assert not answer.decided  # six blocks give no interval that holds for 64 pairs at once
    assert "Too few blocks" in answer.detail


def test_a_pairs_interval_is_that_of_its_blocks(run: RunData) -> None:
    found = told.of_run(run, summarise(run).rows)
    assert found is not None
    assert found.tail == "0.9"
    crun = next(box for box in found.boxes if box.name == "crun, limits")
    estimate = found.slowdown(crun, Pair("disk", "disk"))
    assert estimate is not None
    assert estimate.n == 6
    assert estimate.interval is not None
    assert estimate.interval.low <= 2.0 <= estimate.interval.high


def test_nothing_is_said_where_nobody_had_a_neighbour(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "run", Plan(blocks=1)))
    assert make(run, summarise(run)) is None


def test_a_terminal_gets_a_line_a_victim_and_a_column_a_neighbour() -> None:
    def record(block: int, slowdown: float) -> Record:
        told = {"limits": "on", "victim": "cpu", "aggressor": "disk"}
        samples = [
            Sample("interference.slowdown", value, "1", told | {"quantile": quantile})
            for quantile, value in (("0.5", slowdown), ("0.9", 9.0))
        ]
        return ok_record("interference", "crun", ("container", "none"), block, samples)

    records = [record(0, 1.2), record(1, 1.4), record(2, 3.0)]
    found = neighbours_table(records)
    assert [column.header for column in found.columns] == ["box", "limits", "victim", "beside disk"]
    assert [str(cell) for column in found.columns for cell in column.cells] == [
        "crun", "on", "cpu", "1.40 ×",
    ]  # fmt: skip
    assert headline_tables(records) == []
