"""How many fit: the ramps of the run, what one more instance cost, and where each ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.analysis import density, statistics
from harness.analysis.density import Density, curves, densities
from harness.analysis.frames import RunData
from harness.analysis.language import listed, say, sentences
from harness.analysis.sentences import Sentence
from harness.analysis.statistics import Estimate
from harness.analysis.summary import RuntimeRow, Summary
from harness.analysis.units import MISSING, beside, plural, quantity, span, with_interval
from harness.report.charts import Chart, render, subject
from harness.report.dots import DotPlot, DotRow, draw_dots
from harness.report.ramps import Panel, Ramps, Trace, draw_ramps
from harness.report.section import Exhibit, Section
from harness.report.tables import Table, label

Ramped = Sequence[tuple[RuntimeRow, Density]]


def make(run: RunData, summary: Summary) -> Section | None:
    """None unless some ramp came to an end."""
    rows = {row.runtime: row for row in summary.rows}
    found = [(rows[each.runtime], each) for each in densities(run) if each.runtime in rows]
    if not found:
        return None
    exhibits = (
        Exhibit("density", chart=_slopes(run, found), table=_ends(found), folded=False),
        Exhibit(
            "density_memory", "Memory, instance by instance", _memory(run, found), _ledger(found)
        ),
        Exhibit("density_ready", "Does a start get slower?", _ready(run, found)),
        Exhibit("density_latency", "Do those that run answer more slowly?", _latency(run, found)),
    )
    return Section(
        name="density",
        title="How many fit, and what does one more cost?",
        link="Density",
        exhibits=tuple(e for e in exhibits if e.chart or e.table),
        answers=tuple(_answers(run, found)),
    )


def _slopes(run: RunData, found: Ramped) -> Chart | None:
    rows = tuple(
        DotRow(subject(row), tuple(run.values(density.SLOPE, row.runtime)), (),
               each.estimates["slope"])
        for row, each in found
    )  # fmt: skip
    if not any(row.values for row in rows):
        return None
    told = ", ".join(f"{r.subject.name} {with_interval(r.estimate, 'bytes')}" for r in rows)
    plot = DotPlot(rows, "bytes", say("memory of one more instance, logarithmic scale"))
    return render(
        "density",
        say("What one more instance costs in memory, one point a ramp. {told}.", told=told),
        lambda layout: draw_dots(plot, layout), plot.numbers,
    )  # fmt: skip


def _ends(found: Ramped) -> Table:
    rows = tuple(
        (
            label(row),
            _range([stop.instances for stop in each.stops]),
            each.furthest.text,
            with_interval(each.estimates["slope"], "bytes"),
            _value(each.estimates["rate"], "1/s"),
            _value(each.estimates["teardown"], "s"),
            say("{some} of {all}", some=len(each.stops), all=each.tried),
        )
        for row, each in found
    )
    headings = ("Runtime", "Instances at the stop", "Why the furthest stopped", "One more costs",
                "Launches a second", "All gone in", "Ramps that succeeded")  # fmt: skip
    return Table("Where the ramps ended (medians over ramps)", headings, rows)


def _ledger(found: Ramped) -> Table:
    names = ("slope", "slope_host", "harness", "remainder")
    rows = tuple(
        (label(row), *(with_interval(each.estimates[name], "bytes") for name in names))
        for row, each in found
    )
    headings = ("Runtime", "Charged", "Host’s fall", "The harness itself", "Remainder")
    return Table("The ledger of one more instance (medians over ramps)", headings, rows)


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else say("{low} to {high}", low=low, high=high)


def _value(estimate: Estimate | None, unit: str) -> str:
    return quantity(estimate.value, unit).replace(" 1/s", "") if estimate else MISSING


def _memory(run: RunData, found: Ramped) -> Chart | None:
    panels = []
    for row, each in found:
        charged = _traces(curves(run, "density.charged", row.runtime))
        host = _traces(
            curves(run, "density.host_delta", row.runtime, having="density.slope_host"), solid=False
        )
        slope = each.estimates["slope"]
        note = say("{value} each", value=quantity(slope.value, "bytes")) if slope else ""
        if slope is not None and slope.interval is not None:
            note += f" ({span(slope.interval, 'bytes')})"
        room = each.available_bytes - each.reserve_bytes
        reserve = quantity(each.reserve_bytes, "bytes")
        line = (room, say("reserve of {amount}", amount=reserve)) if room > 0 else None
        begins = say("reserve begins at {amount}", amount=quantity(room, "bytes"))
        aside = begins if room > 0 else ""
        if charged or host:
            panels.append(Panel(subject(row), note, (*charged, *host), aside, line))
    if not panels:
        return None
    beside = "host’s fall" if any(not t.solid for p in panels for t in p.traces) else ""
    ramps = Ramps(tuple(panels), "bytes", "charged to all instances", beside)
    told = "; ".join(f"{panel.subject.name} {panel.note}" for panel in panels)
    return render(
        "density-memory",
        say("Memory over the number of instances, a curve a ramp. {told}.", told=told),
        lambda layout: draw_ramps(ramps, layout), ramps.numbers,
    )  # fmt: skip


def _ready(run: RunData, found: Ramped) -> Chart | None:
    panels = []
    for row, _ in found:
        ramps = curves(run, "density.ready", row.runtime)
        if ramps:
            middle = statistics.median(run.values("density.ready", row.runtime))
            note = f"{say('Median')} {quantity(middle.value, 's')}" if middle else ""
            traces = tuple(Trace(points, dots=True) for points in ramps)
            panels.append(Panel(subject(row), note, traces))
    if not panels:
        return None
    drawn = Ramps(tuple(panels), "s", "from request to READY, a point an instance", log=True)
    told = "; ".join(f"{panel.subject.name} {panel.note}" for panel in panels)
    return render(
        "density-ready",
        say("Time to READY of each instance of the ramps. {told}.", told=told),
        lambda layout: draw_ramps(drawn, layout), drawn.numbers,
    )  # fmt: skip


def _latency(run: RunData, found: Ramped) -> Chart | None:
    panels, upper = [], "0.9"
    quantiles = {row.runtime: {q: curves(run, "density.latency", row.runtime, quantile=q)
                               for q in ("0.5", "0.9", "0.99")} for row, _ in found}  # fmt: skip
    if all(each["0.99"] for each in quantiles.values()):
        upper = "0.99"
    for row, _ in found:
        own = quantiles[row.runtime]
        traces = (*_traces(own["0.5"]), *_traces(own[upper], solid=False))
        if traces:
            n, last = max(points[-1] for points in own["0.5"])  # of the ramp that went furthest
            note = say("{value} at {n}", value=quantity(last, "s"), n=n)
            panels.append(Panel(subject(row), note, traces))
    if not panels:
        return None
    name = "one in a hundred is slower" if upper == "0.99" else "one in ten is slower"
    drawn = Ramps(tuple(panels), "s", "median latency", name, log=True)
    told = "; ".join(f"{panel.subject.name}: {panel.note}" for panel in panels)
    return render(
        "density-latency",
        say("Median open-loop latency over the number of instances. {told}.", told=told),
        lambda layout: draw_ramps(drawn, layout), drawn.numbers,
    )  # fmt: skip


def _traces(found: Sequence[density.Curve], solid: bool = True) -> tuple[Trace, ...]:
    return tuple(Trace(points, solid) for points in found if points)


def _answers(run: RunData, found: Ramped) -> Iterator[Sentence]:
    """What was held, and what one more costs; emulated machines are left to the table.

    The intervals hold all at once.
    """
    plain = [(row, each) for row, each in found if not row.emulated]
    if not plain:
        return
    held = [f"{each.furthest.instances} {row.runtime}" for row, each in plain]
    ends = [f"{row.runtime}: {each.furthest.text}" for row, each in plain]
    detail = [say("Why the ramps ended: {ends}.", ends=say("; ").join(ends))]
    sure = statistics.simultaneous(len(plain))
    slopes = [(r.runtime, run.values(density.SLOPE, r.runtime)) for r, _ in plain]
    known = [(name, e) for name, values in slopes if (e := statistics.median(values, sure))]
    if known:
        costs = [f"{name} {quantity(e.value, 'bytes')} ({_told(e)})" for name, e in known]
        touched = quantity(plain[0][1].touched_bytes, "bytes")
        detail.append(
            say(
                "One more instance costs, its touched set of {touched} included: {costs}.",
                touched=touched,
                costs=listed(costs),
            )
        )
        if len(known) > 1 and any(e.interval for _, e in known):
            detail.append(say("The intervals hold together with 95 %."))
    head = say("This host held {held} instances at once.", held=listed(held))
    yield Sentence("density", head, sentences(detail))


def _told(estimate: Estimate) -> str:
    if estimate.interval is None:
        return say("{ramps}: too few for an interval", ramps=plural(estimate.n, "ramp"))
    return f"{beside(estimate, 'bytes')}"
