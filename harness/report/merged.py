"""Many hosts beside each other: a page, a terminal, and a document for scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from harness.analysis import embedded, statistics
from harness.analysis.export import write_whole
from harness.analysis.language import clauses, listed, say, strung
from harness.analysis.merging import Host, Merged, Owner, Row, Spread
from harness.analysis.sentences import Sentence
from harness.analysis.statistics import Estimate
from harness.analysis.units import MISSING, quantity, span, times
from harness.report import html
from harness.report.charts import Chart, render
from harness.report.comparison import visible
from harness.report.dots import DotPlot, DotRow, draw_dots
from harness.report.numbers import Cell, Numbers, ends
from harness.report.ratios import Group as RatioGroup
from harness.report.ratios import Line, Panel, draw_ratios, ratios_numbers
from harness.report.section import Exhibit
from harness.report.sheet import Layout
from harness.report.style import Subject
from harness.report.tables import Table

_SHOWN = 5
"""Series that are not compared, of which a reader is told one by one."""


@dataclass(frozen=True)
class Page:
    """All that the page of a merge shows."""

    scenario: str
    title: str
    counted: str
    sentences: tuple[Sentence, ...]
    notes: tuple[str, ...]
    values: Table
    ratios: Table
    exhibits: tuple[Exhibit, ...]
    hosts: Table
    differing: Table
    left_out: Table
    data: str


def write(found: Merged, out: Path) -> None:
    """Write the page, one file that needs nothing else; HarnessError when it cannot be."""
    write_whole(out, html.page("merged", page=_page(found)).encode())


def _page(found: Merged) -> Page:
    return Page(
        found.scenario, found.title, counted(found), told(found), notes(found),
        _values_table(found), _ratios_table(found), tuple(_exhibits(found)), _hosts_table(found),
        _differing(found), _left_out(found),
        embedded.text_address("text/csv", numbers(found).csv()),
    )  # fmt: skip


def counted(found: Merged) -> str:
    """How many hosts, of how many classes of machine."""
    classes = len({host.machine for host in found.hosts})
    return say("hosts: {n}; kinds of machine: {classes}", n=len(found.hosts), classes=classes)


def told(found: Merged) -> tuple[Sentence, ...]:
    """A sentence a metric: whose the ratios are, how the hosts agree, and whose the values are."""
    fewest = statistics.blocks_needed()
    if len(found.hosts) < fewest:
        few = say(
            "{n} of the {needed} hosts that a spread needs", n=len(found.hosts), needed=fewest
        )
        return (Sentence("spread", say("Whose a number is, is not decided: {why}.", why=few), "",
                         decided=False),)  # fmt: skip
    made = []
    for metric in dict.fromkeys(row.metric for row in found.rows):
        rows = [row for row in found.rows if row.metric == metric and not row.emulated]
        judged = [row for row in rows if row.ratio_spread is not None]
        parts = [
            say("{whose} in {boxes}", whose=_whose(owner), boxes=listed(names))
            for owner in Owner
            if (names := [name(r) for r in judged if r.ratio_spread and
                          r.ratio_spread.owner is owner])
        ]  # fmt: skip
        if not parts:
            continue
        headline = say(
            "{metric}: how many times that of {base} it is, is {parts}.",
            metric=metric, base=found.baseline, parts=clauses(parts),
        )  # fmt: skip
        decided = any(r.ratio_spread and r.ratio_spread.owner is not Owner.UNDECIDED
                      for r in judged)  # fmt: skip
        agreed = say("; ").join(f"{name(r)}: {agreement(r)}" for r in judged)
        alone = say("; ").join(f"{name(r)}: {within(r.value_spread)}" for r in rows)
        detail = say(
            "Single hosts: {agreed}. The values themselves: {alone}.", agreed=agreed, alone=alone
        )
        made.append(Sentence("spread", headline, detail, decided))
    return tuple(made)


def notes(found: Merged) -> tuple[str, ...]:
    """What a reader must know before the numbers."""
    made = [say("Not compared: {text}", text=text) for text in found.refused[:_SHOWN]]
    if len(found.refused) > _SHOWN:
        made.append(say("… and {n} more series", n=len(found.refused) - _SHOWN))
    return tuple(made)


def _whose(owner: Owner) -> str:
    if owner is Owner.UNDECIDED:
        return say("not decided")
    return say("a property of {owner}", owner=say(owner))


def name(row: Row) -> str:
    """A runtime, and what tells its rows apart; never alone where it was emulated."""
    return _named(row).label


def agreement(row: Row) -> str:
    """`worse on 30 of 30 (at least 88 %)`."""
    verdict, count, share = row.agreeing
    least = say(" (at least {share} %)", share=round(100 * share.low)) if share else ""
    return say(
        "{verdict} on {count} of {hosts}{least}",
        verdict=say(verdict.replace("_", " ")), count=count, hosts=len(row.ratios), least=least,
    )  # fmt: skip


def within(spread: Spread) -> str:
    """`within 1.8 times (1.5 – 2.2)`, or why that is not known."""
    if spread.factor is None:
        return spread.why
    told = f" ({span(spread.interval, '1')})" if spread.interval else ""
    return say("within {k} times{told}", k=times(spread.factor), told=told)


def _values_table(found: Merged) -> Table:
    rows = tuple(
        (
            name(row), row.metric, str(len(row.values)), quantity(row.value.value, row.unit),
            _range([value.median for value in row.values], row.unit),
            within(row.value_spread), say(row.value_spread.owner),
        )
        for row in found.rows
    )  # fmt: skip
    return Table(
        "The value",
        ("Runtime", "Metric", "Hosts", "Median host", "Smallest to largest", "95 % of hosts",
         "Property of"),
        rows,
    )  # fmt: skip


def _ratios_table(found: Merged) -> Table:
    rows = tuple(
        (
            name(row), row.metric, times(row.ratio.value), span(row.ratio.interval, "1"),
            within(row.ratio_spread), say(row.ratio_spread.owner), agreement(row),
        )
        for row in found.rows
        if row.ratio is not None and row.ratio_spread is not None
    )  # fmt: skip
    return Table(
        "How many times the baseline's it is",
        ("Runtime", "Metric", "Median host", "95 % interval", "95 % of hosts", "Property of",
         "Single hosts"),
        rows,
    )  # fmt: skip


def _range(estimates: Sequence[Estimate], unit: str) -> str:
    values = [each.value for each in estimates]
    return f"{quantity(min(values), unit)} – {quantity(max(values), unit)}"


def _exhibits(found: Merged) -> Iterator[Exhibit]:
    for metric in dict.fromkeys(row.metric for row in found.rows):
        rows = [row for row in found.rows if row.metric == metric]
        yield Exhibit(
            f"{metric}-values", say("{metric} on each host", metric=metric), _dots(metric, rows)
        )
        judged = [row for row in rows if row.ratios]
        if judged:
            heading = say("{metric} beside {base}, host by host", metric=metric,
                          base=found.baseline)  # fmt: skip
            yield Exhibit(f"{metric}-ratios", heading, _forest(found, metric, judged))


def _dots(metric: str, rows: Sequence[Row]) -> Chart:
    plot = DotPlot(
        tuple(
            DotRow(_named(row), tuple(v.median.value for v in row.values), (), row.value)
            for row in rows
        ),
        rows[0].unit, metric,
        reading=say("Points: hosts; stroke: their median; band: its 95 % interval."),
    )  # fmt: skip
    alt = say(
        "{metric} on each host: {parts}.", metric=metric,
        parts=clauses([f"{name(r)} {_range([v.median for v in r.values], r.unit)}" for r in rows]),
    )  # fmt: skip
    return render(f"{metric}-values", alt, lambda layout: draw_dots(plot, layout), plot.numbers)


def _forest(found: Merged, metric: str, rows: Sequence[Row]) -> Chart:
    groups = tuple(
        RatioGroup(
            name(row), row.margin,
            tuple(
                Line(Subject(value.host.name, row.runtime_class, row.accel, row.emulated),
                     value.ratio)
                for value in sorted(row.values, key=lambda v: v.ratio.value if v.ratio else 0.0)
                if value.ratio is not None
            ),
        )
        for row in rows
    )  # fmt: skip
    panels = (Panel(metric, groups),)
    alt = say(
        "{metric} of each host, as so many times that of {base}: {parts}.", metric=metric,
        base=found.baseline, parts=clauses([f"{name(r)} {_range(r.ratios, '1')}" for r in rows]),
    )  # fmt: skip
    axis = say("times {base}", base=found.baseline)

    def draw(layout: Layout) -> Any:
        return draw_ratios(panels, axis, layout, logarithmic=True)

    return render(f"{metric}-ratios", alt, draw, ratios_numbers(panels))


def _named(row: Row) -> Subject:
    label = f"{row.runtime} ({row.variant})" if row.variant else row.runtime
    return Subject(label, row.runtime_class, row.accel, row.emulated)


def _hosts_table(found: Merged) -> Table:
    rows = tuple(_host(host) for host in found.hosts)
    return Table(
        "The hosts, each with its run",
        ("Host", "Machine", "Memory", "Kernel", "Operating system", "Run"), rows, "words",
    )  # fmt: skip


def _host(host: Host) -> tuple[str, ...]:
    facts = host.facts
    memory = facts.get("memory_bytes")
    return (
        host.name, host.machine, quantity(float(memory), "bytes") if memory else MISSING,
        str(facts.get("kernel", MISSING)), str(facts.get("os", MISSING)), host.run.run,
    )  # fmt: skip


def _differing(found: Merged) -> Table:
    rows = tuple(
        (each.name, strung([f"{value}: {n}" for value, n in each.values.items()]), each.text)
        for each in found.differing
    )
    return Table("Conditions that differ between hosts, with how many hosts have each",
                 ("Condition", "Hosts", "What it does"), rows, "words")  # fmt: skip


def _left_out(found: Merged) -> Table:
    return Table("Runs that were left out", ("Run", "Why"), tuple(found.left_out.items()), "words")


def numbers(found: Merged) -> Numbers:
    """Every value of every host."""
    rows: list[tuple[Cell, ...]] = [
        (value.host.name, value.host.machine, value.host.run.run, row.metric,
         strung([f"{k}={v}" for k, v in row.dimensions.items()]), row.runtime, row.runtime_class,
         row.accel, *ends(value.median), row.unit, *ends(value.ratio), str(value.verdict),
         value.why)
        for row in found.rows for value in row.values
    ]  # fmt: skip
    headings = ("host", "machine", "run", "metric", "dimensions", "runtime", "runtime_class",
                "accel", "median", "low", "high", "unit", "ratio", "ratio_low", "ratio_high",
                "verdict", "why")  # fmt: skip
    return Numbers(headings, tuple(rows))


def terminal(found: Merged) -> RenderableType:
    """In 80 columns: a table a metric, and whose each number is."""
    shown: list[RenderableType] = [Text(f"{found.scenario}: {counted(found)}", "bold")]
    for metric in dict.fromkeys(row.metric for row in found.rows):
        table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), title_justify="left",
                          title=Text(metric, "bold"))  # fmt: skip
        for heading in ("", say("median host"), say("95 % within"), say("ratio"),
                        say("95 % within"), say("ratio is of")):  # fmt: skip
            table.add_column(heading, justify="left" if not heading else "right",
                             overflow="fold")  # fmt: skip
        for row in (each for each in found.rows if each.metric == metric):
            table.add_row(*_cells(row))
        shown.append(table)
    shown += [Text(visible(each.text)) for each in told(found)]
    shown += [Text(visible(text), "yellow") for text in notes(found)]
    shown += [
        Text(visible(say("left out: {run}: {why}", run=run, why=why)), "yellow")
        for run, why in found.left_out.items()
    ]
    return Group(*shown)


def _cells(row: Row) -> tuple[str, ...]:
    def factor(spread: Spread | None) -> str:
        return f"{times(spread.factor)} ×" if spread and spread.factor is not None else MISSING

    return (
        visible(name(row)), quantity(row.value.value, row.unit), factor(row.value_spread),
        f"{times(row.ratio.value)} ×" if row.ratio else MISSING, factor(row.ratio_spread),
        say(row.ratio_spread.owner) if row.ratio_spread else MISSING,
    )  # fmt: skip


def document(found: Merged) -> Mapping[str, Any]:
    """All of it for scripts; what is not known is null."""
    return {
        "scenario": found.scenario, "baseline": found.baseline,
        "hosts": [
            {"name": h.name, "machine": h.machine, "run": h.run.run, "facts": dict(h.facts)}
            for h in found.hosts
        ],
        "rows": [_row_document(row) for row in found.rows],
        "differing": [
            {"name": d.name, "values": dict(d.values), "text": d.text} for d in found.differing
        ],
        "refused": list(found.refused), "left_out": dict(found.left_out),
    }  # fmt: skip


def _row_document(row: Row) -> Mapping[str, Any]:
    return {
        "metric": row.metric, "dimensions": dict(row.dimensions), "unit": row.unit,
        "runtime": row.runtime, "runtime_class": row.runtime_class, "accel": row.accel,
        "emulated": row.emulated, "margin": row.margin,
        "value": _estimate(row.value), "value_spread": _spread(row.value_spread),
        "ratio": _estimate(row.ratio), "ratio_spread": _spread(row.ratio_spread),
        "hosts": [
            {
                "host": value.host.name, "median": _estimate(value.median),
                "ratio": _estimate(value.ratio), "verdict": str(value.verdict), "why": value.why,
            }
            for value in row.values
        ],
    }  # fmt: skip


def _estimate(found: Estimate | None) -> Mapping[str, Any] | None:
    if found is None:
        return None
    value, low, high = ends(found)
    return {"value": value, "low": low, "high": high, "n": found.n}


def _spread(found: Spread | None) -> Mapping[str, Any] | None:
    if found is None:
        return None
    interval = found.interval
    return {
        "hosts": found.hosts, "factor": found.factor, "low": interval.low if interval else None,
        "high": interval.high if interval else None, "owner": str(found.owner), "why": found.why,
    }  # fmt: skip
