"""What a box costs at the disk: rates and latencies by backend, and whether it was the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import later, listed, say, sentences
from harness.analysis.relative import Relative, beside_bare, condition
from harness.analysis.sentences import Sentence
from harness.analysis.statistics import Floats
from harness.analysis.summary import BARE, Summary
from harness.analysis.units import MISSING, digits, quantity, span, times
from harness.analysis.verdicts import Verdict
from harness.report.charts import Chart, render, subject
from harness.report.lanes import lanes_chart
from harness.report.levels import Lane, LevelPlot, LevelRow
from harness.report.ratios import Group, Line, Panel, draw_ratios, ratios_numbers
from harness.report.section import Exhibit, Section
from harness.report.sections.verdicts import verdict, within
from harness.report.style import Subject
from harness.report.tables import Table, label

READS, WRITES, FSYNC = "io.randread", "io.randwrite", "io.fsync"
RATES: Mapping[str, str] = {
    f"{READS}.iops": later("random reads, 4 KiB"),
    f"{WRITES}.iops": later("random writes, 4 KiB"),
    "io.seqread.bandwidth": later("sequential reads, 1 MiB"),
    "io.seqwrite.bandwidth": later("sequential writes, 1 MiB"),
}
SYNC = f"{FSYNC}.latency"
LEVELS: Mapping[str, str] = {
    "0.5": later("median"), "0.9": "p90", "0.99": "p99", "0.999": "p99.9",
}  # fmt: skip
MUCH_MORE = 1.5
"""From here on the device's bytes are said to be more than the box's doing."""

CACHED = later("the host's page cache lay in between")

_TIMED: Mapping[str, tuple[str, str]] = {
    READS: (
        later("time of a read of 4 KiB, logarithmic scale"),
        later("Latency of a read by runtime"),
    ),
    WRITES: (
        later("time of a write of 4 KiB, logarithmic scale"),
        later("Latency of a write by runtime"),
    ),
    FSYNC: (
        later("time of an fsync, logarithmic scale"),
        later("Latency of an fsync by runtime"),
    ),
}


Shares = Mapping[tuple[str, str], Floats]
Told = Mapping[str, Shares]


def make(run: RunData, summary: Summary) -> Section | None:
    """None where no trial of `io` succeeded."""
    found = [
        replace(r, judgement=None) if _cached(run, r.row.runtime) else r
        for r in beside_bare(run, summary, [*RATES, SYNC])
        if r.metric != SYNC or r.dimensions.get("quantile") == "0.5"
    ]
    if not found:
        return None
    told = shares(run, summary)
    exhibits = (
        Exhibit("disk_rates", "How many reads a second?", _rates(run, summary)),
        Exhibit("disk_reads", "How long does a read take?", _latency(run, summary, READS)),
        Exhibit("disk_writes", "And a write?", _latency(run, summary, WRITES)),
        Exhibit("disk_fsync", "How long until data is safe?", _latency(run, summary, FSYNC)),
        Exhibit("disk_relative", "Beside bare metal", _ratios(found), _table(run, found)),
        Exhibit("disk_audit", "Was it the disk?", table=audit(run, summary, told), folded=False),
    )
    return Section(
        name="disk",
        title="What does a box cost at the disk?",
        link="Disk",
        exhibits=tuple(e for e in exhibits if e.chart or (e.table and e.table.rows)),
        notes=notes(run, summary, told),
        answers=answers(run, summary),
    )


def _rates(run: RunData, summary: Summary) -> Chart | None:
    metric, rows = f"{READS}.iops", []
    for row in summary.rows:
        lanes = []
        for depth in _depths(run, metric, row.runtime):
            values = run.values(metric, row.runtime, depth=depth)
            if estimate := statistics.median(values):
                label = say("depth {depth}", depth=depth)
                lanes.append(Lane(label, {"median": estimate}, tuple(values.tolist())))
        rows += [LevelRow(subject(row), tuple(lanes))] if lanes else []
    plot = LevelPlot(tuple(rows), ("median",), "1/s", "reads of 4 KiB a second, logarithmic scale")
    return lanes_chart("disk-rates", say("Random reads a second by runtime"), plot)


def _latency(run: RunData, summary: Summary, job: str) -> Chart | None:
    metric, rows = f"{job}.latency", []
    for row in summary.rows:
        lanes = []
        for depth in _depths(run, metric, row.runtime):
            levels = {
                name: estimate
                for quantile, name in LEVELS.items()
                if (estimate := statistics.median(
                    run.values(metric, row.runtime, depth=depth, quantile=quantile)
                ))
            }  # fmt: skip
            if "median" in levels:
                values = run.values(metric, row.runtime, depth=depth, quantile="0.5").tolist()
                lanes.append(Lane(say("depth {depth}", depth=depth), levels, tuple(values)))
        rows += [LevelRow(subject(row), tuple(lanes))] if lanes else []
    what = _TIMED[job]
    plot = LevelPlot(tuple(rows), tuple(LEVELS.values()), "s", what[0])
    return lanes_chart(job.replace("io.", "disk-"), say(what[1]), plot)


def _depths(run: RunData, metric: str, runtime: str) -> Sequence[str]:
    own = [each for each in run.series(metric) if each.runtime == runtime]
    return sorted({each.dimensions["depth"] for each in own}, key=int)


def _ratios(found: Sequence[Relative]) -> Chart | None:
    shown = [r for r in found if r.ratio and r.metric in RATES and not r.row.emulated]
    groups = []
    for metric, words in RATES.items():
        own = [r for r in shown if r.metric == metric]
        for depth in sorted({r.dimensions["depth"] for r in own}, key=int):
            lines = tuple(
                Line(_short(subject(r.row)), r.ratio, r.blocks)
                for r in own
                if r.ratio and r.dimensions["depth"] == depth
            )
            heading = say("{requests}, depth {depth}", requests=say(words), depth=depth)
            groups.append(Group(heading, own[0].margin, lines))
    if not groups:
        return None
    told = "; ".join(
        f"{r.row.runtime}, {say(RATES[r.metric])}, "
        + say("depth {depth}", depth=r.dimensions["depth"])
        + f": {times(r.ratio.value)}"
        for r in shown
        if r.ratio
    )
    panel = Panel("", tuple(groups))
    return render(
        "disk-relative", say("Rates relative to bare metal. {told}.", told=told),
        lambda layout: draw_ratios([panel], "rate relative to bare metal", layout),
        ratios_numbers([panel]),
    )  # fmt: skip


def _short(named: Subject) -> Subject:
    """`runc volume` for `runc,storage=volume`: there is little room beside a small line."""
    return replace(named, name=named.name.replace(",storage=", " "))


def _table(run: RunData, found: Sequence[Relative]) -> Table:
    rows = tuple(
        (
            say(RATES.get(r.metric, later("fsync, median"))),
            r.dimensions["depth"],
            label(r.row),
            _amount(r),
            span(r.value.interval, r.unit) if r.unit == "s" and r.value.interval else _range(r),
            times(r.ratio.value) if r.ratio else MISSING,
            span(r.ratio.interval, "1") if r.ratio else MISSING,
            say("the measure") if r.row.runtime == BARE else _verdict(run, r),
        )
        for r in found
    )
    headings = ("Requests", "Depth", "Runtime", "Median", "95 %", "Of bare metal", "95 %",
                "Verdict")  # fmt: skip
    return Table("Every rate and fsync, absolute and relative to bare metal", headings, rows)


def _amount(found: Relative) -> str:
    if found.unit == "s":
        return quantity(found.value.value, "s")
    if found.metric.endswith("bandwidth"):
        return f"{quantity(found.value.value, 'bytes')}/s"
    return f"{digits(found.value.value)}/s"


def _range(found: Relative) -> str:
    if found.value.interval is None:
        return say("none: {why}", why=found.value.absent)
    if found.metric.endswith("bandwidth"):
        return f"{span(found.value.interval, 'bytes')}/s"
    return span(found.value.interval, "1/s")


def _verdict(run: RunData, found: Relative) -> str:
    if _cached(run, found.row.runtime):
        return say("none: {why}", why=say(CACHED))
    return verdict(found)


def _cached(run: RunData, runtime: str) -> bool:
    return condition(run, runtime, "host_cached") == "True"


def audit(run: RunData, summary: Summary, told: Told) -> Table:
    """Where each runtime's files lay, and other counters' bytes beside fio's own."""
    rows = []
    for row in summary.rows:
        name = row.runtime
        own = told[name]
        if not own:
            continue
        cache = [condition(run, name, key) for key in ("cache", "aio")]
        flushed = _flush_ratio(run, name)
        rows.append(
            (
                label(row),
                condition(run, name, "storage"),
                condition(run, name, "filesystem"),
                condition(run, name, "host_filesystem") or MISSING,
                condition(run, name, "device") or say("not known"),
                ", ".join(word for word in cache if word) or MISSING,
                *(_extent(own, who, kind) for who in ("box", "device") for kind in _KINDS),
                MISSING if flushed is None else f"{flushed:.2f}",
            )
        )
    headings = ("Runtime", "Backend", "In the box", "On the host", "Device", "Cache, AIO",
                "Box, reads", "Box, writes", "Device, reads", "Device, writes",
                "Flushes an fsync")  # fmt: skip
    return Table("Bytes by other counters, over fio’s own: least to most of all jobs", headings,
                 tuple(rows))  # fmt: skip


_KINDS: Mapping[str, tuple[str, ...]] = {
    "reads": ("randread", "seqread"),
    "writes": ("randwrite", "seqwrite"),
}


def shares(run: RunData, summary: Summary) -> Told:
    """Other counters' bytes over fio's, by runtime, then by counter and job."""
    return {row.runtime: _shares(run, row.runtime) for row in summary.rows}


def _shares(run: RunData, runtime: str) -> Shares:
    found: dict[tuple[str, str], list[Floats]] = {}
    for each in run.series("io.bytes"):
        if each.runtime != runtime:
            continue
        own = run.by_trial(each)
        for who in ("box", "device"):
            seen = run.by_trial(replace(each, metric=f"io.{who}_bytes")).reindex(own.index)
            over = np.asarray((seen / own)[own != 0].dropna(), dtype=np.float64)
            if len(over):
                found.setdefault((who, each.dimensions["job"]), []).append(over)
    return {key: np.concatenate(every) for key, every in found.items()}


def _extent(shares: Shares, who: str, kind: str) -> str:
    found = [shares[who, job] for job in _KINDS[kind] if (who, job) in shares]
    if not found:
        return MISSING
    low, high = f"{min(each.min() for each in found):.2f}", f"{max(map(np.max, found)):.2f}"
    return low if low == high else say("{low} to {high}", low=low, high=high)


def _flush_ratio(run: RunData, runtime: str) -> float | None:
    """Flushes of the device over fsyncs, all trials together."""
    flushes = run.values(f"{FSYNC}.flushes", runtime)
    calls = run.values(f"{FSYNC}.calls", runtime)
    return float(flushes.sum() / calls.sum()) if len(flushes) and calls.sum() else None


def notes(run: RunData, summary: Summary, told: Told) -> tuple[str, ...]:
    """What of the audit the reader must know before the figures."""
    names = [name for name, own in told.items() if own]
    notes = []
    unknown = [name for name in names if not condition(run, name, "device")]
    if unknown:
        notes.append(
            say(
                "No block device is known below {names}: only what the box itself asked for was "
                "checked.",
                names=listed(unknown),
            )
        )
    cached = [name for name in names if _cached(run, name)]
    if cached:
        notes.append(
            say(
                "{names}: the host's page cache lay in between, as was asked for. Its figures "
                "tell of memory as much as of the disk, and are compared with nothing.",
                names=listed(cached),
            )
        )
    busy = [name for name in names if name not in cached and _most_read(told[name]) > MUCH_MORE]
    if busy:
        notes.append(
            say(
                "While {names} read, the device moved over {factor} times what fio did in at least "
                "one job, though the box asked for no more: somebody else used it too, and "
                "latencies hold their waiting.",
                names=listed(busy),
                factor=f"{MUCH_MORE:g}",
            )
        )
    unsafe = [n for n in names if (r := _flush_ratio(run, n)) is not None and r < 0.95]
    if unsafe:
        notes.append(
            say(
                "The device was flushed less often than {names} synced: either it has no cache to "
                "flush, or data was not made safe.",
                names=listed(unsafe),
            )
        )
    if run.manifest.get("host", {}).get("hypervisor"):
        notes.append(
            say(
                "This host is itself a virtual machine: what caches lie behind its device is "
                "unknown."
            )
        )
    return tuple(notes)


def _most_read(shares: Mapping[tuple[str, str], Floats]) -> float:
    """The largest share of the device's bytes over fio's in a job that reads."""
    found = [shares["device", job] for job in _KINDS["reads"] if ("device", job) in shares]
    return max((float(each.max()) for each in found), default=1.0)


def answers(run: RunData, summary: Summary) -> tuple[Sentence, ...]:
    """Whether reads one at a time are as many as without a box, all intervals at once."""
    metric = f"{READS}.iops"
    told = [
        row.runtime
        for row in summary.rows
        if row.runtime != BARE and not row.emulated and not _cached(run, row.runtime)
        and len(run.values(metric, row.runtime))
    ]  # fmt: skip
    depths = _depths(run, metric, BARE)
    if not told or not depths:
        return ()
    confidence = statistics.simultaneous(len(told))
    sure = [
        r
        for r in beside_bare(run, summary, [metric], confidence)
        if r.row.runtime in told and r.dimensions["depth"] == depths[0] and r.ratio
    ]
    equal = [r.row.runtime for r in sure if r.verdict is Verdict.EQUIVALENT]
    other = [r for r in sure if r.verdict.is_difference]
    parts = []
    if equal:
        parts.append(
            say(
                "as many in {names} as on bare metal, {within}",
                names=listed(equal), within=within(sure[0].margin),
            )
        )  # fmt: skip
    parts += [
        say("{ratio} times as many in {name}", ratio=times(r.ratio.value), name=r.row.runtime)
        for r in other
        if r.ratio
    ]
    head = say(
        "Of random reads, {depth} at a time, a second sees {parts}.",
        depth=depths[0], parts=say("; ").join(parts),
    )  # fmt: skip
    detail = [_interval(r, len(told)) for r in sure if r.ratio and r.ratio.interval]
    if not parts:
        head = say("Whether a box slows single random reads is not decided.")
        why = say("{clauses}.", clauses=sure[0].why) if sure else say("Nothing could be paired.")
        detail = detail or [why]
    return (Sentence("disk", head, sentences(detail), decided=bool(parts)),)


def _interval(found: Relative, family: int) -> str:
    told = later("{name}: {span} times bare metal (95 %, all {n} at once).")
    if found.verdict is Verdict.NO_CONCLUSION:
        told = later(
            "{name}: {span} times bare metal (95 %, all {n} at once), no conclusion: {why}."
        )
    ratio = span(found.ratio.interval, "1") if found.ratio else MISSING
    return say(told, name=found.row.runtime, span=ratio, n=family, why=found.why)
