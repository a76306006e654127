"""Commands that read stored runs: report and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.terminal_io import app
from harness.errors import UsageError


@app.command()
def report(
    runs: Annotated[
        list[str], typer.Argument(help="Run folders, reports, `latest`, `demo`, `demo/SCENARIO`.")
    ],
    out: Annotated[Path | None, typer.Option(help="Where to write it.")] = None,
    format_: Annotated[str, typer.Option("--format", help="html or md.")] = "html",
    charts: Annotated[
        Path | None, typer.Option(help="Also save the charts here, SVG and PNG.")
    ] = None,
    lang: Annotated[str, typer.Option(help="en or zh.")] = "en",
) -> None:
    """Make the report of one or more runs; `demo` is a shipped reference run."""
    if format_ not in ("html", "md"):
        raise UsageError(f"--format {format_!r} is not known", "choose html or md")
    if lang != "en":
        raise UsageError(f"--lang {lang!r} is not there yet", "choose en")
    from harness.analysis.frames import load_run
    from harness.report import build
    from harness.runs import find_run

    found = [find_run(name) for name in runs]
    target = (out or _default_report(runs[0], found[0], format_)).absolute()
    build([load_run(path) for path in found], target, charts, format=format_)
    typer.echo(target)


def _default_report(name: str, found: Path, format_: str) -> Path:
    """Beside the run; never into the shipped reference run."""
    if found.is_dir() and name.partition("/")[0] != "demo":
        return found / f"report.{format_}"
    return Path.cwd() / f"tarebench-{found.stem}.{format_}"


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A run folder, a report, or `latest`.")],
    to: Annotated[str, typer.Option(help="csv, parquet, or reference.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write it; standard output if not given.")
    ] = None,
) -> None:
    """Write a run's samples in another format.

    `reference` makes a small copy of the whole run, to be kept with the project: by default in
    results/reference/MACHINE/SCENARIO.
    """
    if to not in ("csv", "parquet", "reference"):
        raise UsageError(f"--to {to!r} is not known", "choose csv, parquet or reference")
    from harness.analysis.export import export as write
    from harness.analysis.frames import load_run
    from harness.runs import find_run

    loaded = load_run(find_run(run))
    if to == "reference":
        from harness import paths
        from harness.analysis import reference

        typer.echo(reference.keep(loaded, (out or paths.references()).absolute()))
    else:
        write(loaded, to, out)
