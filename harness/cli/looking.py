"""Commands that look and change nothing: doctor (but for --tune) and list."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any

import typer

from harness.cli.terminal_io import Json, app, print_json, say, width
from harness.errors import UsageError


class Listing(StrEnum):
    """What `tarebench list` can list."""

    RUNTIMES = "runtimes"
    SCENARIOS = "scenarios"
    METRICS = "metrics"
    RUNS = "runs"


@app.command()
def doctor(
    as_json: Json = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Make the host quieter; kept until --untune.")
    ] = False,
    untune: Annotated[bool, typer.Option("--untune", help="Put back what --tune changed.")] = False,
    runtime: Annotated[
        list[str] | None, typer.Option(help="Look at this runtime alone; may be repeated.")
    ] = None,
) -> None:
    """What this host can run and why not, with the command that mends it."""
    from harness import tuning

    if tune and untune:
        raise UsageError("--tune and --untune exclude each other", "give one of them")
    if tune or untune:
        for line in tuning.tune() if tune else tuning.untune():
            say(line)
        return
    from harness.doctor import examine

    which = ", ".join(runtime) if runtime else "every runtime"
    say(f"looking at {which}; machines boot a guest …")
    found = examine(runtime or ())
    if as_json:
        print_json(found)
    else:
        from harness.host_text import diagnosis_text

        typer.echo(diagnosis_text(found, width()))


@app.command(name="list")
def list_(
    what: Annotated[Listing, typer.Argument(help="What to list.")], as_json: Json = False
) -> None:
    """List runtimes, scenarios, metrics or runs. Never boots anything."""
    if what is Listing.RUNTIMES:
        _list_runtimes(as_json)
        return
    rows = _LISTS[what]()
    if as_json:
        print_json(rows)
        return
    from harness.terminal import listing_text

    typer.echo(listing_text(rows, width()))


def _list_runtimes(as_json: bool) -> None:
    import msgspec

    from harness.doctor import known_runtimes
    from harness.host_text import offered, runtimes_text

    found = known_runtimes()
    if not as_json:
        typer.echo(runtimes_text(found, width(), offered))
        return
    keys = ("name", "class", "status", "reason", "remedy", "parameters")
    print_json([{key: msgspec.to_builtins(state)[key] for key in keys} for state in found])


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
    Listing.SCENARIOS: _list_scenarios,
    Listing.METRICS: _list_metrics,
    Listing.RUNS: _list_runs,
}
