"""The command line: the only place that prints and exits.

Commands load what they need when they are called, so that `--help` costs little and a run
never loads pandas. Standard output holds what a script wants to read (the run folder, JSON,
CSV, a list); everything for people goes to standard error.
"""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from harness import __version__
from harness.errors import HarnessError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from harness.runner import Request, Result

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


class Listing(StrEnum):
    """What `tarebench list` can list."""

    RUNTIMES = "runtimes"
    SCENARIOS = "scenarios"
    METRICS = "metrics"
    RUNS = "runs"


class _State:
    """What the global options said; set once, before a command runs."""

    debug = False


def _console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def _width() -> int:
    """Columns to write for; a pipe gets what a narrow terminal would."""
    import shutil

    return max(40, min(100, shutil.get_terminal_size().columns))


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _print_json(value: object) -> None:
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and debug logs.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Options before the command's name."""
    _State.debug = debug
    logging.raiseExceptions = debug  # a log that cannot be written must not disturb
    if debug:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s")
    if version:
        typer.echo(f"tarebench {__version__}")
        raise typer.Exit


# ---------------------------------------------------------------- looking


@app.command()
def doctor(
    as_json: Json = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Make the host quieter; kept until --untune.")
    ] = False,
    untune: Annotated[bool, typer.Option("--untune", help="Put back what --tune changed.")] = False,
) -> None:
    """What this host can run and why not, with the command that mends it."""
    from harness import tuning

    if tune and untune:
        raise UsageError("--tune and --untune exclude each other", "give one of them")
    if tune or untune:
        for line in tuning.tune() if tune else tuning.untune():
            _say(line)
        return
    from harness.doctor import examine

    _say("looking at every runtime; machines boot a guest …")
    found = examine()
    if as_json:
        _print_json(found)
    else:
        from harness.terminal import diagnosis_text

        typer.echo(diagnosis_text(found, _width()))


@app.command(name="list")
def list_(
    what: Annotated[Listing, typer.Argument(help="What to list.")], as_json: Json = False
) -> None:
    """List runtimes, scenarios, metrics or runs. Never boots anything."""
    rows = _LISTS[what]()
    if as_json:
        _print_json(rows)
        return
    from harness.terminal import listing_text

    typer.echo(listing_text(rows, _width()))


def _list_runtimes() -> Sequence[dict[str, Any]]:
    from harness.doctor import known_runtimes

    keys = ("name", "class", "status", "reason", "remedy", "parameters")
    import msgspec

    return [{key: msgspec.to_builtins(row)[key] for key in keys} for row in known_runtimes()]


def _list_scenarios() -> Sequence[dict[str, Any]]:
    from harness.scenario import available, load

    loaded = {name: load(str(path)) for name, path in available().items()}
    return [
        {"name": name, "description": found.description, "question": found.question}
        for name, found in loaded.items()
    ]


def _list_metrics() -> Sequence[dict[str, Any]]:
    import msgspec

    from harness.metrics import METRICS

    return [msgspec.to_builtins(metric) for metric in METRICS.values()]


def _list_runs() -> Sequence[dict[str, Any]]:
    from harness.runs import known_runs

    return [
        {"name": run.folder.name, "description": run.title, "outcome": run.outcome,
         "started_utc": run.started_utc, "path": str(run.folder)}
        for run in known_runs()
    ]  # fmt: skip


_LISTS = {
    Listing.RUNTIMES: _list_runtimes,
    Listing.SCENARIOS: _list_scenarios,
    Listing.METRICS: _list_metrics,
    Listing.RUNS: _list_runs,
}


# ---------------------------------------------------------------- running


@app.command()
def run(
    scenario: Annotated[str, typer.Argument(help="A scenario's name, or a path to a TOML file.")],
    runtime: Annotated[
        list[str] | None, typer.Option(help="Only this runtime; may be repeated.")
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
        typer.Option(
            metavar="5%", help="Go on until each median of startup.ready is known this well."
        ),
    ] = None,
    time_budget: Annotated[
        str | None,
        typer.Option(metavar="T", help="Stop after the block that exceeds it: 90s, 10m, 2h."),
    ] = None,
    strict: Annotated[
        bool, typer.Option(help="Refuse to run where a guard would block a verdict.")
    ] = False,
    quiet: Annotated[bool, typer.Option(help="No progress on standard error.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="The run folder itself; must be new or empty.")
    ] = None,
) -> None:
    """Run a scenario. Prints the run folder on standard output."""
    from harness import paths, registry
    from harness import scenario as scenarios
    from harness.runner import Request, new_run_id
    from harness.stopping import MAX_BLOCKS, Rule, parse_duration, parse_percent

    width = parse_percent(until) if until else None
    budget = parse_duration(time_budget) if time_budget else None
    if (width or budget) and repeat is None:
        repeat = MAX_BLOCKS
    named = [registry.canonical(name) for name in runtime or []]
    loaded = scenarios.load(scenario, runtimes=named, blocks=repeat, settings=settings or [])
    folder = (out or paths.results() / new_run_id(loaded.name)).absolute()
    request = Request(
        scenario=loaded, folder=folder,
        seed=random.SystemRandom().randrange(2**32) if seed is None else seed,
        rule=Rule(blocks=loaded.blocks, relative_width=width, budget_s=budget),
        named=frozenset(named), strict=strict, command=("tarebench", *sys.argv[1:]),
    )  # fmt: skip
    _execute(request, quiet)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="The run folder, or `latest`.")],
    quiet: Annotated[bool, typer.Option(help="No progress on standard error.")] = False,
) -> None:
    """Go on with a run that was cut off, keeping every finished trial."""
    from harness.runs import find_run, request_to_resume

    _execute(request_to_resume(find_run(str(run))), quiet)


def _execute(request: Request, quiet: bool) -> None:
    """Run with progress, print the folder, and leave with the right status."""
    from harness import journal, runner
    from harness.events import Finishing
    from harness.terminal import progress, results_table

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
    console = _console()
    result: Result | None = None
    try:
        with progress(console, quiet) as observe:
            result = runner.execute(request, observe)
            observe(Finishing("writing the report"))
            runner.make_report(request.folder)
    except KeyboardInterrupt:
        _say(_interrupted(request, result))
        raise typer.Exit(INTERRUPTED) from None
    finally:
        log.close()
        logging.getLogger().removeHandler(log)
        _leave_folder(request.folder, new)
    if not quiet:
        console.print(results_table(journal.records(request.folder)))
        _say(f"report: {request.folder / 'report.html'}")
    raise typer.Exit(_status(result))


def _interrupted(request: Request, result: Result | None) -> str:
    if result is not None:
        return f"Interrupted; every trial is kept. The report: tarebench report {request.folder}"
    if request.earlier is not None:
        return f"Interrupted before a trial. Go on with: tarebench resume {request.folder}"
    return "Interrupted before the first trial; nothing was left behind."


def _leave_folder(folder: Path, new: bool) -> None:
    """Say where the run is, on standard output's only line; a run that never began is no run."""
    if (folder / "manifest.json").exists():
        typer.echo(folder)
    elif new:
        for name in ("log.txt", "journal.jsonl"):
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()


def _status(result: Result) -> int:
    if result.interrupted:
        _say(f"Interrupted; finished trials are kept. Go on with: tarebench resume {result.folder}")
        return INTERRUPTED
    for name in result.differing:
        _say(f"{name}: not proven to run the identical image; see the report")
    if result.failed:
        _say(f"{result.failed} trial{'s' if result.failed > 1 else ''} failed; the report says why")
    return 1 if result.failed or result.differing else 0


# ---------------------------------------------------------------- reading


@app.command()
def report(
    runs: Annotated[list[str], typer.Argument(help="Run folders, reports, `latest`, or `demo`.")],
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
    if found.is_dir() and name != "demo":
        return found / f"report.{format_}"
    return Path.cwd() / f"tarebench-{found.stem}.{format_}"


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="A run folder, a report, or `latest`.")],
    to: Annotated[str, typer.Option(help="csv or parquet.")],
    out: Annotated[
        Path | None, typer.Option(help="Where to write it; standard output if not given.")
    ] = None,
) -> None:
    """Write a run's samples in another format."""
    if to not in ("csv", "parquet"):
        raise UsageError(f"--to {to!r} is not known", "choose csv or parquet")
    from harness.analysis.export import export as write
    from harness.analysis.frames import load_run
    from harness.runs import find_run

    write(load_run(find_run(run)), to, out)


# ---------------------------------------------------------------- the image


@image_app.command()
def build(
    refresh: Annotated[
        bool, typer.Option(help="Build anew with the archive's newest packages.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Build the image unless it is there already."""
    from harness import paths
    from harness.image.build import build as build_image

    image = build_image(paths.cache(), refresh=refresh, progress=_say)
    _print_json({"digest": image.digest, "path": str(image.directory)}) if as_json else typer.echo(
        image.digest
    )


@image_app.command()
def show(as_json: Json = False) -> None:
    """Digest, packages, excluded paths and derived forms of the image."""
    from harness.imagecheck import describe, require

    found = describe(require())
    if as_json:
        _print_json(found)
        return
    for key, value in found.items():
        if isinstance(value, dict):
            value = [f"{name} {version}" for name, version in value.items()]
        text = "\n  ".join(["", *map(str, value)]) if isinstance(value, list) else str(value)
        typer.echo(f"{key}: {text}")


@image_app.command()
def verify(
    runtime: Annotated[
        list[str] | None, typer.Option(help="Only this runtime; may be repeated.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Derive the digest again from inside an instance of each runtime."""
    from harness.imagecheck import verify_everywhere

    rows = verify_everywhere(runtime or [], _say)
    if as_json:
        _print_json(rows)
    else:
        for row in rows:
            typer.echo(f"{row.runtime}\t{row.digest or '–'}\t{row.text}")
    if any(row.identical is False for row in rows):
        raise typer.Exit(1)


@image_app.command()
def prune(
    everything: Annotated[bool, typer.Option("--all", help="The current image too.")] = False,
    as_json: Json = False,
) -> None:
    """Remove images and forms that no recipe of today needs."""
    from harness import paths
    from harness.image.store import prune as prune_images

    removed = prune_images(paths.cache(), keep_current=not everything)
    if as_json:
        _print_json([str(path) for path in removed])
    else:
        for path in removed:
            typer.echo(path)


# ---------------------------------------------------------------- cleaning


@app.command()
def clean(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would go.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what dead runs left behind, by inventory and label, and nothing else."""
    from harness import inventory

    with inventory.dead_inventories() as files:
        rows = [(file, entry) for file in files for entry in inventory.left_over(file)]
        if as_json:
            _print_json([{"kind": entry.kind, "name": entry.name} for _, entry in rows])
        else:
            for _, entry in rows:
                typer.echo(f"{entry.kind}\t{entry.name}")
        if dry_run:
            return
        failed = [pair for file in files for pair in inventory.clean(file)]
    for entry, why in failed:
        _say(f"{entry.kind} {entry.name} stays: {why}")
    if failed:
        raise typer.Exit(1)


# ---------------------------------------------------------------- the way out


_WrongCommandLine = cast("type[Exception]", typer.BadParameter.__mro__[2])
"""ClickException, wherever typer keeps it."""


def main() -> None:
    """The entry point: turns every error into one sentence, a hint and a status."""
    try:
        status = app(standalone_mode=False)
    except HarnessError as error:
        if _State.debug:
            raise
        _say(f"tarebench: {error.message}")
        if error.hint:
            _say(f"  hint: {error.hint}")
        status = error.exit_code
    except _WrongCommandLine as error:
        context = getattr(error, "ctx", None)
        _say(f"tarebench: {cast('typer.BadParameter', error).format_message()}")
        _say(f"  hint: {context.command_path if context else 'tarebench'} -h")
        status = UsageError.exit_code
    except (typer.Abort, KeyboardInterrupt):
        _say("Interrupted.")
        status = INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        status = 0
    except Exception as error:
        if _State.debug:
            raise
        _say(f"tarebench: unexpected {type(error).__name__}: {error}")
        _say("  hint: the same command after `tarebench --debug` shows where")
        status = 1
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
