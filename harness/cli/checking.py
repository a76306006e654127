"""The command that checks tarebench itself: A/A, the same box under two names."""

from __future__ import annotations

import math
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.running import recording
from harness.cli.terminal_io import INTERRUPTED, Json, app, console, print_json, say, width
from harness.errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.analysis.selftest import Report, SelfTest
    from harness.runner import Request, Result

_PAIRS = 4
"""A/A pairs in each block: they share its controls, which take longer than a bare trial."""


@app.command()
def selftest(
    reports: Annotated[
        int, typer.Option(min=1, max=1000, help="How many reports are made of the run.")
    ] = 400,
    runtime: Annotated[str, typer.Option(help="The runtime that is set beside itself.")] = "bare",
    quiet: Annotated[bool, typer.Option(help="No progress on standard error.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The run folder itself; must be new or empty.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Set a runtime beside itself, and tell how often a report calls the two different.

    Status 0 when the data show that at most 5 % of reports have a false verdict (the upper end
    of the exact 95 % interval), 1 when they do not: too many were false, or too few were made.
    """
    request = _request(reports, runtime, out)
    result = _measured(request, quiet)
    found, told = _judged(request, reports, quiet)
    if told is None:
        if result.interrupted:
            say(f"Interrupted before a report was full; the run is kept: {request.folder}")
            raise typer.Exit(INTERRUPTED)
        raise HarnessError(
            f"no report could be made: no trial of {runtime} succeeded",
            f"tarebench report {request.folder} says why",
        )
    _tell(told, found, runtime, request.folder, as_json)
    if result.interrupted:
        say(f"Interrupted after {told.reports} of {reports} reports.")
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(0 if told.holds else 1)


def _request(reports: int, runtime: str, out: Path | None) -> Request:
    from harness import paths, registry
    from harness import scenario as scenarios
    from harness.runner import Request, new_run_id
    from harness.stopping import Rule

    names = [
        registry.canonical(f"{runtime},{registry.LABEL}={side}{number}")
        for number in range(1, _PAIRS + 1)
        for side in "ab"
    ]
    blocks = _blocks() * math.ceil(reports / _PAIRS)
    loaded = scenarios.load("selftest", runtimes=names, blocks=blocks)
    folder = (out or paths.results() / new_run_id(loaded.name)).absolute()
    return Request(
        scenario=loaded, folder=folder, seed=random.SystemRandom().randrange(2**32),
        rule=Rule(loaded.blocks), named=frozenset(names), command=("tarebench", *sys.argv[1:]),
    )  # fmt: skip


def _blocks() -> int:
    """Of one report, as the scenario says."""
    from harness import scenario as scenarios

    return scenarios.load("selftest").blocks


def _measured(request: Request, quiet: bool) -> Result:
    from harness import runner
    from harness.terminal import progress

    with recording(request), progress(console(), quiet) as observe:
        return runner.execute(request, observe)


def _judged(
    request: Request, reports: int, quiet: bool
) -> tuple[Sequence[Report], SelfTest | None]:
    """The reports of what was measured, with progress: each takes a moment."""
    from itertools import islice

    from rich.progress import track

    from harness.analysis import selftest
    from harness.analysis.frames import load_run

    run, size = load_run(request.folder), _blocks()
    names = selftest.paired_names(request.scenario.runtimes)
    made = islice(selftest.reports(run, names, size), reports)
    total = min(reports, len(names) * selftest.whole(run, size))
    found = list(
        track(made, "judging reports", total=total, console=console(), transient=True,
              disable=quiet)
    )  # fmt: skip
    return found, selftest.assess(run, size, found)


def _tell(
    told: SelfTest, found: Sequence[Report], runtime: str, folder: Path, as_json: bool
) -> None:
    from harness import selftest_text

    if as_json:
        print_json(selftest_text.document(told, found, runtime, folder))
        return
    typer.echo(selftest_text.text(told, runtime, width()))
    say(f"run: {folder}")
