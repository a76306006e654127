"""Colours: told apart by colour-blind readers, readable on a light page and on a dark one.

Colour-blindness is simulated after Machado, Oliveira and Fernandes, "A Physiologically-based
Model for Simulation of Color Vision Deficiency" (IEEE TVCG 15 (2009) 1291-1298), severity 1.0;
distances are CIE 1976 in L*a*b*, where about 2.3 is just noticeable; contrast is WCAG 2's.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib.colors import to_rgb

from harness.report.charts import render
from harness.report.dots import DotPlot, DotRow, draw_dots
from harness.report.matrix import SHADES, sign_colour
from harness.report.stacks import on
from harness.report.style import CLASS_COLOUR, INK, MARK_COLOUR, QUIET, Subject
from harness.report.theme import DARK, DARK_PAPER, PAPER, themed

Floats = npt.NDArray[np.float64]

VISION: Mapping[str, Floats | None] = {
    "trichromat": None,
    "protanope": np.array([
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]),
    "deuteranope": np.array([
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]),
    "tritanope": np.array([
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ]),
}  # fmt: skip

GROUNDS = {"light": PAPER, "dark": DARK_PAPER}


def dark(colour: str) -> str:
    """What a light colour is on a dark page."""
    known = {light.lower(): value for light, value in DARK.items()}
    return known.get(colour.lower(), colour)


def on_ground(colour: str, ground: str) -> str:
    return colour if ground == "light" else dark(colour)


def linear(colour: str) -> Floats:
    c = np.array(to_rgb(colour))
    return np.asarray(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4))


def contrast(one: str, other: str) -> float:
    light, deep = sorted(
        (float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other)), reverse=True
    )
    return (light + 0.05) / (deep + 0.05)


def lab(colour: str, vision: str) -> Floats:
    seen, matrix = linear(colour), VISION[vision]
    if matrix is not None:
        seen = np.clip(matrix @ seen, 0, 1)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
              [0.0193339, 0.1191920, 0.9503041]]  # fmt: skip
    xyz = np.array(to_xyz) @ seen / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("palette", [CLASS_COLOUR, MARK_COLOUR], ids=["classes", "marks"])
def test_no_two_colours_look_alike(palette: Mapping[str, str], vision: str, ground: str) -> None:
    colours = {name: on_ground(colour, ground) for name, colour in palette.items()}
    for one, other in itertools.combinations(colours, 2):
        far = np.linalg.norm(lab(colours[one], vision) - lab(colours[other], vision))
        assert far > 11, (one, other, far)


@pytest.mark.parametrize("ground", GROUNDS)
def test_words_in_colour_can_be_read(ground: str) -> None:
    for colour in (*CLASS_COLOUR.values(), INK, QUIET):
        assert contrast(on_ground(colour, ground), GROUNDS[ground]) >= 4.5, colour


def test_bars_keep_their_colours_and_the_words_on_them_can_be_read() -> None:
    for colour in MARK_COLOUR.values():
        assert {dark(colour), dark(on(colour))} == {colour, on(colour)}
        assert contrast(colour, on(colour)) >= 4.0, colour
        assert contrast(colour, DARK_PAPER) >= 3, colour


@pytest.mark.parametrize("vision", VISION)
def test_shades_go_from_light_to_dark_for_every_eye_and_signs_on_them_can_be_read(
    vision: str,
) -> None:
    lightness = [float(lab(shade, vision)[0]) for shade in SHADES]
    assert all(one - other > 11 for one, other in itertools.pairwise(lightness)), lightness
    for step, shade in enumerate(SHADES):
        assert contrast(shade, sign_colour(step)) >= 4.5, shade


def test_a_chart_follows_the_page_and_a_saved_one_does_not() -> None:
    boxes = (Subject("crun", "container", "none", False),
             Subject("qemu", "emulated machine", "tcg", True))  # fmt: skip
    rows = tuple(DotRow(box, (1.0, 1.1, 1.3, 1.2, 1.4), (1.7,), None) for box in boxes)
    plot = DotPlot(rows, "s", "from request to READY")
    chart = render("c", "a chart", lambda layout: draw_dots(plot, layout), plot.numbers)
    saved, shown = chart.wide.decode(), themed(chart.wide).decode()
    assert "var(" not in saved
    assert "prefers-color-scheme:dark" in shown
    colours = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", shown))
    assert not colours & {light.lower() for light in DARK}
    names = set(re.findall(r"var\((--c\d+)\)", shown))
    defined = set(re.findall(r"(--c\d+):#", shown))
    assert names == defined
    assert shown.count('class="p') >= 2 * 5 + 2  # its points, and what the axis marks
    assert "<!--" not in shown
