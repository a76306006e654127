"""Commands that run: run and resume."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.terminal_io import INTERRUPTED, app, console, say
from harness.errors import UsageError
from harness.paths import REPORT

if TYPE_CHECKING:
    from harness.runner import Request, Result
    from harness.scenario import Scenario


Force = Annotated[
    bool, typer.Option("--force", help="Run beside another run on this host; a guard says so.")
]

Quiet = Annotated[bool, typer.Option(help="No progress on standard error.")]
Drawn = Annotated[
    bool,
    typer.Option(
        "--report/--no-report", envvar=REPORT, help="Draw the charts and the report at the end."
    ),
]


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="A scenario's name, or a path to a TOML file.")],
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this runtime; may be repeated. Several that work here: `all`, "
            "`class:container` (bare, jail, container, sandbox, vm, emulated), "
            "`docker,network=*`."
        ),
    ] = None,
    repeat: Annotated[
        int | None,
        typer.Option(
            min=1, max=10000, help="Blocks: one measured trial a runtime, experiment and block."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the scenario."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the random order.")] = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="5%", help="Go on until each headline median is known this well."),
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(metavar="T", help="Stop after the block that exceeds it: 90s, 10m, 2h."),
    ] = None,
    strict: Annotated[
        bool, typer.Option(help="Refuse to run on a noisy host, and say what is noisy.")
    ] = False,
    force: Force = False,
    report: Drawn = True,
    quiet: Quiet = False,
    out: Annotated[Path | None, typer.Option(help="The run folder; must be new or empty.")] = None,
) -> None:
    """Run a scenario. Prints the run folder on standard output."""
    from harness import paths, registry
    from harness import scenario as scenarios
    from harness.runner import Request, new_run_id
    from harness.stopping import MAX_BLOCKS, Rule, deciding, parse_duration, parse_percent

    width = parse_percent(until) if until else None
    budget = parse_duration(time_budget) if time_budget else None
    if (width or budget) and repeat is None:
        repeat = MAX_BLOCKS
    loaded = scenarios.load(
        scenario, runtimes=runtime or [], blocks=repeat, settings=settings or []
    )
    folder = (out or paths.results() / new_run_id(loaded.name)).absolute()
    request = Request(
        scenario=loaded, folder=folder,
        seed=random.SystemRandom().randrange(2**32) if seed is None else seed,
        rule=Rule(loaded.blocks, width, budget, deciding(_going_on(loaded), width)),
        named=registry.named(runtime or []), strict=strict, force=force,
        command=("tarebench", *sys.argv[1:]), source=scenarios.source(scenario),
    )  # fmt: skip
    _execute(request, quiet, report)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The run folder, or `latest`.")],
    force: Force = False,
    report: Drawn = True,
    quiet: Quiet = False,
) -> None:
    """Go on with a run that was cut off, keeping every finished trial."""
    from harness.runs import find_run, request_to_resume

    _execute(replace(request_to_resume(find_run(str(run))), force=force), quiet, report)


def _going_on(scenario: Scenario) -> Sequence[str]:
    """The experiments that have a trial in every block, so that more blocks tell more of them."""
    return [name for name, own in scenario.experiments.chosen().items() if own.blocks is None]


def _execute(request: Request, quiet: bool, report: bool) -> None:
    """Run with progress, print the folder, and leave with the right status."""
    from harness import journal, runner
    from harness.events import Finishing
    from harness.isolation_table import isolation_table
    from harness.ladder_table import ladder_table
    from harness.neighbours_table import neighbours_table
    from harness.terminal import headline_tables, progress, results_table

    screen = console()
    result: Result | None = None
    ours = False  # a folder that is refused is not printed
    try:
        with recording(request), progress(screen, quiet) as observe:
            ours = True
            result = runner.execute(request, observe)
            observe(Finishing("writing the report" if report else "writing the data"))
            runner.make_report(request.folder, report)
    except KeyboardInterrupt:
        say(_interrupted(request, result))
        raise typer.Exit(INTERRUPTED) from None
    finally:
        if ours and (request.folder / "manifest.json").exists():
            typer.echo(request.folder)  # standard output's only line
    if not quiet:
        stored = list(journal.records(request.folder))
        ladder = request.scenario.experiments.ladder
        climbed = [ladder_table(stored, ladder.rungs)] if ladder else []
        apart = [isolation_table(stored)] if request.scenario.experiments.isolation else []
        own = (*climbed, *apart, neighbours_table(stored))
        for table in (results_table(stored), *own, *headline_tables(stored)):
            if table.row_count:
                screen.print(table)
        drawn = request.folder / "report.html"
        say(f"report: {drawn if report else f'tarebench report {request.folder}'}")
    raise typer.Exit(_status(result))


@contextmanager
def recording(request: Request) -> Iterator[None]:
    """The run's folder and its log; a run that never began leaves no folder.

    Raises UsageError where the folder cannot be written."""
    from harness import journal

    new = request.earlier is None
    if new:
        journal.create_folder(request.folder)
    try:
        log = logging.FileHandler(request.folder / "log.txt")
    except OSError as error:
        raise UsageError(
            f"the run folder {request.folder} cannot be written: {error.strerror}",
            "give --out another folder",
        ) from error
    log.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(log)
    try:
        yield
    finally:
        log.close()
        logging.getLogger().removeHandler(log)
        if new and not (request.folder / "manifest.json").exists():
            for name in ("log.txt", "journal.jsonl"):
                (request.folder / name).unlink(missing_ok=True)
            with suppress(OSError):
                request.folder.rmdir()


def _interrupted(request: Request, result: Result | None) -> str:
    if result is not None:
        return f"Interrupted; every trial is kept. The report: tarebench report {request.folder}"
    if request.earlier is not None:
        return f"Interrupted before a trial. Go on with: tarebench resume {request.folder}"
    return "Interrupted before the first trial; nothing was left behind."


def _status(result: Result) -> int:
    if result.interrupted:
        say(f"Interrupted; finished trials are kept. Go on with: tarebench resume {result.folder}")
        return INTERRUPTED
    for name in result.differing:
        say(f"{name}: not proven to run the identical image; see the report")
    if result.failed:
        say(f"{result.failed} trial{'s' if result.failed > 1 else ''} failed; the report says why")
    return 1 if result.failed or result.differing else 0
