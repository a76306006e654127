"""One HTML file that needs nothing else: no network, its data inside.

Text that a workload or a runtime may have chosen (a failure's reason, a version) reaches the
page through jinja2's autoescape alone. The page's policy forbids every load but of the images
that it carries, and every script and style but the two that it names by their hashes; the
script makes tables sort and filter, and all is there without it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from harness import __version__
from harness.analysis import embedded
from harness.analysis.language import LANGUAGES, recorded, say, spoken
from harness.analysis.words import tip
from harness.report.charts import Chart
from harness.report.view import View

_CODE = re.compile(r"`([^`]+)`")
_JOINT = re.compile(r"(?<=[a-z0-9][,+])(?=[a-z0-9_])")
_LOOSE = re.compile(r"(\d) (?=(?:ns|µs|ms|s|B|KiB|MiB|GiB|%|times)(?![A-Za-z]))")


def render(views: Sequence[View]) -> str:
    """The whole page."""
    return page("report", views=views, downloads=[v.carried() for v in views])


def page(template: str, **values: object) -> str:
    """A page from one of the templates, with what all pages have: style, script and policy."""
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["_"] = say
    environment.globals["recorded"] = recorded
    environment.filters["picture"] = picture
    environment.filters["tied"] = tied
    environment.filters["marked"] = marked
    environment.filters["numbers"] = numbers
    environment.filters["tipped"] = tipped
    style, script = _part("style.css"), _part("tables.js")
    return environment.get_template(f"{template}.html.j2").render(
        lang=LANGUAGES[spoken()],
        prose=f"prose.{spoken()}.j2",
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        version=__version__,
        **values,
    )


def policy(style: str, script: str) -> str:
    """The page's Content-Security-Policy: nothing from anywhere, and only what has these hashes."""
    return (
        f"default-src 'none'; img-src data:; style-src '{_hash(style)}'; "
        f"script-src '{_hash(script)}'; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _part(name: str) -> str:
    return (resources.files("harness.report") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def tied(text: str) -> str:
    """Keeps a number and its unit on one line."""
    return _LOOSE.sub("\\1\N{NO-BREAK SPACE}", text)


def marked(text: str) -> Markup:
    """A text with what stands in backticks as code, and places where a long name may break.

    A text that is not markup yet is escaped first; names such as `docker,network=none` then
    break behind a comma or a plus, and never within a word.
    """
    code = _CODE.sub(r"<code>\1</code>", str(escape(text)))
    return Markup(_JOINT.sub("<wbr>", code))


def tipped(text: str) -> Markup:
    """A label, with what it means as its tip where it is a word that can be explained."""
    told, shown = tip(text), marked(text)
    return (
        Markup('<abbr title="{told}">{shown}</abbr>').format(told=told, shown=shown)
        if told
        else shown
    )


def picture(chart: Chart) -> Markup:
    """A chart that changes its shape with the width of the page."""
    return Markup(
        '<picture><source media="(max-width: 640px)" srcset="{narrow}">'
        '<img src="{wide}" alt="{alt}"></picture>'
    ).format(
        narrow=embedded.data_address("image/svg+xml", chart.themed[1]),
        wide=embedded.data_address("image/svg+xml", chart.themed[0]),
        alt=chart.alt,
    )


def numbers(chart: Chart) -> str:
    """The address of a chart's numbers as CSV."""
    return embedded.text_address("text/csv", chart.csv)
