"""One HTML file that needs nothing else: no network, no script, its data inside.

Text that a workload or a runtime may have chosen (a failure's reason, a version) reaches the
page through jinja2's autoescape alone, and the page's policy forbids every load but of the
images that it carries.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness import __version__
from harness.analysis import embedded
from harness.analysis.export import samples_parquet, to_csv
from harness.report.charts import Chart
from harness.report.view import View

_LOOSE = re.compile(r"(\d) (?=(?:ns|µs|ms|s|B|KiB|MiB|GiB|%|times)(?![A-Za-z]))")

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"


def render(views: Sequence[View]) -> str:
    """The whole page."""
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["picture"] = picture
    environment.filters["tied"] = tied
    template = environment.get_template("report.html.j2")
    return template.render(
        views=views, policy=POLICY, version=__version__, downloads=[_downloads(v) for v in views]
    )


def tied(text: str) -> str:
    """Keeps a number and its unit on one line."""
    return _LOOSE.sub("\\1\N{NO-BREAK SPACE}", text)


def picture(chart: Chart) -> Markup:
    """A chart that changes its shape with the width of the page."""
    return Markup(
        '<picture><source media="(max-width: 640px)" srcset="{narrow}">'
        '<img src="{wide}" alt="{alt}"></picture>'
    ).format(
        narrow=embedded.data_address("image/svg+xml", chart.narrow),
        wide=embedded.data_address("image/svg+xml", chart.wide),
        alt=chart.alt,
    )


def _downloads(view: View) -> dict[str, str]:
    manifest = json.dumps(view.run.manifest, indent=1).encode()
    return {
        "csv": embedded.data_address("text/csv", to_csv(view.run)),
        "samples": embedded.data_address(
            "application/vnd.apache.parquet", samples_parquet(view.run)
        ),
        "manifest": embedded.data_address("application/json", manifest),
    }
