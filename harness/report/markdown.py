"""The same report as Markdown, for a pull request or a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined

from harness import __version__
from harness.analysis.language import recorded, say, spoken
from harness.report.view import View

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#~$])")


def render(views: Sequence[View], charts: Sequence[str | None]) -> str:
    """The whole page; `charts` names each run's folder of charts, relative to the page."""
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=False,  # not HTML: every value passes the filter `md`
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["_"] = say
    environment.globals["recorded"] = recorded
    environment.filters["md"] = escape
    environment.filters["address"] = quote
    template = environment.get_template("report.md.j2")
    return template.render(
        views=views, charts=charts, version=__version__, lang=spoken(), prose=f"prose.{spoken()}.j2"
    )


def escape(text: object) -> str:
    """Text that Markdown shows as it is, on one line: no markup, no HTML, no table break."""
    return " ".join(_SPECIAL.sub(r"\\\1", str(text)).split())
