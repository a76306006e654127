"""What a box takes when it works, what it gives back, and what boxes share."""

from __future__ import annotations

from collections.abc import Mapping

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import later, listed, say
from harness.analysis.sentences import Sentence
from harness.analysis.statistics import Estimate
from harness.analysis.summary import RuntimeRow, Summary
from harness.analysis.units import MISSING, beside, digits, quantity, span
from harness.report.bars import BarRow, Bars, draw_bars
from harness.report.charts import Chart, render, subject
from harness.report.section import Exhibit, Section
from harness.report.tables import Table, label, with_number

TAKEN, RETURNED = "memory.taken", "memory.returned"
FIRST, NEXT, ALL = "memory.cache.first", "memory.cache.next", "memory.cache.host"
STATES = (later("idle"), later("touched"), later("freed"), later("ballooned"))

_NOTHING = 0.01
"""The share of what was touched below which a chart says that nothing came back."""

Flow = tuple[str, Mapping[str, str]]
_FLOWS: Mapping[str, Flow] = {
    later("taken"): (TAKEN, {"side": "charged"}),
    later("given back when freed"): (RETURNED, {"side": "charged", "by": "free"}),
    later("when the balloon asks"): (RETURNED, {"side": "charged", "by": "balloon"}),
}


def make(run: RunData, summary: Summary) -> Section | None:
    """None where no instance touched memory, and none shared a page cache."""
    rows = [row for row in summary.rows if _has(run, row.runtime)]
    if not rows:
        return None
    exhibits = (
        Exhibit("holding", chart=_flow_chart(run, rows), table=_flow_table(run, rows)),
        Exhibit("states", "The ledger in each state", table=_state_table(run, rows)),
        Exhibit("pagecache", "What do instances share?", chart=_cache_chart(run, rows),
                table=_cache_table(run, rows)),
    )  # fmt: skip
    return Section(
        name="holding",
        title="What does a box take, and what does it give back?",
        link="Given back",
        exhibits=tuple(e for e in exhibits if e.chart or (e.table and e.table.rows)),
        answers=_answers(run, summary),
    )


def _has(run: RunData, runtime: str) -> bool:
    return any(len(run.values(metric, runtime)) for metric in (TAKEN, FIRST, ALL))


def _median(run: RunData, runtime: str, flow: Flow, confidence: float = 0.95) -> Estimate | None:
    metric, dimensions = flow
    return statistics.median(run.values(metric, runtime, **dimensions), confidence)


def _size(run: RunData, metric: str, dimension: str) -> float:
    """What instances were asked to touch or to read, as they said; 0 where they did not."""
    told = [series.dimensions.get(dimension, "") for series in run.series(metric)]
    return max((float(each) for each in told if each.isdecimal()), default=0.0)


def _flow_chart(run: RunData, rows: list[RuntimeRow]) -> Chart | None:
    touched = _size(run, TAKEN, "touched")
    found = []
    for row in rows:
        estimates = tuple(_median(run, row.runtime, flow) for flow in _FLOWS.values())
        if estimates[0] is not None:
            found.append(BarRow(subject(row), estimates, _beside(estimates[1], touched)))
    if not found:
        return None
    bars = Bars(
        tuple(found), tuple(_FLOWS), later("charged, an instance; dotted: what it wrote"), touched
    )
    told = "; ".join(
        say(
            "{name} took {taken} and gave back {returned}", name=row.subject.name,
            taken=_value(row.estimates[0]), returned=_value(row.estimates[1]),
        ) for row in found
    )  # fmt: skip
    size = quantity(touched, "bytes")
    alt = say(
        "What an instance gave back of {size} that it wrote and freed. {told}.",
        size=size,
        told=told,
    )
    return render("holding", alt, lambda layout: draw_bars(bars, layout), bars.numbers)


def _beside(estimate: Estimate | None, touched: float) -> tuple[str, str]:
    """What came back by freeing, in words where it is next to nothing."""
    if estimate is None:
        return MISSING, ""
    little = abs(estimate.value) < _NOTHING * touched
    text = say("nothing back") if little else say("{value} back", value=_value(estimate))
    return text, beside(estimate, "bytes")


def _value(estimate: Estimate | None) -> str:
    return MISSING if estimate is None else quantity(estimate.value, "bytes")


def _flow_table(run: RunData, rows: list[RuntimeRow]) -> Table:
    flows: list[Flow] = [
        (metric, {**dimensions, "side": side})
        for metric, dimensions in _FLOWS.values()
        for side in ("charged", "host")
    ]
    cells = tuple(
        (label(row), *(with_number(_median(run, row.runtime, flow), "bytes") for flow in flows))
        for row in rows
        if len(run.values(TAKEN, row.runtime))
    )
    names = ("Taken, charged (95 %)", "Taken, host", "Back when freed, charged", "Host",
             "Back by the balloon, charged", "Host")  # fmt: skip
    touched = quantity(_size(run, TAKEN, "touched"), "bytes")
    caption = say("Of {size} that an instance wrote, medians", size=touched)
    return Table(caption, ("Runtime", *names), cells)


def _state_table(run: RunData, rows: list[RuntimeRow]) -> Table:
    metrics = ("charged", "host_delta", "remainder", "guest_ram", "vmm_overhead")
    cells = []
    for row in rows:
        for state in STATES:
            found = [
                _median(run, row.runtime, (f"memory.{name}", {"state": state})) for name in metrics
            ]
            if found[0] is not None:
                told = (with_number(found[0], "bytes"), with_number(found[1], "bytes"),
                        *map(_value, found[2:]))  # fmt: skip
                cells.append((f"{label(row)}, {say(state)}", *told))
    names = ("Charged (95 %)", "Host's fall (95 %)", "Remainder", "Guest RAM", "VMM overhead")
    return Table("What one instance holds, medians", ("Runtime, state", *names), tuple(cells))


def _cache_chart(run: RunData, rows: list[RuntimeRow]) -> Chart | None:
    found = []
    for row in rows:
        first, further = (_median(run, row.runtime, (m, {})) for m in (FIRST, NEXT))
        if first is not None:
            value = say("{value} more", value=_value(further))
            note = beside(further, "bytes") if further else ""
            found.append(BarRow(subject(row), (first, further), (value, note)))
    if not found:
        return None
    read = _size(run, FIRST, "read")
    series = (later("the first reader"), later("each further one"))
    bars = Bars(tuple(found), series, later("charged, an instance; dotted: what it read"), read)
    told = "; ".join(
        f"{row.subject.name}: {_value(row.estimates[0])}, {_value(row.estimates[1])}"
        for row in found
    )
    alt = say(
        "Charged to the first instance that reads {size} of files, and to each further one. "
        "{told}.", size=quantity(read, "bytes"), told=told,
    )  # fmt: skip
    return render("pagecache", alt, lambda layout: draw_bars(bars, layout), bars.numbers)


def _cache_table(run: RunData, rows: list[RuntimeRow]) -> Table:
    cells = tuple(
        (
            label(row),
            *(with_number(_median(run, row.runtime, (m, {})), "bytes") for m in (FIRST, NEXT)),
            with_number(_median(run, row.runtime, (ALL, {})), "bytes"),
            _size_text(run, row.runtime, "n"),
            _copies(run, row.runtime),
        )
        for row in rows
        if any(len(run.values(metric, row.runtime)) for metric in (FIRST, ALL))
    )
    read = quantity(max(_size(run, FIRST, "read"), _size(run, ALL, "read")), "bytes")
    names = ("First reader (95 %)", "Each further one (95 %)", "Host, all together", "Instances",
             "Copies on the host")  # fmt: skip
    caption = say("Charged for reading the same {size}, medians", size=read)
    return Table(caption, ("Runtime", *names), cells)


def _size_text(run: RunData, runtime: str, dimension: str) -> str:
    own = [each for each in run.series(FIRST, NEXT, ALL) if each.runtime == runtime]
    return next((s.dimensions[dimension] for s in own if dimension in s.dimensions), MISSING)


def _copies(run: RunData, runtime: str) -> str:
    """How often the host holds the same bytes, by its own count."""
    host = _median(run, runtime, (ALL, {}))
    read = _size(run, ALL, "read")
    return MISSING if host is None or not read else digits(host.value / read, 2)


def _answers(run: RunData, summary: Summary) -> tuple[Sentence, ...]:
    """What comes back, of boxes on the host's kernel and of machines on hardware alone."""
    decided = [cost.runtime for cost in summary.memory if cost.decided]
    sure = statistics.simultaneous(len(decided))
    flow = _FLOWS["given back when freed"]
    found = {name: _median(run, name, flow, sure) for name in decided}
    known = {name: e for name, e in found.items() if e is not None and e.interval is not None}
    if not known:
        return ()
    touched = quantity(_size(run, TAKEN, "touched"), "bytes")
    told = [
        say("{value} in {name}", value=quantity(e.value, "bytes"), name=name)
        for name, e in known.items()
    ]
    ranges = [f"{name} {span(e.interval, 'bytes')}" for name, e in known.items()]
    return (
        Sentence(
            "returned",
            say(
                "Of {size} that an instance wrote and freed, there came back {told}.",
                size=touched,
                told=listed(told),
            ),
            say("Intervals: {ranges} (95 %, all at once).", ranges=listed(ranges)),
        ),
    )
