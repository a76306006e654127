"""What all commands share: the application, and the few ways to print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from harness.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from harness.analysis.frames import RunData

INTERRUPTED = 130

app = typer.Typer(
    name="tarebench", help="What does the box cost? The identical workload on bare metal, in "
    "containers and in virtual machines, measured, compared and explained.",
    rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False,
    no_args_is_help=True, context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip
image_app = typer.Typer(
    help="The one root filesystem and its derived forms.", no_args_is_help=True,
    rich_markup_mode=None,
)  # fmt: skip
app.add_typer(image_app, name="image")

Lang = Annotated[str, typer.Option(help="en or zh.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


class State:
    """What the global options said; set once, before a command runs."""

    debug = False


def console() -> Console:
    """Standard error as rich sees it."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def width() -> int:
    """Columns to write for; a pipe gets what a narrow terminal would."""
    import shutil

    return max(40, min(100, shutil.get_terminal_size().columns))


def say(text: str) -> None:
    """A line for people; what somebody's file put into it cannot steer the terminal."""
    shown = "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
    typer.echo(shown, err=True)


def tell_left_out(run: RunData) -> None:
    """What of a run could not be read, or is not in the file that it was read from."""
    for note in run.notes:
        say(f"{run.run}: {note}")


def readable(names: Sequence[str]) -> tuple[list[RunData], list[str]]:
    """The runs that can be read; the others are said and counted, unless there are no more."""
    from harness.analysis.frames import load_run
    from harness.runs import find_run

    found: list[RunData] = []
    refused: list[tuple[str, UsageError]] = []
    for name in names:
        try:
            found.append(load_run(find_run(name)))
        except UsageError as error:
            refused.append((name, error))
    if not found:
        raise refused[0][1]
    for _, why in refused:
        say(f"tarebench: left out: {why.message}")
        say(f"  hint: {why.hint}")
    return found, [name for name, _ in refused]


def print_json(value: object) -> None:
    """A value for scripts."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def print_rich(value: RenderableType) -> None:
    """Tables on standard output, at least 80 columns wide; plain lines where it is no terminal."""
    from rich.console import Console

    console = Console(width=max(80, width()), highlight=False)
    if console.is_terminal:
        console.print(value, end="")
        return
    with console.capture() as captured:
        console.print(value, end="")
    typer.echo("\n".join(line.rstrip() for line in captured.get().rstrip().splitlines()))
