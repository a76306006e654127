"""The tables that stand under the charts: the same data, for those who read or listen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness.analysis import boots, cpucheck, phases, statistics
from harness.analysis.cpucheck import CpuCheck
from harness.analysis.frames import RunData
from harness.analysis.language import later, say
from harness.analysis.phases import Timeline
from harness.analysis.statistics import Estimate, Interval
from harness.analysis.summary import IDLE, RuntimeRow, Summary, round_trip_p99_s
from harness.analysis.units import (
    MISSING,
    percent,
    plural,
    quantity,
    span,
    span_or_why,
    times,
    with_interval,
)
from harness.report import ledger
from harness.report.charts import GUEST, OVERHEAD, PHASE_WORDS, subject


@dataclass(frozen=True)
class Table:
    """Headings and cells as text; the first column names the row.

    `kind` is `numbers`, or `words` where cells are sentences that may take several lines.
    `ranked` says that its rows may be put in order of size; not where they count unlike things.
    """

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    kind: str = "numbers"
    ranked: bool = True

    def __post_init__(self) -> None:
        """Caption and headings are said in the language that is spoken."""
        object.__setattr__(self, "caption", say(self.caption))
        object.__setattr__(self, "headings", tuple(map(say, self.headings)))


def label(row: RuntimeRow) -> str:
    """A runtime's name, which never stands alone where it was emulated."""
    return say("{runtime} (emulated)", runtime=row.runtime) if row.emulated else row.runtime


def startup(run: RunData, summary: Summary) -> Table:
    """READY by runtime."""
    rows = tuple(
        (
            label(row),
            subject(row).kind,
            quantity(row.ready.value, "s") if row.ready else MISSING,
            _interval(row.ready, "s"),
            quantity(row.added.value, "s") if row.added else MISSING,
            _reach(run, row.runtime),
            say("{some} of {all}", some=row.ok, all=row.tried),
            say("{low} to {high}", low=percent(row.success.low), high=percent(row.success.high))
            if row.success
            else "",
        )
        for row in summary.rows
    )
    return Table(
        "Time from request to READY",
        ("Runtime", "Class", "Median", "95 % interval", "More than bare", "Fastest to slowest",
         "Succeeded", "Success rate, exact 95 %"),
        rows,
    )  # fmt: skip


def marks(run: RunData, summary: Summary) -> Table:
    """The median time of each mark, from the request."""
    wanted = ("created", "started", "vmm", "init", "ready", "job", "exited", "removed")
    rows = tuple(
        (label(row), *(_median(run, f"startup.{m}", row.runtime, "s") for m in wanted))
        for row in summary.rows
    )
    return Table(
        "Median time from request to each mark (exited and removed include the held part)",
        ("Runtime", *wanted), rows,
    )  # fmt: skip


def timeline(run: RunData, summary: Summary, end: bool = False) -> Table:
    """The phases of the median trial, one column a phase, and their sum."""
    found: list[tuple[RuntimeRow, Timeline]] = []
    for row in summary.rows:
        plain = phases.teardown(run, row.runtime) if end else phases.startup(run, row.runtime)
        deep = None if end else phases.startup(run, row.runtime, "phases")
        found += [(row, t) for t in (plain, deep) if t is not None]
    present = {p.mark for _, t in found for p in t.phases}
    used = [mark for mark in PHASE_WORDS if mark in present]
    rows = tuple(
        (
            say("{runtime}, instrumented", runtime=label(row)) if t.instrumented else label(row),
            *_phase_cells(t, used),
            quantity(t.total, "s"),
        )
        for row, t in found
    )
    caption = say("Phases of the median end") if end else say("Phases of the median start")
    words = (say(PHASE_WORDS[mark]) for mark in used)
    return Table(caption, (say("Runtime"), *words, say("Sum")), rows)


def memory(run: RunData, summary: Summary) -> Table:
    """The ledger: two totals, the remainder, and the views beside them."""
    metrics = (ledger.CHARGED, ledger.HOST, "memory.remainder", ledger.PSS, ledger.RSS)
    rows = tuple(
        (
            label(row),
            *(_ledger_cell(run, m, row.runtime) for m in metrics[:2]),
            *(_median(run, m, row.runtime, "bytes", state=IDLE) for m in metrics[2:]),
        )
        for row in summary.rows
        if row.memory_tried
    )
    names = ("Charged (95 %)", "Host's fall (95 %)", "Remainder", "PSS", "RSS")
    return Table("Memory of one idle instance, medians", ("Runtime", *names), rows)


def machine_memory(run: RunData, summary: Summary) -> Table:
    """What a machine's memory is made of."""
    rows = tuple(
        (
            label(row),
            *(
                with_interval(statistics.median(run.values(m, row.runtime, state=IDLE)), "bytes")
                for m in (GUEST, OVERHEAD)
            ),
        )
        for row in summary.rows
        if len(run.values(GUEST, row.runtime, state=IDLE))
    )
    names = ("Runtime", "Guest RAM in use (95 %)", "VMM overhead (95 %)")
    return Table("Memory of one machine, medians", names, rows)


def cpu(run: RunData, summary: Summary) -> Table:
    """CPU seconds of a launch, and how busy the host says that it was meanwhile."""
    rows = tuple(
        (
            label(r),
            quantity(r.cpu.value, "s"),
            _interval(r.cpu, "s"),
            str(r.cpu.n),
            *_checked(cpucheck.check(run, r.runtime)),
        )
        for r in summary.rows
        if r.cpu
    )
    headings = ("Runtime", "Median", "95 % interval", "Trials", "Host busy meanwhile",
                "Less idle", "Check")  # fmt: skip
    return Table("CPU time of one launch", headings, rows)


def _checked(found: CpuCheck | None) -> tuple[str, str, str]:
    if found is None:
        return MISSING, MISSING, say("not checked")
    return quantity(found.host.value, "s"), quantity(found.own.value, "s"), found.verdict


def channel(run: RunData, summary: Summary) -> Table:
    """The channel itself, a runtime."""
    stored = run.manifest.get("channel", {})
    rows = []
    for row in summary.rows:
        trips = stored.get(row.runtime, {}).get("round_trip_ns", [])
        delays = stored.get(row.runtime, {}).get("send_to_stamp_ns", [])
        if trips:
            p99 = round_trip_p99_s(run, row.runtime)
            rows.append(
                (
                    label(row),
                    str(len(trips)),
                    _nanoseconds(trips, 0.5),
                    quantity(p99, "s"),
                    _nanoseconds(delays, 0.5),
                    _nanoseconds(delays, 0.99),
                )
            )
    return Table(
        "The channel",
        ("Runtime", "Round trips", "Median", "p99", "Send to stamp, median", "p99"),
        tuple(rows),
    )


def inflation(run: RunData, row: RuntimeRow) -> str:
    """What instrumented boots cost over plain ones, in words; empty without such boots."""
    plain, deep = boots.plain_ready(run, row.runtime), run.values("phases.ready", row.runtime)
    added = statistics.difference(deep, plain)
    if added is None:
        return ""
    interval = say(" (95 %: {span})", span=span(added.interval, "s")) if added.interval else ""
    told = later("{runtime}: instrumented boots were ready {time} later than plain ones{interval}.")
    if added.value < 0:
        told = later(
            "{runtime}: instrumented boots were ready {time} earlier than plain ones{interval}."
        )
    time = quantity(abs(added.value), "s")
    return say(told, runtime=label(row), time=time, interval=interval)


def _ledger_cell(run: RunData, metric: str, runtime: str) -> str:
    return with_number(statistics.median(run.values(metric, runtime, state=IDLE)), "bytes")


def with_number(estimate: Estimate | None, unit: str) -> str:
    """A value with its interval, or where there is none with the number of its trials."""
    if estimate is None or estimate.interval is not None:
        return with_interval(estimate, unit)
    value, trials = quantity(estimate.value, unit), plural(estimate.n, "trial")
    return say("{value} ({trials} only)", value=value, trials=trials)


def how_often(new: pd.Series[float], base: pd.Series[float]) -> str:
    """How many times as much one is as the other, paired by block, with the interval."""
    found = statistics.ratio(new, base) if len(new) and len(base) else None
    if found is None:
        return MISSING
    value = say("{ratio} times", ratio=times(found.value))
    if found.interval is None:
        return value
    return say("{value} ({span})", value=value, span=span(found.interval, "1"))


def _phase_cells(timeline: Timeline, used: Sequence[str]) -> list[str]:
    seconds = {phase.mark: phase.seconds for phase in timeline.phases}
    return [quantity(seconds.get(mark), "s") for mark in used]


def _success(rate: Interval | None) -> str:
    if rate is None:
        return ""
    return say("{low} to {high}", low=percent(rate.low), high=percent(rate.high))


def _median(run: RunData, metric: str, runtime: str, unit: str, **dimensions: str) -> str:
    values = run.values(metric, runtime, **dimensions)
    return quantity(float(values.median()), unit) if len(values) else MISSING


def _interval(estimate: Estimate | None, unit: str) -> str:
    if estimate is None:
        return MISSING
    return span_or_why(estimate, unit)


def _reach(run: RunData, runtime: str) -> str:
    values = run.values("startup.ready", runtime)
    if len(values) == 0:
        return MISSING
    low, high = (quantity(float(v), "s") for v in (values.min(), values.max()))
    return say("{low} to {high}", low=low, high=high)


def _nanoseconds(values: Sequence[int], q: float) -> str:
    found = statistics.upper_percentile([float(v) for v in values], q)
    return MISSING if found is None else quantity(found / 1e9, "s")
