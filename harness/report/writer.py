"""From stored runs to files: the one entry of the report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.analysis.export import harmless_name, write_whole
from harness.analysis.frames import RunData
from harness.analysis.language import speaking
from harness.analysis.storing import store_data
from harness.errors import UsageError
from harness.report import audit, html, markdown
from harness.report.charts import begun, shown
from harness.report.view import View, view


def build(
    runs: Sequence[RunData],
    out: Path,
    charts: Path | None = None,
    format: str = "html",
    *,
    alone: bool = False,
    lang: str = "en",
) -> None:
    """Write a report of one run or several to `out`, and its charts into the folder `charts`.

    `format` is `html` or `md`. With `alone`, the charts are also written in the styles that
    stand alone (`publication/` and `slides/`). `lang` is one of `language.LANGUAGES`. Raises
    UsageError for another, and HarnessError when a file cannot be written. With several runs,
    each run's charts go into a folder of its name.
    """
    with speaking(lang):
        _build(runs, out, charts, format, alone)


def _build(
    runs: Sequence[RunData], out: Path, charts: Path | None, format: str, alone: bool
) -> None:
    if format not in ("html", "md"):
        raise UsageError(f"a report cannot be of the format {format!r}", "choose html or md")
    if not runs:
        raise UsageError("there is no run to report", "name a run folder")
    # Where charts are files too, they are drawn for these, and a page shows the same.
    views = [view(run, page=format == "html" and charts is None) for run in runs]
    folders = [_chart_folder(charts, v, len(views)) for v in views]
    for one, folder in zip(views, folders, strict=True):
        if folder is not None:
            for chart in one.all_charts:
                chart.save(folder)
                if alone:
                    chart.publish(folder, audit.conditions_of(one.run))
    if format == "html":
        for one in views:
            _draw(one)
        text = html.render(views)
    else:
        text = markdown.render(views, [_relative(folder, out) for folder in folders])
    write_whole(out, text.encode())


def _draw(one: View) -> None:
    """All charts as a page has them, those of its sections half here and half apart."""
    last = begun(one.section_charts[::2], one.run.rows.length)
    one.drawn()
    for chart in one.section_charts[1::2]:
        shown(chart)
    last()


def build_folder(folder: Path) -> Path:
    """Write data, `charts/` and `report.html` into a run folder."""
    run = store_data(folder)
    out = folder / "report.html"
    build([run], out, folder / "charts")
    return out


def _chart_folder(charts: Path | None, one: View, count: int) -> Path | None:
    if charts is None or count == 1:
        return charts
    return charts / harmless_name(one.summary.run)


def _relative(folder: Path | None, out: Path) -> str | None:
    """How the report names the folder of its charts."""
    if folder is None:
        return None
    try:
        return folder.resolve().relative_to(out.resolve().parent).as_posix()
    except ValueError:
        return folder.resolve().as_uri()
