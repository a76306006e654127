"""How a run looks in a terminal: live progress, plain lines elsewhere, and the closing table.

All of it goes to standard error; standard output holds the run folder alone.
"""

from __future__ import annotations

import textwrap
from array import array
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness import events
from harness.clock import duration_text
from harness.metrics import HEADLINES, METRICS
from harness.model import Outcome, RuntimeClass, TrialRecord

_HEADLINE_COLUMNS = 4
_MANY = 8
"""Rows beyond which a table is parted by class."""


class Progress(Protocol):
    """Something that shows the events of a run; a context manager."""

    def __call__(self, event: events.Event) -> None: ...
    def __enter__(self) -> Progress: ...
    def __exit__(self, *exc: object) -> None: ...


def progress(console: Console, quiet: bool) -> Progress:
    """The right one for this terminal."""
    if quiet:
        return Quiet()
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)


class Quiet:
    """Shows nothing."""

    def __call__(self, event: events.Event) -> None:
        return

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *exc: object) -> None:
        return


class PlainProgress(Quiet):
    """A line for each thing worth a line, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._block: tuple[bool, int] | None = None
        self._failed = 0

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def __call__(self, event: events.Event) -> None:
        match event:
            case events.Preparing(runtime, step):
                self._say(f"{runtime}: {step}")
            case events.Skipped(runtime, reason, remedy):
                self._say(f"{runtime}: skipped: {reason}{f' ({remedy})' if remedy else ''}")
            case events.Proven(runtime, identical, note):
                self._say(f"{runtime}: {_proof(identical, note)}")
            case events.Planned(trials):
                self._say(f"{len(trials)} trials")
            case events.Began(trial) if (trial.warmup, trial.block) != self._block:
                self._block = (trial.warmup, trial.block)
                name = "warm-up block" if trial.warmup else f"block {trial.block}"
                self._say(f"{name}: trial {_place(event)}")
            case events.Step(text):
                self._say(f"  {text}")
            case events.Ended(record):
                if record.outcome is not Outcome.OK:
                    self._say(failure_line(record))
            case events.Finishing(step):
                self._say(step)


class LiveProgress(Quiet):
    """A table that grows: the trial under way, each runtime's median so far, the time left."""

    def __init__(self, console: Console) -> None:
        self._plain = PlainProgress(console)
        self._ready: dict[str, array[float]] = {}
        self._failed: dict[str, int] = {}
        self._now: events.Began | None = None
        self._step = ""
        self._live = Live(console=console, refresh_per_second=4, transient=True,
                          get_renderable=self._render)  # fmt: skip

    def __call__(self, event: events.Event) -> None:
        if isinstance(event, events.Began):
            self._now, self._step = event, ""
        elif isinstance(event, events.Step):
            self._step = event.text
        elif isinstance(event, events.Ended):
            self._count(event.record)
        else:
            self._plain(event)

    def _count(self, record: TrialRecord) -> None:
        if record.outcome is not Outcome.OK:
            self._failed[record.runtime] = self._failed.get(record.runtime, 0) + 1
            self._plain(events.Ended(record))
        for sample in record.samples:
            if sample.metric == "startup.ready" and not record.warmup:
                self._ready.setdefault(record.runtime, array("d")).append(sample.value)

    def _render(self) -> Group:
        parts: list[Text | ProgressBar | Table] = []
        if self._ready:
            table = Table(box=None, pad_edge=False, header_style="dim")
            table.add_column("ready so far")
            table.add_column("median", justify="right")
            table.add_column("trials", justify="right")
            table.add_column("failed", justify="right")
            for name, values in self._ready.items():
                failed = self._failed.get(name, 0)
                table.add_row(
                    Text(name), seconds(median(values)), str(len(values)),
                    Text(str(failed), "red") if failed else "",
                )  # fmt: skip
            parts.append(table)
        if self._now is not None:
            trial = self._now.trial
            when = "warm-up" if trial.warmup else f"block {trial.block}"
            parts.append(
                Text(f"{trial.experiment} {trial.runtime} ({when}) · trial {_place(self._now)}")
            )
            if self._step:
                parts.append(Text(f"  {self._step}", "dim"))
            if self._now.total is not None:  # else nobody knows how far it is
                bar = ProgressBar(total=self._now.total, completed=self._now.number - 1, width=60)
                parts.append(bar)  # last: it does not end its line
        return Group(*parts)

    def __enter__(self) -> LiveProgress:
        self._live.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._live.__exit__(None, None, None)


def _place(now: events.Began) -> str:
    """Which trial, of how many where that is settled, and what is left until the end."""
    total = "" if now.total is None else f" of {now.total}"
    left = "" if now.left_s is None else f", {duration_text(now.left_s)} left"
    if now.total is None and now.left_s is not None:
        left = f", at most {duration_text(now.left_s)} left"
    return f"{now.number}{total}{left}{f'; {now.goal}' if now.goal else ''}"


def _proof(identical: bool | None, note: str) -> str:
    if identical:
        return f"runs the identical image{f' ({note})' if note else ''}"
    return f"NOT proven identical: {note}"


def failure_line(record: TrialRecord) -> str:
    """One line for a trial that is not ok."""
    what = f"{record.experiment} on {record.runtime}, block {record.block}"
    return f"trial {record.trial} ({what}): {record.outcome}: {record.reason}"


def seconds(value: float) -> str:
    """A duration in the unit that fits it, three significant digits."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if abs(value) >= factor or unit == "µs":
            scaled = value / factor
            digits = 0 if abs(scaled) >= 100 else 1 if abs(scaled) >= 10 else 2
            return f"{scaled:.{digits}f} {unit}"
    raise AssertionError("unreachable")


def bytes_text(value: float) -> str:
    """A size in MiB or GiB."""
    mib = value / (1 << 20)
    if abs(mib) >= 10240:
        return f"{mib / 1024:.1f} GiB"
    return f"{mib:.1f} MiB" if abs(mib) >= 10 else f"{mib:.2f} MiB"


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """A plain table: first column left, the rest right."""
    built = Table(title=title, box=None, pad_edge=False, title_justify="left", header_style="bold")
    for number, column in enumerate(columns):
        first = number == 0  # only names may be folded: a number that is broken is misread
        built.add_column(
            column, justify="left" if first else "right", overflow="fold", no_wrap=not first
        )
    for row in rows:
        built.add_row(*(Text(cell) for cell in row))
    return built


def results_table(records: Sequence[TrialRecord]) -> Table:
    """Median and range of what matters most, a line a runtime, from stored records."""
    values: dict[str, dict[str, list[float]]] = {}
    failed: dict[str, int] = {}
    for record in records:
        if record.warmup or record.experiment not in ("startup", "memory"):
            continue
        own = values.setdefault(record.runtime, {})
        failed[record.runtime] = failed.get(record.runtime, 0) + (record.outcome is not Outcome.OK)
        for sample in record.samples:
            if sample.dimensions.get("state", "idle") == "idle":
                own.setdefault(sample.metric, []).append(sample.value)
    kinds = {record.runtime: record.runtime_class for record in records}
    names = sorted(values, key=lambda name: median(values[name].get("startup.ready", [1e9])))
    rows: list[Sequence[str]] = [_result_row(name, values[name], failed[name]) for name in names]
    if len(rows) > _MANY:
        rows = _by_class(rows, kinds)
    cold = any("startup.read" in own for own in values.values())
    ready = "ready, cold" if cold else "ready"
    return table("", ("runtime", ready, "lowest … highest", "CPU", "memory", "failed"), rows)


def _by_class(rows: Sequence[Sequence[str]], kinds: Mapping[str, str]) -> list[Sequence[str]]:
    """A line with its name before the rows of each class, from no box to the heaviest."""
    known = [str(kind) for kind in RuntimeClass]
    found: list[Sequence[str]] = []
    for kind in sorted({kinds[row[0]] for row in rows}, key=known.index):
        found.append((kind.upper(),))
        found += [(f"  {row[0]}", *row[1:]) for row in rows if kinds[row[0]] == kind]
    return found


_OWN_TABLE = frozenset({"interference"})
"""Experiments whose closing table is a module of its own."""


def headline_tables(records: Sequence[TrialRecord]) -> Sequence[Table]:
    """The headline metrics of each other experiment: a line a runtime, a few columns a table."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    units: dict[str, str] = {}
    for record in records:
        if record.warmup or record.experiment not in HEADLINES or record.experiment in _OWN_TABLE:
            continue
        rows = found.setdefault(record.experiment, {})
        for sample in record.samples:
            if sample.metric in HEADLINES[record.experiment] or sample.metric not in METRICS:
                units[sample.metric] = sample.unit
                name = "\n".join([sample.metric, *sample.dimensions.values()])
                rows.setdefault(record.runtime, {}).setdefault(name, []).append(sample.value)
    tables = []
    for experiment, rows in found.items():
        names = list(dict.fromkeys(name for own in rows.values() for name in own))
        for begin in range(0, len(names), _HEADLINE_COLUMNS):
            part = names[begin : begin + _HEADLINE_COLUMNS]
            cells = [
                (row, *(_value(units[name.partition("\n")[0]], own.get(name, ())) for name in part))
                for row, own in rows.items()
                if any(name in own for name in part)
            ]
            headings = [name.partition(".")[2] for name in part]
            tables.append(table("", (experiment, *headings), cells))
    return [*tables, *_memory_tables(records)]


_MEMORY_COLUMNS = ("idle", "touched", "freed", "ballooned", "1st reader", "next")


def _memory_tables(records: Sequence[TrialRecord]) -> Sequence[Table]:
    """What an instance is charged in each state, where a run has more than the idle one."""
    found: dict[str, dict[str, list[float]]] = {}
    for record in records:
        for sample in record.samples if record.experiment == "memory" else ():
            column = {
                "memory.charged": sample.dimensions.get("state", "idle"),
                "memory.cache.first": "1st reader",
                "memory.cache.next": "next",
            }.get(sample.metric)
            if column is not None:
                found.setdefault(column, {}).setdefault(record.runtime, []).append(sample.value)
    if set(found) <= {"idle"}:
        return []
    columns = [column for column in _MEMORY_COLUMNS if column in found]
    runtimes = dict.fromkeys(name for own in found.values() for name in own)
    rows = [
        (name, *(_value("bytes", found[c].get(name, ())) for c in columns)) for name in runtimes
    ]
    return [table("", ("charged", *columns), rows)]


def _value(unit: str, values: Sequence[float]) -> str:
    if not values:
        return "–"
    middle = median(values)
    if unit == "s":
        return seconds(middle)
    if unit == "bytes":
        return bytes_text(middle)
    return f"{middle:,.0f}" if abs(middle) >= 1000 else f"{middle:,.4g}"


def _result_row(name: str, own: Mapping[str, list[float]], failed: int) -> Sequence[str]:
    ready, cpu = own.get("startup.ready", []), own.get("startup.cpu", [])
    charged = own.get("memory.charged", [])
    return (
        name,
        seconds(median(ready)) if ready else "–",
        f"{seconds(min(ready))} … {seconds(max(ready))}" if ready else "–",
        seconds(median(cpu)) if cpu else "–",
        bytes_text(median(charged)) if charged else "–",
        str(failed) if failed else "",
    )


def listing_text(rows: Sequence[Mapping[str, Any]], width: int) -> str:
    """Rows of `tarebench list` for people: the name, and what is worth saying."""
    names = [str(row["name"]) for row in rows]
    column = min(max(map(len, names), default=0), width // 2) + 2
    lines = []
    for name, row in zip(names, rows, strict=True):
        about = row.get("description") or ""
        extra = [row.get("unit", ""), row.get("outcome", "")]
        text = " · ".join(part for part in (about, *extra) if part)
        lines.append(hanging(name.ljust(column), text, width))
    return "\n".join(lines) or "nothing yet"


def hanging(lead: str, text: str, width: int) -> str:
    """A paragraph whose further lines stand under its first word after the lead."""
    return textwrap.fill(
        text, width, initial_indent=lead, subsequent_indent=" " * len(lead),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
