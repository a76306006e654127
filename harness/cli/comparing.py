"""The command that compares stored runs: compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.terminal_io import Json, app, print_json, print_rich, readable
from harness.errors import UsageError

_RUN = "A run folder, a report, `latest`, or `demo/SCENARIO`"


@app.command()
def compare(
    base: Annotated[str, typer.Argument(help=f"{_RUN}.")],
    new: Annotated[list[str], typer.Argument(help=f"{_RUN}; each is compared with BASE.")],
    fail_if: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXPR",
            help="Exit 1 if the data show it, as in 'startup.ready[docker] > +10%'; may be "
            "repeated.",
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Show every comparison.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Also write JUnit XML here.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Also write Markdown here.")] = None,
    as_json: Json = False,
) -> None:
    """Compare stored runs: a verdict for each metric of each runtime that both have.

    What an expression is and when it holds: docs/comparing.md.
    """
    from harness.analysis import gates
    from harness.analysis.compare import compare as beside
    from harness.analysis.expression import parse
    from harness.analysis.frames import load_run
    from harness.runs import find_run

    expressions = [parse(text) for text in fail_if or ()]
    first = load_run(find_run(base))
    others, refused = readable(new)
    found = beside(first, others)
    answers = gates.evaluate(expressions, found)
    from harness.analysis.export import write_whole
    from harness.report import ci
    from harness.report.comparison import terminal

    if junit is not None:
        write_whole(junit, ci.junit(found, answers))
    if markdown is not None:
        write_whole(markdown, ci.markdown(found, answers).encode())
    if as_json:
        print_json({**ci.document(found, answers), "unreadable": refused})
    else:
        print_rich(terminal(found, answers, every))
    if any(answer.outcome is gates.Outcome.HOLDS for answer in answers):
        raise typer.Exit(1)
    if refused:
        raise typer.Exit(UsageError.exit_code)
