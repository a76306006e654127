"""The report's section on memory that is taken, given back and shared."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.analysis.frames import load_run
from harness.analysis.summary import summarise
from harness.report.section import Section
from harness.report.sections import holding
from tests.synthetic import Plan, make_run


def section(folder: Path, plan: Plan) -> Section | None:
    run = load_run(make_run(folder, plan))
    return holding.make(run, summarise(run))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Section:
    plan = Plan(runtimes=("bare", "crun", "qemu"), blocks=10, states=True)
    found = section(tmp_path_factory.mktemp("holding") / "run", plan)
    assert found is not None
    return found


def test_idle_runs_have_no_such_section(tmp_path: Path) -> None:
    assert section(tmp_path / "run", Plan(runtimes=("crun",), blocks=2)) is None


def test_what_came_back_stands_beside_what_was_taken(made: Section) -> None:
    table = made.exhibits[0].table
    assert table is not None
    assert table.caption == "Of 64.0 MiB that an instance wrote, medians"
    crun, qemu = table.rows[1], table.rows[2]
    assert crun[0] == "crun"
    assert qemu[0] == "qemu (emulated)"
    for cell in (*crun[1:4], *qemu[1:3]):
        value, unit = cell.split()[:2]
        assert 62 < float(value) < 66
        assert unit == "MiB"
    assert "KiB" in qemu[3]
    assert crun[4:] == ("–", "–", "–")


def test_states_and_copies_are_told(made: Section) -> None:
    states, shared = made.exhibits[1].table, made.exhibits[2].table
    assert states is not None
    assert [row[0] for row in states.rows[3:6]] == ["crun, idle", "crun, touched", "crun, freed"]
    assert shared is not None
    assert [row[-2:] for row in shared.rows] == [("4", "1.0"), ("4", "1.0"), ("4", "4.0")]
    charts = [exhibit.chart for exhibit in made.exhibits if exhibit.chart]
    assert [chart.name for chart in charts] == ["holding", "pagecache"]
    assert "qemu: 42.0 MiB, 42.0 MiB" in charts[1].alt


def test_no_sentence_is_made_of_an_emulated_machine(made: Section) -> None:
    (answer,) = made.answers
    assert answer.headline.startswith("Of 64.0 MiB that an instance wrote and freed, there came")
    assert "in crun" in answer.headline
    assert "qemu" not in answer.text


def test_idle_is_what_runtimes_are_compared_by(tmp_path: Path) -> None:
    plain = summarise(load_run(make_run(tmp_path / "a", Plan(("crun",), blocks=6))))
    states = summarise(load_run(make_run(tmp_path / "b", Plan(("crun",), blocks=6, states=True))))
    for found in (plain, states):
        memory = found.rows[0].memory
        assert memory is not None
        assert memory.value < 1 << 20
