"""What others published: whole, spelled out, beside the reader's own, and never ranked with it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from harness import resources
from harness.analysis import published
from harness.analysis.frames import RunData, load_run
from harness.analysis.published import STARTUP, Beside, beside, read
from harness.analysis.summary import summarise
from harness.errors import UsageError
from harness.report import build
from harness.report.sections import published as section
from tests.synthetic import QUICK, Plan, make_run

HOSTILE = "<script>alert(1)</script> | `x` =cmd()"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    return load_run(make_run(tmp_path_factory.mktemp("runs") / "quick", Plan(phases=False)))


@pytest.fixture(scope="module")
def hardware(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    plan = Plan(runtimes=(*QUICK, "kvm"), phases=False)
    return load_run(make_run(tmp_path_factory.mktemp("runs") / "hardware", plan))


def found(run: RunData) -> dict[tuple[str, str, str], Beside]:
    every = beside(run, summarise(run))
    return {(e.figure.subject, e.figure.runtime, e.figure.metric): e for e in every}


def test_every_figure_says_what_it_means_and_where_it_comes_from() -> None:
    figures = read()
    assert len(figures) >= 36
    for figure in figures:
        assert figure.source
        assert figure.conditions
        assert figure.confidence
        assert 1990 < figure.year < 2100
        if figure.kind == STARTUP:
            assert figure.span_from
            assert figure.span_to
        else:
            assert figure.method
    assert {"firecracker", "qemu-kvm", "runc", "crun", "docker", "bare"} <= {
        figure.runtime for figure in figures
    }


def test_values_are_in_base_units() -> None:
    firecracker = [f for f in read() if f.subject == "Firecracker"]
    assert [(f.value, f.unit) for f in firecracker] == [
        (pytest.approx(0.125), "s"),
        (5 * 1024**2, "bytes"),
    ]


def test_a_box_stands_beside_its_like(hardware: RunData) -> None:
    by = found(hardware)
    own = by["NSDI'20 Firecracker paper data", "qemu-kvm", "startup_p50"].own
    assert own is not None
    assert (own.runtime, own.metric) == ("kvm", "startup.ready")
    assert own.estimate.value == pytest.approx(hardware.values("startup.ready", "kvm").median())
    docker = by["docker run study", "docker", "startup"].own
    assert docker is not None
    assert docker.runtime == "docker"
    assert by["Firecracker", "firecracker", "startup"].own is None
    assert by["youki README", "youki", "create_start_delete"].own is None


def test_nothing_is_called_the_same_that_is_not(hardware: RunData) -> None:
    assert not any(each.same for each in beside(hardware, summarise(hardware)))


def test_a_figure_of_the_same_span_is_called_so_for_the_same_box_alone(quick: RunData) -> None:
    crun = next(f for f in read() if f.subject == "crun README" and f.runtime == "crun")
    alike = replace(crun, same_as="startup.ready")
    other = replace(alike, nearest="crun,seccomp=on")
    one, two = beside(quick, summarise(quick), [alike, other])
    assert one.same
    assert two.own is not None
    assert not two.same


def test_an_emulated_machine_never_lends_its_number(quick: RunData) -> None:
    every = beside(quick, summarise(quick))
    machines = [e for e in every if e.figure.runtime_class == "virtual machine"]
    assert machines
    assert all(each.own is None for each in machines)
    assert {e.why for e in machines if e.why} == {"qemu (emulated)"}
    assert not any(e.own and e.own.runtime == "qemu" for e in every)


def test_boxes_that_the_run_does_not_have_are_left_out(tmp_path: Path) -> None:
    run = load_run(make_run(tmp_path / "bare", Plan(runtimes=("bare",), memory=False)))
    assert {e.figure.runtime_class for e in beside(run, summarise(run))} == {"bare metal"}
    nothing = load_run(make_run(tmp_path / "nothing", Plan(runtimes=("bare",), stop_after=0)))
    assert section.make(nothing, summarise(nothing)) is None


def test_the_section_spells_out_both_spans_and_ranks_nothing_unlike(hardware: RunData) -> None:
    made = section.make(hardware, summarise(hardware))
    assert made is not None
    assert all(exhibit.chart is None for exhibit in made.exhibits)
    assert "none was timed or counted between the same two points" in made.notes[0]
    tables = {exhibit.heading: exhibit.table for exhibit in made.exhibits if exhibit.table}
    assert len(tables) == len(made.exhibits) >= 9
    for heading, table in tables.items():
        if heading.endswith("until ready"):
            told = [table.caption] if table.ranked else [" ".join(row) for row in table.rows]
            assert all("from: " in text and "until: " in text for text in told)
            assert table.headings[2] == "Yours: request to READY, all files mounted"
        assert "Source: " in table.caption
    assert not tables["qemu-boot-time sample, 2019: until ready"].ranked
    crun = tables["crun README, 2024: until ready"]
    assert [row[:2] for row in crun.rows] == [("crun", "16.9 ms"), ("runc", "33.4 ms")]
    assert crun.rows[0][2].startswith("crun: ")


def test_studies_stand_in_the_order_of_the_file(hardware: RunData) -> None:
    made = section.make(hardware, summarise(hardware))
    assert made is not None
    headings = [exhibit.heading.rpartition(",")[0] for exhibit in made.exhibits]
    startups = dict.fromkeys(figure.subject for figure in read() if figure.kind == STARTUP)
    assert headings[: len(startups)] == list(startups)


def write(path: Path, **changes: str) -> Path:
    with resources.published_figures().open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    rows[0].update(changes)
    with path.open("w", newline="") as out:
        writer = csv.DictWriter(out, [name for name in rows[0] if name != changes.get("drop")],
                                extrasaction="ignore")  # fmt: skip
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("form", ["html", "md"])
def test_hostile_words_are_shown_and_not_run(
    hardware: RunData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    bad = write(tmp_path / "p.csv", subject=HOSTILE, span_from=HOSTILE, source=HOSTILE)
    monkeypatch.setattr(resources, "published_figures", lambda: bad)
    build([hardware], tmp_path / "report", format=form)
    text = (tmp_path / "report").read_text()
    assert "alert(1)" in text
    assert "<script>alert" not in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"unit": "furlongs"}, "line 2: unit 'furlongs'"),
        ({"value": "fast"}, "line 2: could not convert"),
        ({"value": "nan"}, "line 2: its value is no number"),
        ({"year": ""}, "line 2: invalid literal"),
        ({"kind": "speed"}, "line 2: kind 'speed'"),
        ({"runtime_class": "unikernel"}, "line 2: class 'unikernel'"),
        ({"same_as": "startup.magic"}, "no metric of ours"),
        ({"drop": "span_to"}, "lacks the columns span_to"),
    ],
)
def test_a_broken_file_is_one_sentence(tmp_path: Path, changes: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError, match="cannot be read") as failure:
        read(write(tmp_path / "p.csv", **changes))
    assert told in str(failure.value)


def test_no_file_is_one_sentence_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        published.read(tmp_path / "nowhere.csv")
