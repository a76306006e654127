"""What is drawn can be read: words lie on the sheet, and single trials are seen."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure, FigureBase

from harness.analysis.statistics import Estimate, Interval
from harness.model import RuntimeClass
from harness.report.html import marked
from harness.report.ledger import CHARGED, HOST, LedgerRow, ledger_numbers
from harness.report.lines import Curve, draw_ecdf
from harness.report.sheet import Layout
from harness.report.style import NARROW, WIDE, Subject, settings
from harness.report.waterfall import Fall, draw_waterfall

BARE = Subject("bare", RuntimeClass.BARE.value, "none", emulated=False)
CRUN = Subject("crun", RuntimeClass.CONTAINER.value, "none", emulated=False)
QEMU = Subject("qemu,machine=microvm", RuntimeClass.EMULATED.value, "tcg", emulated=True)
LAYOUTS = pytest.mark.parametrize("layout", [WIDE, NARROW], ids=lambda layout: layout.name)


def estimate(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, 10, Interval(low, high, 0.95))


def outside(figure: FigureBase) -> list[str]:
    """The words of which a part lies outside of the sheet."""
    assert isinstance(figure, Figure)
    texts = [each for axes in figure.axes for each in axes.texts if each.get_text()]
    assert texts
    boxes = [(each.get_text(), each.get_window_extent()) for each in texts]
    return [text for text, box in boxes if box.x0 < 0 or box.x1 > figure.bbox.x1]


@LAYOUTS
def test_a_curve_at_the_edge_has_its_whole_name(layout: Layout) -> None:
    curves = (Curve(BARE, (0.001, 0.0011, 0.0012)), Curve(QEMU, (2.0, 2.4, 2.5)))
    with settings():
        assert outside(draw_ecdf(curves, "s", "from request to READY", layout)) == []


@LAYOUTS
def test_a_long_name_beside_a_waterfall_is_whole(layout: Layout) -> None:
    falls = [
        Fall("fork and exec", 0.0, 0.9, None, BARE.colour, added=estimate(0.9, 0.8, 1.0)),
        Fall(QEMU.name, 0.0, 2.4, None, QEMU.colour, note="emulated (TCG)", ground=True),
    ]
    with settings():
        assert outside(draw_waterfall(falls, "from request to READY", layout)) == []


def test_the_trials_of_the_ledger_are_there_and_no_chance_find_of_the_hosts() -> None:
    few = Estimate(4e6, 1, None)
    row = LedgerRow(
        CRUN, {CHARGED: estimate(2e5, 1.9e5, 2.1e5), HOST: few},
        {CHARGED: (1.9e5, 2e5, 2.1e5), HOST: (4e6,)},
    )  # fmt: skip
    rows = ledger_numbers((row,)).rows
    assert [each[4] for each in rows if each[3] == "trial"] == [1.9e5, 2e5, 2.1e5]
    assert [each[2] for each in rows if each[3] == "median"] == [CHARGED, HOST]


def test_backticks_are_code_and_names_break_behind_a_comma() -> None:
    assert marked("`tarebench report` reads it") == "<code>tarebench report</code> reads it"
    assert marked("docker,client=cli") == "docker,<wbr>client=cli"
    hostile = marked("`<script>,a`,<img src=x>")
    assert "<script" not in hostile
    assert "<img" not in hostile
