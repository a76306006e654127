"""What all commands share: the application, and the few ways to print."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

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
    """A line for people."""
    typer.echo(text, err=True)


def print_json(value: object) -> None:
    """A value for scripts."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
