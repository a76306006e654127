"""The command line: the only place that prints and exits.

Commands load what they need when they are called, so that `--help` costs little and a run
never loads pandas. Standard output holds what a script wants to read (the run folder, JSON,
CSV, a list); everything for people goes to standard error.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Annotated, cast

import typer

from harness import __version__, paths, process
from harness.cli import (
    checking,
    comparing,
    exchanging,
    keeping,
    laboratory,
    looking,
    reading,
    running,
    teaching,
)
from harness.cli.terminal_io import INTERRUPTED, State, app, say
from harness.errors import HarnessError, UsageError

__all__ = [
    "app", "checking", "comparing", "exchanging", "keeping", "laboratory", "looking",
    "main", "reading",
    "running", "teaching",
]  # fmt: skip


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Options before the command's name."""
    State.debug = debug
    logging.raiseExceptions = debug  # a log that cannot be written must not disturb
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
    if version:
        typer.echo(f"tarebench {__version__}")
        raise typer.Exit


_WrongCommandLine = cast("type[Exception]", typer.BadParameter.__mro__[2])
"""ClickException, wherever typer keeps it."""


def main() -> None:
    """The entry point: turns every error into one sentence, a hint and a status."""
    paths.settle_umask()
    os.environ["PATH"] = process.search_path()  # for libraries and for programs that we start
    try:
        status = app(standalone_mode=False)
    except HarnessError as error:
        if State.debug:
            raise
        say(f"tarebench: {error.message}")
        if error.hint:
            say(f"  hint: {error.hint}")
        status = error.exit_code
    except _WrongCommandLine as error:
        context = getattr(error, "ctx", None)
        say(f"tarebench: {cast('typer.BadParameter', error).format_message()}")
        say(f"  hint: {context.command_path if context else 'tarebench'} -h")
        status = UsageError.exit_code
    except (typer.Abort, KeyboardInterrupt):
        say("Interrupted.")
        status = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        status = 0
    except Exception as error:
        if State.debug:
            raise
        say(f"tarebench: unexpected {type(error).__name__}: {error}")
        say("  hint: the same command after `tarebench --debug` shows where")
        status = 1
    sys.exit(status if isinstance(status, int) else 0)
