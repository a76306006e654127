"""Which fonts charts are drawn with: the first of each kind that this machine has.

Charts carry their letters with them, as paths or embedded, so only the machine that draws needs
the fonts. None is shipped; one with Chinese letters is looked for among those that systems and
their packages bring.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from matplotlib import font_manager

from harness.analysis.language import spoken
from harness.errors import HarnessError
from harness.report.sheet import is_alone

_LATIN = ("Inter", "Helvetica Neue", "Arial", "Liberation Sans", "DejaVu Sans")

_CHINESE = (
    "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "Source Han Sans CN", "PingFang SC",
    "Microsoft YaHei", "Hiragino Sans GB", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
    "Droid Sans Fallback", "Heiti SC", "STHeiti", "SimHei", "SimSun", "Noto Sans CJK JP",
    "Noto Sans CJK TC", "Arial Unicode MS",
)  # fmt: skip

_FILES = (
    "cjk",
    "sourcehan",
    "wqy",
    "droidsansfallback",
    "pingfang",
    "msyh",
    "simhei",
    "notosanssc",
)
"""In the names of files that hold such fonts."""


def families() -> list[str]:
    """Families in the order in which a letter is looked for.

    Raises HarnessError where Chinese is spoken and no font has its letters.
    """
    latin = [name for name in _known(_LATIN) if not (is_alone() and _is_postscript(name))]
    latin = latin or ["DejaVu Sans"]
    if spoken() != "zh":
        return latin
    chinese = _known(_CHINESE) or _searched()
    if not chinese:
        raise HarnessError(
            "no font with Chinese letters was found, so charts in Chinese cannot be drawn",
            "install one (Debian: apt install fonts-wqy-microhei), or use --lang en",
        )
    return [*latin, chinese[0]]


def _is_postscript(name: str) -> bool:
    """Whether a family's outlines are PostScript's, which matplotlib does not embed cleanly."""
    files = (font.fname for font in font_manager.fontManager.ttflist if font.name == name)
    return any(Path(file).suffix == ".otf" for file in files)


def accept_one_weight() -> None:
    """From now on, no word of matplotlib's on a font that has no bold: it is drawn as it is.

    Not for the time of one drawing alone, for a notebook draws a chart when its cell has ended.
    """
    logging.getLogger("matplotlib.font_manager").addFilter(_is_not_of_weight)  # once and no more


def _is_not_of_weight(record: logging.LogRecord) -> bool:
    return "Failed to find font weight" not in str(record.msg)


def _known(names: Sequence[str]) -> list[str]:
    there = set(font_manager.get_font_names())
    return [name for name in names if name in there]


def _searched() -> list[str]:
    """matplotlib remembers which fonts there are; this finds one that came since."""
    for path in font_manager.findSystemFonts():
        if any(part in Path(path).name.lower().replace("-", "") for part in _FILES):
            font_manager.fontManager.addfont(path)
    return _known(_CHINESE)
