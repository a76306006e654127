"""The cost ladder: what each mechanism of a box adds until it is ready."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis import ladder, layers
from harness.analysis.derived import READY
from harness.analysis.frames import RunData
from harness.analysis.ladder import Ladder, Step
from harness.analysis.language import later, listed, say
from harness.analysis.sentences import Sentence, around
from harness.analysis.statistics import CONFIDENCE, Estimate, simultaneous
from harness.analysis.summary import Summary
from harness.analysis.units import MISSING, quantity, span, span_or_why
from harness.report.charts import Chart, render, subject
from harness.report.section import Exhibit, Section
from harness.report.sections import ladder_machines
from harness.report.style import QUIET
from harness.report.tables import Table
from harness.report.waterfall import (
    Cost,
    Fall,
    costs_numbers,
    draw_costs,
    draw_waterfall,
    falls_numbers,
    signed,
)

_MOST = 3
_AXIS = later("from request to READY, medians")
_COSTS_AXIS = later("what a rung adds to READY, logarithmic to both sides of zero")


def make(run: RunData, summary: Summary) -> Section | None:
    """None where the run climbed no ladder."""
    if not (run.tally["experiment"] == "ladder").any():
        return None
    found = ladder.read(run)
    machines = ladder_machines.exhibit(run, summary)
    exhibits = [*(_rungs(found, summary) if found else ()), *([machines] if machines else ())]
    shown = tuple(e for e in exhibits if e.chart or e.table)
    if not shown:
        return None
    return Section(
        name="ladder", title="What does each mechanism add?", link="The cost ladder",
        exhibits=shown, answers=_answers(run, summary, found),
    )  # fmt: skip


def _rungs(found: Ladder, summary: Summary) -> Sequence[Exhibit]:
    colours = {row.runtime: subject(row).colour for row in summary.rows}
    lower, upper = _halves(found)
    mechanisms = _waterfall("ladder-mechanisms", lower, None, colours)
    engines = _waterfall("ladder-engines", upper, _base(found), colours)
    both, left = _costs(found, colours), remainders(found)
    return [
        Exhibit("ladder_mechanisms", chart=mechanisms),
        Exhibit("ladder_engines", "And those who put them together", chart=engines),
        Exhibit("ladder_added", "In turn, and last", chart=both, table=rungs_table(found)),
        Exhibit(
            "ladder_remainder", "What do the sums leave over?", table=left if left.rows else None
        ),
    ]


def _answers(run: RunData, summary: Summary, plain: Ladder | None) -> tuple[Sentence, ...]:
    """What the longest chain takes as far as it was measured, the most of it, and what of an
    engine is the engine.

    The intervals are simultaneous over all rungs and shares.
    """
    if plain is None or summary.blocking:
        return ()
    names = list(dict.fromkeys(step.runtime for step in plain.steps))
    family = len(plain.steps) + len(layers.read(run, names, READY, CONFIDENCE))
    confidence = simultaneous(family)
    found = ladder.read(run, confidence)
    assert found is not None
    chain = sorted((s for s in found.steps if s.main and s.ready), key=lambda step: step.depth)
    costs = [(s.name, s.added) for s in chain if s.added]
    clear = [(name, e, e.interval) for name, e in costs if e.interval and e.interval.low > 0]
    most = sorted(clear, key=lambda each: -each[1].value)[:_MOST]
    engine = _engine(run, names, confidence, family)
    if not chain or not costs:
        return engine
    first, last = chain[0].ready, chain[-1].ready
    if not most or first is None or last is None:
        absent = next((e.absent for _, e in costs if e.absent), "")
        why = say("{why}.", why=absent or say("every interval holds zero"))
        return (Sentence("ladder", say("Which mechanism adds most is not decided."), why), *engine)
    told = listed(
        [
            say("{name} ({value})", name=say(name), value=signed(estimate.value))
            for name, estimate, _ in most
        ]
    )
    ranges = listed([f"{say(name)} {span(interval, 's')}" for name, _, interval in most])
    head = say(
        "From {low} ({first}) to {high} ({last}), most is added by {told}.",
        low=say(chain[0].name), first=quantity(first.value, "s"), high=say(chain[-1].name),
        last=quantity(last.value, "s"), told=told,
    )  # fmt: skip
    detail = say("Intervals: {ranges} (95 %, {once}).", ranges=ranges, once=_together(family))
    return (Sentence("ladder", head, detail), *engine)


def _engine(
    run: RunData, names: Sequence[str], confidence: float, family: int
) -> tuple[Sentence, ...]:
    """What of an engine's start is built around its runtime, where that was measured."""
    found = around(layers.read(run, names, READY, confidence), _together(family))
    return () if found is None else (found,)


def _together(family: int) -> str:
    return say("all {n} behind these sentences at once", n=family)


def _halves(found: Ladder) -> tuple[Sequence[Step], Sequence[Step]]:
    """The rungs up to the whole set with their branches, and those that stand on it."""
    if found.whole is None:
        return found.steps, ()
    above = {found.whole}
    for step in sorted(found.steps, key=lambda each: each.depth):
        if step.over in above:
            above.add(step.name)
    above.remove(found.whole)
    lower = [step for step in found.steps if step.name not in above]
    return lower, [step for step in found.steps if step.name in above]


def _base(found: Ladder) -> Step | None:
    return found.step(found.whole) if found.whole else None


def _waterfall(
    name: str, steps: Sequence[Step], base: Step | None, colours: dict[str, str]
) -> Chart | None:
    """The steps as bars; all that lies under `base` is one bar of its own."""
    falls: list[Fall] = []
    rows: dict[str, int] = {}
    if base is not None and base.ready is not None:
        falls.append(Fall(later("all of the above"), 0.0, base.ready.value, None, QUIET))
        rows[base.name] = 0
    for step in steps:
        if step.start is None or step.ready is None:
            continue
        rows[step.name] = len(falls)
        falls.append(
            Fall(
                step.name, step.start, step.ready.value, rows.get(step.over or ""),
                colours.get(step.runtime, QUIET), branch=not step.main,
                added=step.added if step.over else step.ready,
            )
        )  # fmt: skip
    if len(falls) < 2:
        return None
    told = "; ".join(_told(step) for step in steps if step.ready)
    alt = say("A waterfall of what each rung adds until READY. {told}.", told=told)
    return render(
        name, alt, lambda layout: draw_waterfall(falls, _AXIS, layout), falls_numbers(falls)
    )


def _told(step: Step) -> str:
    if step.over is None:
        return f"{say(step.name)} {quantity(step.ready.value if step.ready else None, 's')}"
    over = later("{name} over {base} {added}") if step.main else later(
        "{name} over {base} {added}, a branch"
    )  # fmt: skip
    added = signed(step.added.value) if step.added else ""
    return say(over, name=say(step.name), base=say(step.over), added=added)


def _costs(found: Ladder, colours: dict[str, str]) -> Chart | None:
    costs = [
        Cost(step.name, colours.get(step.runtime, QUIET), step.added, step.last)
        for step in found.steps
        if step.added is not None
    ]
    if not costs:
        return None
    lasts = [f"{say(c.name)} {signed(c.last.value)}" for c in costs if c.last]
    turns = [f"{say(c.name)} {signed(c.in_turn.value)}" for c in costs]
    alt = say("What each mechanism adds, in turn and last. {told}.", told=", ".join(turns))
    if lasts:
        alt += say(" Added last: {told}.", told=", ".join(lasts))
    return render(
        "ladder-added", alt, lambda layout: draw_costs(costs, _COSTS_AXIS, layout),
        costs_numbers(costs),
    )  # fmt: skip


def rungs_table(found: Ladder) -> Table:
    """Every rung with its base, what it adds in turn and last, and its READY."""
    rows = tuple(
        (
            say(step.name),
            say(step.over) if step.over else MISSING,
            *_cells(step.added if step.over else step.ready),
            *(_cells(step.last) if found.whole else ()),
            quantity(step.ready.value, "s") if step.ready else step.absent,
            step.runtime,
        )
        for step in found.steps
    )
    last = ("Added last", "95 %") if found.whole else ()
    return Table(
        "What each rung adds to the time until READY, medians over blocks",
        ("Rung", "Over", "Added in turn", "95 %", *last, "READY", "Runtime"),
        rows,
    )


def remainders(found: Ladder) -> Table:
    """Chain by chain: the measured total, the costs that were timed apart, and what is left."""
    rows = tuple(
        (
            say(each.rung),
            quantity(each.total.value, "s"),
            quantity(each.costs, "s"),
            *_cells(each.left),
        )
        for each in found.remainders
    )
    return Table(
        "READY of a chain's last rung, less the sum of costs that were timed apart from it",
        ("Chain to", "READY", "Sum of costs", "Remainder", "95 %"),
        rows,
    )


def _cells(estimate: Estimate | None) -> tuple[str, str]:
    if estimate is None:
        return MISSING, ""
    return quantity(estimate.value, "s"), span_or_why(estimate, "s")
