"""The command that reads stored runs and reports them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.terminal_io import Lang, app, tell_left_out
from harness.errors import UsageError


@app.command()
def report(
    runs: Annotated[
        list[str], typer.Argument(help="Run folders, reports, `latest`, `demo`, `demo/SCENARIO`.")
    ],
    out: Annotated[Path | None, typer.Option(help="Where to write it.")] = None,
    format_: Annotated[str, typer.Option("--format", help="html or md.")] = "html",
    charts: Annotated[
        Path | None,
        typer.Option(help="Also write the charts here: SVG, PNG, PDF; for print and slides."),
    ] = None,
    lang: Lang = "en",
) -> None:
    """Make the report of one or more runs; `demo` is a shipped reference run."""
    if format_ not in ("html", "md"):
        raise UsageError(f"--format {format_!r} is not known", "choose html or md")
    from harness.analysis.frames import load_all
    from harness.report import build
    from harness.runs import find_run

    found = [find_run(name) for name in runs]
    target = (out or _default_report(runs[0], found[0], format_)).absolute()
    loaded = [run for path in found for run in load_all(path)]
    for run in loaded:
        tell_left_out(run)
    build(loaded, target, charts, format_, alone=charts is not None, lang=lang)
    typer.echo(target)


def _default_report(name: str, found: Path, format_: str) -> Path:
    """Beside the run; never into the shipped reference run."""
    if found.is_dir() and name.partition("/")[0] != "demo":
        return found / f"report.{format_}"
    return Path.cwd() / f"tarebench-{found.stem}.{format_}"
