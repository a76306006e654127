"""Axes and names of charts: always two ticks to read by, nothing cut off, nothing pressed flat."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.text import Text

from harness.analysis.statistics import Estimate, Interval
from harness.report.ratios import Group, Line, Panel, draw_ratios
from harness.report.style import WIDE, Subject, log_axis
from harness.report.waterfall import Fall, draw_waterfall


@pytest.mark.parametrize("unit", ["s", "1/s", "bytes"])
@pytest.mark.parametrize("step", range(40))
def test_a_single_value_has_two_ticks_around_it(unit: str, step: int) -> None:
    """The shortest axis there is: from the value over 1.5 to 1.5 times it."""
    value = (1e5 if unit == "bytes" else 1e-3) * 1.13**step
    axes = Figure().add_subplot()
    log_axis(axes, value, value, unit)
    low, high = axes.get_xlim()
    assert sum(low <= float(t) <= high for t in axes.xaxis.get_majorticklocs()) >= 2


@pytest.mark.parametrize("name", ["qemu", "qemu,machine=microvm", "kvm,balloon=reporting,x=yes"])
def test_the_longest_name_of_a_waterfall_begins_on_the_page(name: str) -> None:
    falls = [Fall(name, 0.0, 2.0, None, "#000000"), Fall("kernel", 0.0, 1.0, 0, "#000000")]
    figure = draw_waterfall(falls, "time", WIDE)
    (text,) = (t for t in texts(figure) if t.get_text() == name)
    assert text.get_window_extent().x0 > 0


def texts(figure: FigureBase) -> list[Text]:
    return figure.findobj(Text)


def the_axes(*panels: Panel) -> Axes:
    figure = draw_ratios(panels, "speed", WIDE)
    return figure.findobj(Axes)[0]


def panel(blocks: tuple[float, ...], high: float) -> Panel:
    ratio = Estimate(1.01, len(blocks), Interval(0.98, high, 0.95))
    line = Line(Subject("crun", "container", "none", False), ratio, blocks)
    return Panel("1 thread", (Group("forks", 1.05, (line,) * 8),))


def test_a_few_far_blocks_do_not_press_the_rest_together_and_are_shown_as_arrows() -> None:
    near = (0.97, 0.99, 1.0, 1.0, 1.01, 1.02, 1.03, 1.02, 0.98, 1.01)
    usual = the_axes(panel(near, 1.04))
    assert usual.get_xlim()[1] < 1.2
    one = Panel("1", (*panel(near, 1.04).groups, *panel((*near, 9.0), 1.04).groups))
    drawn = the_axes(one)
    assert drawn.get_xlim()[1] < 2
    arrows = [line for line in drawn.lines if line.get_marker() == ">"]
    assert len(arrows) == 8
