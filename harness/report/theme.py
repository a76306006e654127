"""Charts that follow the reader's light or dark page, from the one SVG that was drawn.

A chart is drawn in light colours, so that saved files show everywhere. Inside the page its
colours become variables with a dark value each, chosen by the reader's setting; a viewer that
does not know the setting keeps the light ones on their white ground. Colours of data keep
their distance for colour-blind readers on both grounds (tests/unit/test_report_theme.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.model import RuntimeClass
from harness.report.style import (
    CLASS_COLOUR,
    EMULATED_GROUND,
    EMULATED_HATCH,
    FAINT,
    HAIRLINE,
    INK,
    MARGIN_GROUND,
    QUIET,
)

PAPER, DARK_PAPER = "#ffffff", "#14181c"

_CLASSES: Mapping[str, str] = {
    RuntimeClass.BARE.value: "#dfe5ea",
    RuntimeClass.JAIL.value: "#f0a818",
    RuntimeClass.CONTAINER.value: "#4a9fe0",
    RuntimeClass.SANDBOX.value: "#8c7bff",
    RuntimeClass.MACHINE.value: "#3cd6a2",
    RuntimeClass.EMULATED.value: "#d273a6",
}

DARK: Mapping[str, str] = {
    PAPER: DARK_PAPER,
    INK: "#e6e9ec",
    QUIET: "#a3abb3",
    FAINT: "#69727b",
    HAIRLINE: "#2a3138",
    EMULATED_GROUND: "#2a1d26",
    EMULATED_HATCH: "#4d3344",
    MARGIN_GROUND: "#1b3329",
    **{CLASS_COLOUR[name]: colour for name, colour in _CLASSES.items()},
}
"""The dark value of each light colour; one that is not here suits both grounds."""

_COLOUR = re.compile(r"#[0-9a-f]{6}(?![0-9a-zA-Z_-])")
_NAMES = {light.lower(): f"--c{n}" for n, light in enumerate(DARK)}
_VALUES = {_NAMES[light.lower()]: (light.lower(), dark) for light, dark in DARK.items()}
_COMMENT = re.compile(r"<!--.*?-->\s*", re.S)
_PLACES = re.compile(r"(?<=\s[dxy]=\")[^\"]*?\.\d{3}[^\"]*")
_LONG = re.compile(r"\d+\.\d{3,}")
_POINT = re.compile(r'(<use [^>]*? x=")([^"]*)(" y=")([^"]*)" style="([^"]*)"')


def themed(svg: bytes) -> bytes:
    """The same picture, smaller, with colours that follow `prefers-color-scheme`.

    Places are kept to a hundredth of a point, and the look of many points is said once.
    """
    looks: dict[str, int] = {}

    def point(found: re.Match[str]) -> str:
        before, x, between, y, look = found.groups()
        number = looks.setdefault(look, len(looks))
        return f'{before}{_short(x)}{between}{_short(y)}" class="p{number}"'

    text = _POINT.sub(point, _COMMENT.sub("", svg.decode()))
    text = _PLACES.sub(_rounded, text)
    colours = _COLOUR.findall(" ".join([text, *looks]))
    used = sorted({_NAMES[c] for c in colours if c in _NAMES})
    text = _COLOUR.sub(_variable, text)
    light, dark = ("".join(f"{name}:{_VALUES[name][k]};" for name in used) for k in (0, 1))
    points = "".join(f".p{number}{{{look}}}" for look, number in looks.items())
    rules = (
        f"{_COLOUR.sub(_variable, points)}:root{{{light}}}"
        f"@media (prefers-color-scheme:dark){{:root{{{dark}}}}}"
    )
    head, mark, rest = text.partition("<defs>")
    return f"{head}<style>{rules}</style>{mark}{rest}".encode()


def _rounded(found: re.Match[str]) -> str:
    return _LONG.sub(lambda m: _short(m[0]), found[0])


def _short(number: str) -> str:
    _, _, places = number.partition(".")
    return f"{float(number):.2f}".rstrip("0").rstrip(".") if len(places) > 2 else number


def _variable(found: re.Match[str]) -> str:
    name = _NAMES.get(found[0])
    return f"var({name})" if name else found[0]
