"""What stands below a program, drawn: with no box, in a container, in a hosted and a bare machine.

Layers from the hardware up. What is as wide as its panel is shared by the boxes in it; what is
half as wide, each has for itself. Nothing is measured here, so nothing depends on a run.
"""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from harness.analysis.language import later, say
from harness.model import RuntimeClass
from harness.report.sheet import sheet, wrapped
from harness.report.style import (
    CLASS_COLOUR,
    FAINT,
    HAIRLINE,
    INK,
    NARROW,
    ON_DEEP,
    QUIET,
    WIDE,
    settings,
)

_HOST = CLASS_COLOUR[RuntimeClass.BARE.value]
_JAIL = CLASS_COLOUR[RuntimeClass.JAIL.value]
_CONTAINER = CLASS_COLOUR[RuntimeClass.CONTAINER.value]
_MACHINE = CLASS_COLOUR[RuntimeClass.MACHINE.value]
_MONITOR = "#7D5A00"
_DEEP = (_HOST, _JAIL, _CONTAINER, _MACHINE, _MONITOR)

_TALLEST = 5
_LAYER_IN, _HEAD_IN, _FOOT_IN = 0.38, 0.62, 0.32
_GAP = 0.05
_LETTER_IN = 0.066


@dataclass(frozen=True)
class Layer:
    """One storey, of one box or two: a title each. One title alone is shared by both."""

    titles: tuple[str, ...]
    colours: tuple[str, ...]


@dataclass(frozen=True)
class Architecture:
    """A way to build: its title, examples, and its storeys from the bottom up."""

    title: str
    examples: str
    layers: tuple[Layer, ...]


def _shared(title: str, colour: str) -> Layer:
    return Layer((title,), (colour,))


def _each(title: str, colour: str) -> Layer:
    return Layer((title, title), (colour, colour))


_HARDWARE = _shared(later("hardware"), FAINT)
_KERNEL = _shared(later("the host’s kernel"), _HOST)
_PROGRAM = _each(later("program"), HAIRLINE)
_GUEST = _each(later("kernel of its own"), _MACHINE)

ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(later("No box, and a jail"), later("a process; chroot"), (
        _HARDWARE, _KERNEL,
        Layer((later("the host’s files"), later("a folder as /")), (HAIRLINE, _JAIL)), _PROGRAM)),
    Architecture(later("OS-level virtualization"), later("Docker, LXC, Solaris Zones"), (
        _HARDWARE, _KERNEL, _each(later("namespaces, limits, files"), _CONTAINER), _PROGRAM)),
    Architecture(later("Full virtualization, hosted"), later("VMware Workstation, QEMU"), (
        _HARDWARE, _KERNEL, _each(later("machine monitor"), _MONITOR), _GUEST, _PROGRAM)),
    Architecture(later("Hardware-level virtualization"), later("Xen, VMware ESXi, KVM"), (
        _HARDWARE, _shared(later("hypervisor"), _MONITOR), _GUEST, _PROGRAM)),
)  # fmt: skip
"""With two boxes in each."""


def architecture_figure(narrow: bool = False) -> Figure:
    """The four ways side by side, or for a phone two by two."""
    layout = NARROW if narrow else WIDE
    columns = 2 if narrow else len(ARCHITECTURES)
    rows = -(-len(ARCHITECTURES) // columns)
    panel_in = _HEAD_IN + _TALLEST * _LAYER_IN
    with settings():
        page = sheet(
            layout, _FOOT_IN, rows=rows, row_in=panel_in, least_in=panel_in, reading=reading()
        )
        figure = page.figure
        assert isinstance(figure, Figure)
        across, high = 1 / columns, panel_in / page.height_in
        for number, each in enumerate(ARCHITECTURES):
            row, column = divmod(number, columns)
            place = ((column + _GAP) * across, 1 - (row + 1) * high, (1 - 2 * _GAP) * across, high)
            axes = figure.add_axes(place)
            _draw(axes, each, layout.width_in * place[2])
        foot = _fitted(reading(), layout.width_in, 1.0)
        figure.text(_GAP * across, 0.04 / page.height_in, foot, size=7.5, color=QUIET)
        figure.draw_without_rendering()
    return figure


def reading() -> str:
    """How it is read."""
    return say("As wide as its column: shared by both boxes. Half as wide: one for each.")


def _draw(axes: Axes, architecture: Architecture, width_in: float) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, _TALLEST + _HEAD_IN / _LAYER_IN)
    axes.set_axis_off()
    for storey, layer in enumerate(architecture.layers):
        _draw_layer(axes, layer, storey, width_in)
    top = len(architecture.layers) + 0.2
    title = _fitted(say(architecture.title), width_in, 1.05)
    axes.text(0, top, say(architecture.examples), size=7, color=QUIET, va="bottom")
    axes.text(0, top + 0.5, title, size=8.5, weight="bold", va="bottom", linespacing=1.0)


def _draw_layer(axes: Axes, layer: Layer, storey: int, width_in: float) -> None:
    count = len(layer.titles)
    for number, (title, colour) in enumerate(zip(layer.titles, layer.colours, strict=True)):
        left, width = number / count, 1 / count
        axes.add_patch(
            Rectangle((left + 0.008, storey + 0.04), width - 0.016, 0.92, facecolor=colour,
                      edgecolor="none")
        )  # fmt: skip
        axes.text(
            left + width / 2, storey + 0.5, _fitted(say(title), width * width_in, 0.93),
            ha="center", va="center", size=7, linespacing=0.95,
            color=ON_DEEP if colour in _DEEP else INK,
        )  # fmt: skip


def _fitted(text: str, width_in: float, scale: float) -> str:
    """On as many lines as it needs."""
    return "\n".join(wrapped(text, width_in / (_LETTER_IN * scale)))
