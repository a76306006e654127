"""A report of as many runtimes as there are: by class, and sentences that can be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from harness import journal
from harness.analysis import sentences
from harness.analysis.frames import RunData, load_run
from harness.analysis.summary import class_rank, summarise
from harness.report.lines import Curve, draw_ecdf
from harness.report.sheet import Layout
from harness.report.style import NARROW, WIDE, Subject
from harness.terminal import results_table
from tests.synthetic import FIELD, Plan, make_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    names = tuple(sorted(FIELD))  # as nobody would wish to read them
    return make_run(tmp_path_factory.mktemp("many") / "run", Plan(names, blocks=16))


@pytest.fixture(scope="module")
def run(folder: Path) -> RunData:
    return load_run(folder)


def test_runtimes_of_a_class_follow_each_other(run: RunData) -> None:
    rows = summarise(run).rows
    assert len(rows) == len(FIELD)
    ranks = [class_rank(row.runtime_class) for row in rows]
    assert ranks == sorted(ranks)


def test_few_keep_the_order_of_their_scenario(tmp_path: Path) -> None:
    names = ("qemu", "docker", "bare")
    found = summarise(load_run(make_run(tmp_path / "run", Plan(names, blocks=2))))
    assert tuple(row.runtime for row in found.rows) == names


def test_headlines_tell_of_classes_and_stay_short(run: RunData) -> None:
    told = {each.kind: each for each in sentences.tell(summarise(run))}
    assert "(container)" in told["ready"].headline
    assert "docker,network=none" not in told["ready"].headline
    assert "(container)" in told["memory"].headline
    assert max(len(each.headline) for each in told.values()) < 320
    assert "docker,network=none" in told["memory"].detail  # nobody is left out


def test_what_is_not_decided_is_told_once_a_reason(tmp_path: Path) -> None:
    few = summarise(load_run(make_run(tmp_path / "run", Plan(FIELD, blocks=10))))
    told = next(each for each in sentences.tell(few) if each.kind == "ready")
    assert told.detail.count("no conclusion") == 1
    assert "Between crun and each of" in told.detail


def test_table_in_a_terminal_is_parted_by_class_and_fits(folder: Path) -> None:
    console = Console(width=80, record=True, file=None)
    with console.capture() as captured:
        console.print(results_table(list(journal.records(folder))))
    lines = captured.get().splitlines()
    headings = [line.strip() for line in lines if line.strip().isupper()]
    assert headings == [
        "BARE METAL", "JAIL", "CONTAINER", "SANDBOXED CONTAINER", "VIRTUAL MACHINE",
        "EMULATED MACHINE",
    ]  # fmt: skip
    assert len([line for line in lines if line.strip()]) == 1 + len(FIELD) + len(headings)


@pytest.mark.parametrize("layout", [WIDE, NARROW])
def test_many_curves_stand_in_panels_on_one_scale(run: RunData, layout: Layout) -> None:
    curves = tuple(
        Curve(
            Subject(row.runtime, row.runtime_class, row.accel, row.emulated),
            tuple(run.values("startup.ready", row.runtime)),
        )
        for row in summarise(run).rows
    )
    panels = drawn(curves, layout)
    assert len(panels) == 3
    assert len({axes.get_xlim() for axes in panels}) == 1
    assert sum(len(axes.texts) for axes in panels) == len(curves)
    assert len(drawn(curves[:3], layout)) == 1


def drawn(curves: tuple[Curve, ...], layout: Layout) -> Sequence[Axes]:
    figure = draw_ecdf(curves, "s", "axis", layout)
    assert isinstance(figure, Figure)
    return figure.axes
