"""Commands that hand runs to other tools, and take theirs in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.terminal_io import Json, app, print_json, say, tell_left_out, width


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A run folder, a report, or `latest`.")],
    to: Annotated[
        str,
        typer.Option(help="csv, parquet, json, pytest-benchmark, openmetrics, or reference."),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Where to write it; standard output if not given.")
    ] = None,
) -> None:
    """Write a run in another format (docs/other-tools.md).

    `reference` makes a small copy of the whole run, to be kept with the project: by default in
    results/reference/MACHINE/SCENARIO.
    """
    from harness.errors import UsageError
    from harness.exchange.export import FORMATS
    from harness.exchange.export import export as write

    if to not in (*FORMATS, "reference"):
        raise UsageError(f"--to {to!r} is not known", f"choose {', '.join(FORMATS)} or reference")
    from harness.analysis.frames import load_run
    from harness.runs import find_run

    loaded = load_run(find_run(run))
    tell_left_out(loaded)
    if to == "reference":
        from harness import paths
        from harness.analysis import reference

        typer.echo(reference.keep(loaded, (out or paths.references()).absolute()))
        return
    for note in write(loaded, to, out):
        say(f"{to}: {note}")


@app.command(name="import")
def import_(
    file: Annotated[
        Path, typer.Argument(help="JSON of hyperfine (--export-json) or of pytest-benchmark.")
    ],
    out: Annotated[
        Path | None, typer.Option(help="The run folder; by default a new one in results/runs.")
    ] = None,
) -> None:
    """Make a run of another tool's results, marked as imported; prints its folder."""
    from harness import paths
    from harness.exchange.importing import import_file

    folder, left_out = import_file(file, paths.results(), out)
    for text in left_out:
        say(f"left out: {text}")
    typer.echo(folder)


@app.command()
def history(
    folders: Annotated[
        list[str] | None,
        typer.Argument(help="More runs, or folders of runs, beside those in results/runs."),
    ] = None,
    scenario: Annotated[list[str] | None, typer.Option(help="Only this; may be repeated.")] = None,
    metric: Annotated[
        list[str] | None, typer.Option(help="By default the deciding ones; may be repeated.")
    ] = None,
    runtime: Annotated[list[str] | None, typer.Option(help="Only this; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also draw it: .svg, .png or .pdf.")] = None,
    as_json: Json = False,
) -> None:
    """What a metric did from run to run, and what changed with it (docs/history.md)."""
    from harness.analysis.history import Wanted
    from harness.analysis.history import history as follow
    from harness.runs import all_runs
    from harness.trend_table import history_json, history_text

    wanted = Wanted(tuple(scenario or ()), tuple(metric or ()), tuple(runtime or ()))
    found = follow(all_runs(folders or ()), wanted)
    if out is not None:
        from harness.report.trend import save_trends

        save_trends(found, out.absolute())
        say(f"drawn: {out}")
    if as_json:
        print_json(history_json(found))
    else:
        typer.echo(history_text(found, width()))
