"""Commands for a class: claims, and the words that numbers need."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.terminal_io import (
    Json,
    Lang,
    app,
    print_json,
    print_rich,
    readable,
    tell_left_out,
)
from harness.errors import UsageError


@app.command()
def claims(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            help="Run folders, reports, `latest`, `demo/SCENARIO`; none: all reference runs.",
            show_default=False,
        ),
    ] = None,
    file: Annotated[
        Path | None, typer.Option("--claims", help="A file of claims of your own.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Show every number.")] = False,
    lang: Lang = "en",
    as_json: Json = False,
) -> None:
    """Hold each sentence of the teaching text against stored runs.

    A claim holds, does not hold, depends, or is not decided by these data: docs/claims.md.
    """
    from harness import resources
    from harness.analysis.claims import declared
    from harness.analysis.claims.answers import answer
    from harness.analysis.language import speaking
    from harness.report.claims import document, terminal

    asked = declared.read(file)
    names = runs or [str(path) for path in resources.reference_runs().values()]
    found, refused = readable(names)
    for run in found:
        tell_left_out(run)
    with speaking(lang):
        answers = answer(asked, found)
        if as_json:
            print_json({
                "runs": [run.run for run in found], "claims": document(answers),
                "unreadable": refused,
            })  # fmt: skip
        else:
            print_rich(terminal(answers, every))
    if refused:
        raise typer.Exit(UsageError.exit_code)


@app.command()
def merge(
    runs: Annotated[list[str], typer.Argument(help="Runs, reports, or folders that hold runs.")],
    metric: Annotated[
        list[str] | None, typer.Option(help="By default the deciding ones; may be repeated.")
    ] = None,
    runtime: Annotated[list[str] | None, typer.Option(help="Only this; may be repeated.")] = None,
    every_run: Annotated[
        bool, typer.Option("--every-run", help="Each run is a host of its own.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Also write the page here (.html).")] = None,
    lang: Lang = "en",
    as_json: Json = False,
) -> None:
    """Put a class's runs together: what is a property of the box, and what of the laptop?

    A host is the unit, whatever its trials; docs/merging.md.
    """
    from harness.analysis.language import speaking
    from harness.analysis.merging import Wanted
    from harness.analysis.merging import merge as together
    from harness.report.merged import document, terminal, write
    from harness.runs import runs_in

    found, refused = readable([str(path) for name in runs for path in runs_in(name)])
    with speaking(lang):
        merged = together(found, Wanted(tuple(metric or ()), tuple(runtime or ()), every_run))
        if out is not None:
            write(merged, out.absolute())
        if as_json:
            print_json({**document(merged), "unreadable": refused})
        else:
            print_rich(terminal(merged))
    if out is not None:
        typer.echo(out.absolute(), err=as_json)
    if refused:
        raise typer.Exit(UsageError.exit_code)


@app.command()
def explain(
    name: Annotated[
        str | None,
        typer.Argument(help="A metric, mark, guard, runtime or term; none: lists them."),
    ] = None,
    lang: Lang = "en",
    as_json: Json = False,
) -> None:
    """What a word means, how it is measured, what it does not tell, and its lesson."""
    import dataclasses

    from harness.analysis import words
    from harness.analysis.language import speaking
    from harness.report.words import listing, text

    with speaking(lang):
        if name is None:
            names = words.known()
            print_json(names) if as_json else print_rich(listing(names))
            return
        found = words.explain(name)
        if as_json:
            print_json([dataclasses.asdict(each) for each in found])
        else:
            print_rich(text(found))
