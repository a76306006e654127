"""What one parameter costs: which rows are set beside each other, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure

from harness.analysis.frames import RunData, load_run
from harness.analysis.summary import summarise
from harness.analysis.variants import variants
from harness.report.lines import Curve, draw_ecdf
from harness.report.sections import sections
from harness.report.sheet import Layout
from harness.report.style import NARROW, WIDE, Subject
from tests.synthetic import Plan, make_run

DOCKERS = ("docker", "docker,network=none", "docker,client=cli", "docker,client=cli,network=none")


def run(folder: Path, *names: str, blocks: int = 10) -> RunData:
    plan = Plan(runtimes=("runc", *names), blocks=blocks, memory=False, phases=False)
    return load_run(make_run(folder / "run", plan))


def test_rows_that_differ_in_one_parameter_are_paired(tmp_path: Path) -> None:
    found = run(tmp_path, *DOCKERS)
    pairs = {(v.row.runtime, v.base.runtime): v for v in variants(found, summarise(found))}
    assert set(pairs) == {
        ("docker,network=none", "docker"),
        ("docker,client=cli", "docker"),
        ("docker,client=cli,network=none", "docker,client=cli"),
        ("docker,client=cli,network=none", "docker,network=none"),
    }
    cli, none = pairs["docker,client=cli", "docker"], pairs["docker,network=none", "docker"]
    assert cli.changed == "client=cli"
    assert cli.added.interval is not None
    assert 0 < cli.added.interval.low < cli.added.value < cli.added.interval.high
    assert none.added.value < 0
    assert cli.added.interval.confidence == pytest.approx(1 - 0.05 / 4)


def test_few_blocks_give_a_difference_and_no_interval(tmp_path: Path) -> None:
    found = run(tmp_path, *DOCKERS, blocks=3)
    for variant in variants(found, summarise(found)):
        assert variant.added.interval is None
        assert "blocks that an interval needs" in variant.added.absent


def test_the_section_is_there_only_where_something_varies(tmp_path: Path) -> None:
    plain = run(tmp_path / "plain", "docker")
    assert "variants" not in [s.name for s in sections(plain, summarise(plain))]
    varied = run(tmp_path / "varied", *DOCKERS)
    section = next(s for s in sections(varied, summarise(varied)) if s.name == "variants")
    (exhibit,) = section.exhibits
    assert exhibit.table is not None
    assert len(exhibit.table.rows) == 4
    assert exhibit.chart is not None
    assert "docker, client=cli: " in exhibit.chart.alt


@pytest.mark.parametrize("layout", [WIDE, NARROW], ids=lambda layout: layout.name)
def test_names_over_the_curves_never_meet(layout: Layout) -> None:
    curves = tuple(
        Curve(Subject(name, "container", "none", False), (0.1 + n / 1000, 0.2, 0.3 + n / 1000))
        for n, name in enumerate(DOCKERS)
    )
    figure = draw_ecdf(curves, "s", "seconds", layout)
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    names = [text for text in figure.axes[0].texts if text.get_text() in DOCKERS]
    boxes = [text.get_window_extent() for text in names]
    assert len(boxes) == len(DOCKERS)
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
    assert max(box.y1 for box in boxes) <= figure.bbox.y1
