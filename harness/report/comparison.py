"""How a comparison of runs looks in a terminal: worst first, grouped by metric, in 80 columns.

Below the tables stand the conditions, what was left out, and what the intervals do not hold.
The words that the other forms of a comparison need too (harness/report/ci.py) are here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from harness.analysis.compare import DEFAULT_MARGIN, Beside, Comparison
from harness.analysis.gates import Finding, Gate, Outcome
from harness.analysis.statistics import Estimate
from harness.analysis.units import MISSING, digits, plural, quantity
from harness.analysis.unlike import Unlike
from harness.analysis.verdicts import Verdict, margin_text
from harness.metrics import METRICS

WORDS: Mapping[Verdict, str] = {
    Verdict.WORSE: "worse",
    Verdict.NO_CONCLUSION: "no conclusion",
    Verdict.EQUIVALENT: "equivalent",
    Verdict.BETTER: "better",
}
"""In the order in which they are shown: worst first."""

BETWEEN_RUNS = (
    "One run a side: how much runs differ from hour to hour is not in these intervals; a second "
    "run of the base, compared with the base, shows it (docs/comparing.md)."
)

_STYLES = {Verdict.WORSE: "bold red", Verdict.BETTER: "green", Verdict.EQUIVALENT: "cyan"}
_GATE_STYLES = {Outcome.HOLDS: "bold red", Outcome.UNDECIDED: "yellow"}
_SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_P_VALUE = re.compile(r" \(p [^)]*\)$")
_PERCENT_BELOW = 2.0
_RATES = ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k"))


def visible(text: object) -> str:
    """Text of somebody's file on one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def amount(value: float | None, unit: str) -> str:
    """A value in a cell: a large rate in thousands, millions or billions a second."""
    if value is None or unit != "1/s":
        return quantity(value, unit)
    found = [(factor, prefix) for least, factor, prefix in _RATES if abs(value) >= least]
    return f"{digits(value / found[0][0])} {found[0][1]}/s" if found else quantity(value, unit)


def change(ratio: float) -> str:
    """A ratio as people say it: `+9.5 %`, and from twofold on `2.4 ×`."""
    if not 1 / _PERCENT_BELOW < ratio < _PERCENT_BELOW:
        return f"{digits(ratio)} ×"
    return f"{_signed(ratio)} %"


def change_range(ratio: Estimate | None) -> str:
    """The interval of a ratio, both ends in the same form."""
    if ratio is None or ratio.interval is None:
        return MISSING
    low, high = ratio.interval.low, ratio.interval.high
    if low > 1 / _PERCENT_BELOW and high < _PERCENT_BELOW:
        return f"{_signed(low)} to {_signed(high)} %"
    return f"{digits(low)} to {digits(high)} ×"


def _signed(ratio: float) -> str:
    text = f"{(ratio - 1) * 100:+.1f}".replace("-", "\N{MINUS SIGN}")
    return "0.0" if text[1:] == "0.0" else text


def series(c: Comparison) -> str:
    """The runtime with the dimensions of its samples."""
    told = ", ".join(f"{key}={value}" for key, value in c.dimensions.items())
    return visible(f"{c.runtime} {told}".strip())


def badness(c: Comparison) -> float:
    """How much worse new is, as a logarithm; below 0 it is better."""
    ratio = c.judgement.ratio
    if ratio is None or not ratio.value > 0:
        return 0.0
    return math.log(ratio.value) * (1 if c.better != "higher" else -1)


def by_metric(comparisons: Sequence[Comparison]) -> Mapping[str, Sequence[Comparison]]:
    """Rows by metric: worst metric first, and in it the worst row."""
    order = list(WORDS)

    def key(c: Comparison) -> tuple[int, float, str]:
        return (order.index(c.verdict), -badness(c), c.runtime)

    groups: dict[str, list[Comparison]] = {}
    for c in sorted(comparisons, key=key):
        groups.setdefault(c.metric, []).append(c)
    worst = {metric: key(rows[0]) for metric, rows in groups.items()}
    return dict(
        sorted(groups.items(), key=lambda g: (worst[g[0]][0], not g[1][0].is_headline, worst[g[0]]))
    )


def shown(comparisons: Sequence[Comparison], every: bool) -> Sequence[Comparison]:
    """Every one, or differences and what the experiments are about."""
    if every:
        return comparisons
    chosen = [c for c in comparisons if c.verdict.is_difference or c.is_headline]
    return chosen or comparisons


def counted(comparisons: Sequence[Comparison]) -> str:
    """`2 worse, 5 equivalent, 1 better`."""
    found = {verdict: sum(c.verdict is verdict for c in comparisons) for verdict in WORDS}
    return ", ".join(f"{n} {WORDS[verdict]}" for verdict, n in found.items() if n)


@dataclass
class Notes:
    """Numbered reasons, each said once."""

    texts: list[str]

    def mark(self, c: Comparison) -> str:
        """The number of a verdict's reason; empty without one."""
        why = _P_VALUE.sub("", visible(c.judgement.why))
        if not why:
            return ""
        if why not in self.texts:
            self.texts.append(why)
        return str(self.texts.index(why) + 1)


def terminal(found: Sequence[Beside], gates: Sequence[Gate], every: bool) -> Group:
    """The whole answer, for a console of at least 80 columns."""
    parts: list[RenderableType] = []
    for number, each in enumerate(found, start=1):
        name = "NEW" if len(found) == 1 else f"NEW {number}"
        parts += _beside(each, name, every)
    parts += _closing(found)
    parts += [Text(), *(_gate(gate) for gate in gates)] if gates else []
    return Group(*parts)


def _beside(each: Beside, name: str, every: bool) -> Iterator[RenderableType]:
    yield _run_line("BASE", each.base.manifest, each.base.run, len(name))
    yield _run_line(name, each.new.manifest, each.new.run, len(name))
    notes = Notes([])
    chosen = shown(each.comparisons, every)
    for metric, rows in by_metric(chosen).items():
        yield Text()
        yield _heading(metric, rows[0])
        yield Padding(_table(rows, notes), (0, 0, 0, 2))
    yield Text()
    for number, why in enumerate(notes.texts, start=1):
        yield _hanging(f"{str(number).translate(_SUPERSCRIPTS)} ", why)
    hidden = len(each.comparisons) - len(chosen)
    if hidden:
        yield Text(f"{plural(hidden, 'more comparison')} without a difference: --all shows them.")
    if each.comparisons:
        yield Text(f"{plural(len(each.comparisons), 'comparison')}: {counted(each.comparisons)}.",
                   "bold")  # fmt: skip
    yield from _conditions(each)
    for left in each.left_out:
        more = ", …" if left.count > len(left.examples) else ""
        examples = ", ".join(map(visible, left.examples))
        yield _hanging("Left out: ", f"{left.count} series, {visible(left.reason)} "
                       f"({examples}{more}).")  # fmt: skip
    for run in (each.base, each.new):
        for note in run.notes:
            yield _hanging("Left out: ", f"{visible(run.run)}: {visible(note)}")
    yield Text()


def _run_line(name: str, manifest: Mapping[str, object], run: str, width: int) -> Text:
    began = str(manifest.get("started_utc") or "")[:16].replace("T", " ")
    text = Text.assemble((f"{name:<{max(width, 4)}}  ", "bold"), visible(run))
    text.append(f"  {visible(began)} UTC" if began else "", "dim")
    return text


def _heading(metric: str, first: Comparison) -> Text:
    text = Text.assemble((visible(metric), "bold"))
    known = METRICS.get(metric)
    aim = f"{first.better} is better, " if first.better else ""
    margin = f"margin {margin_text(first.margin)}{'' if first.margin_declared else ' (default)'}"
    text.append(f"  {known.description}; " if known else "  ", "dim")
    text.append(f"{aim}{margin}", "dim")
    return text


def _table(rows: Sequence[Comparison], notes: Notes) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim", expand=True)
    table.add_column("runtime", overflow="fold", ratio=1)
    for heading in ("base", "new", "change", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True, min_width=15)
    for c in rows:
        ratio = c.judgement.ratio
        mark = notes.mark(c).translate(_SUPERSCRIPTS)
        table.add_row(
            Text(series(c)), amount(c.base, c.unit), amount(c.new, c.unit),
            change(ratio.value) if ratio else MISSING, change_range(ratio),
            Text(f"{WORDS[c.verdict]} {mark}".strip(), _STYLES.get(c.verdict, "")),
        )  # fmt: skip
    return table


def conditions(each: Beside) -> Sequence[tuple[Unlike, str]]:
    """Each condition that stands beside a comparison, once, with what it concerns; those first
    that refuse."""
    groups: dict[tuple[str, str, str], list[Unlike]] = {}
    for one in dict.fromkeys(u for c in each.comparisons for u in c.unlike):
        groups.setdefault((one.name, one.base, one.new), []).append(one)
    told = []
    for group in groups.values():
        refusing = [one for one in group if one.refuses]
        told.append(((refusing or group)[0], _scope(refusing or group, each.comparisons)))
    return sorted(told, key=lambda pair: not pair[0].refuses)


def _scope(group: Sequence[Unlike], comparisons: Sequence[Comparison]) -> str:
    """Whom a condition concerns, among what was compared; empty for everything."""
    names = list(dict.fromkeys(one.runtime for one in group))
    metrics = [
        metric
        for one in group
        for metric in one.metrics
        if any(replace(one, metrics=(metric,)).concerns(c.metric, c.runtime) for c in comparisons)
    ]
    parts = (
        [] if any(not one.metrics for one in group) else [_starred(m) for m in metrics],
        [] if "" in names else names,
    )
    return visible(" of ".join(", ".join(dict.fromkeys(part)) for part in parts if part))


def _starred(metric: str) -> str:
    return f"{metric}*" if metric.endswith(".") else metric


def _conditions(each: Beside) -> Iterator[RenderableType]:
    found = conditions(each)
    if not found:
        yield Text("No recorded condition differs.")
        return
    yield Text("Conditions that differ (✗ takes verdicts away, ! stands beside them)")
    for one, scope in found:
        sign = Text("  ✗ ", "red") if one.refuses else Text("  ! ", "yellow")
        yield _hanging(sign, condition(one, scope))


def condition(one: Unlike, scope: str) -> str:
    """One condition in words."""
    sides = "" if one.base == one.new else f": {one.base or 'none'} → {one.new or 'none'}"
    return visible(f"{one.name}{sides}{f' ({scope})' if scope else ''}. {one.text}")


def _closing(found: Sequence[Beside]) -> Iterator[RenderableType]:
    if all(each.is_same_run for each in found):
        return
    loose = dict.fromkeys(
        c.metric for each in found for c in each.comparisons if not c.margin_declared
    )
    if loose:
        more = f" and {len(loose) - 3} more" if len(loose) > 3 else ""
        listed = visible(", ".join(list(loose)[:3])) + more
        default = f"{margin_text(DEFAULT_MARGIN)} is used, the default of compare."
        yield _hanging("", f"The base's scenario fixes no margin for {listed}: {default}")
    yield _hanging("", BETWEEN_RUNS)


def _gate(gate: Gate) -> RenderableType:
    words = {Outcome.HOLDS: "FAIL", Outcome.DOES_NOT_HOLD: "ok", Outcome.UNDECIDED: "undecided"}
    lead = Text(f"{words[gate.outcome]:<10}", _GATE_STYLES.get(gate.outcome, "green"))
    return _hanging(lead, f"{visible(gate.expression.text)}: {gate_text(gate)}")


def gate_text(gate: Gate) -> str:
    """The answer to an expression in one sentence; of many series the first that tell."""
    telling = [each for each in gate.findings if each.outcome is gate.outcome]
    several = len({each.comparison.new_run for each in gate.findings if each.comparison}) > 1
    told = [_finding_text(each, several) for each in telling[:3]]
    more = f"; {len(telling) - 3} more" if len(telling) > 3 else ""
    heads = {
        Outcome.HOLDS: "holds for",
        Outcome.DOES_NOT_HOLD: "does not hold for",
        Outcome.UNDECIDED: "not decided for",
    }
    return f"{heads[gate.outcome]} {'; '.join(told)}{more}."


def _finding_text(found: Finding, several: bool) -> str:
    c = found.comparison
    if c is None:
        return f"anything: {found.why}"
    text = f"{series(c)} of {visible(c.new_run)}" if several else series(c)
    if c.refusing:
        return f"{text}: {visible(', '.join(dict.fromkeys(u.name for u in c.refusing)))} refuses"
    if found.ratio is None or found.ratio.interval is None:
        return f"{text}: {visible(found.why)}"
    sure = f"{found.ratio.interval.confidence:.2%}".replace(".00%", "%").replace("%", " %")
    text += f": {change(found.ratio.value)}, {change_range(found.ratio)} with {sure}"
    text += f", although unlike in {visible(', '.join(c.guards))}" if c.guards else ""
    return f"{text}: {visible(found.why)}" if found.why else text


def _hanging(lead: str | Text, text: str) -> Table:
    """A paragraph whose further lines stand under its first word after the lead."""
    grid = Table.grid(padding=0)
    start = lead if isinstance(lead, Text) else Text(lead)
    grid.add_column(width=start.cell_len, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(start, Text(text))
    return grid
