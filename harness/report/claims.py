"""How claims look in a terminal, in 80 columns, and as JSON: the same verdicts and numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from harness.analysis.claims.answers import Answer, Part, Verdict
from harness.analysis.claims.checks import Finding
from harness.analysis.claims.declared import Cost, Fact, Share
from harness.analysis.gates import Outcome
from harness.analysis.language import say, strung
from harness.analysis.units import percent, plural, quantity, span, times
from harness.report.comparison import visible

STYLES = {
    Verdict.HOLDS: "bold green",
    Verdict.DOES_NOT_HOLD: "bold red",
    Verdict.DEPENDS: "bold yellow",
    Verdict.NOT_DECIDED: "bold",
}
_SIGNS = {Outcome.HOLDS: "+", Outcome.DOES_NOT_HOLD: "−", Outcome.UNDECIDED: "?"}
_SHOWN = 3


def terminal(answers: Sequence[Answer], every: bool) -> RenderableType:
    """A paragraph a claim: verdict, sentence, and each part with its most telling numbers."""
    told: list[RenderableType] = []
    for each in answers:
        verdict = Text.assemble(
            (say(each.verdict), STYLES[each.verdict]), "  ", (each.claim.id, "dim")
        )
        told += [verdict, _indented(visible(say(each.claim.says)), 2)]
        if each.on:
            told.append(_indented(say("depends on {what}", what=visible(each.on)), 2))
        for part in each.parts:
            told += [_indented(visible(line), by) for by, line in _lines(part, every)]
        told += [_indented(say("would decide it: {command}", command=c), 4) for c in each.commands]
        told.append("")
    return Group(*told, Text(counted(answers), "bold"), Text(reading()))


def counted(answers: Sequence[Answer]) -> str:
    """`3 hold, 1 does not, …`: how many claims have each verdict."""
    found = {verdict: sum(each.verdict is verdict for each in answers) for verdict in Verdict}
    return strung([say("{name}: {said}", name=say(v), said=n) for v, n in found.items()])


def reading() -> str:
    """What the numbers are."""
    return say(
        "Margins were fixed before any data. Intervals: 95 %, for all numbers of a claim together; "
        "a cost is how many times as dear. Each run stands for itself."
    )


def _lines(part: Part, every: bool) -> Iterator[tuple[int, str]]:
    yield 4, say("{name}: {said}", name=say(part.verdict), said=say(part.check.says))
    found = part.findings if every else telling(part)
    for each in found:
        told = say("{name}: {said}", name=series(each), said=number(each))
        yield 6, f"{_SIGNS[each.outcome]} {told}"
    left = len(part.counted) - len(found)
    if left > 0 and not every:
        yield 6, say("… and {n} more (--all shows them)", n=left)
    if part.why:
        yield 6, part.why


def telling(part: Part) -> Sequence[Finding]:
    """The findings that speak most against a part, a box once."""
    counted = sorted(part.counted, key=lambda each: (_RANK[each.outcome], -against(part, each)))
    boxes: dict[tuple[str, str], Finding] = {}
    for each in counted:
        boxes.setdefault((each.box, each.beside), each)
    return list(boxes.values())[:_SHOWN]


_RANK = {Outcome.DOES_NOT_HOLD: 0, Outcome.UNDECIDED: 1, Outcome.HOLDS: 2}


def against(part: Part, found: Finding) -> float:
    """How far a number is on the wrong side; larger is worse for the claim."""
    if found.value is None:
        return 0.0
    check = part.check
    upward = isinstance(check, Cost | Fact) and check.at_most is not None
    return found.value.value if upward else -found.value.value


def series(found: Finding, with_run: bool = True) -> str:
    """Which box of which run, beside which, in what."""
    box = found.box if not found.beside else say(
        "{box} beside {other}", box=found.box, other=found.beside
    )  # fmt: skip
    told = [f"{key}={value}" for key, value in found.dimensions.items()]
    return strung([box, *filter(None, [found.metric]), *told, *([found.run] if with_run else [])])


def number(found: Finding) -> str:
    """A finding's number with its interval, or why there is none."""
    if found.value is None:
        return found.why
    if found.unit == "proof":
        return say("the same") if found.value.value else say("not the same")
    unit, interval = found.unit, found.value.interval
    if unit == "share":
        text = percent(found.value.value)
        told = f"{percent(interval.low)} – {percent(interval.high)}" if interval else ""
    elif unit == "times":
        text, told = f"{times(found.value.value)} ×", span(interval, "1") if interval else ""
    else:
        plain = f"{found.value.value:g}"
        text, told = plain if unit == "1" else quantity(found.value.value, unit), ""
    blocks = plural(found.value.n, "trial" if unit == "share" else "block")
    told = say("; ").join(filter(None, [told, blocks]))
    return say("{value} ({span})", value=text, span=told)


def limit(part: Part) -> str:
    """The margin of a check, in its own unit."""
    check = part.check
    if isinstance(check, Share):
        return f"> {percent(check.more_than)}"
    if isinstance(check, Cost):
        return f"{'≥' if check.at_least is not None else '≤'} {check.limit:g} ×"
    if isinstance(check, Fact):
        told = [("≥", check.at_least), ("≤", check.at_most)]
        return ", ".join(f"{sign} {value:g}" for sign, value in told if value is not None)
    return ""


def document(answers: Sequence[Answer]) -> Sequence[Mapping[str, Any]]:
    """All of it for a script; verdicts and outcomes in English."""
    return [
        {
            "id": each.claim.id, "says": each.claim.says, "verdict": each.verdict.value,
            "depends_on": each.on, "would_decide": list(each.commands),
            "confidence": each.confidence,
            "checks": [
                {
                    "says": part.check.says, "verdict": part.verdict.value, "why": part.why,
                    "limit": limit(part), "findings": [_finding(found) for found in part.findings],
                }
                for part in each.parts
            ],
        }
        for each in answers
    ]  # fmt: skip


def _finding(found: Finding) -> Mapping[str, Any]:
    value = found.value
    interval = value.interval if value else None
    return {
        "run": found.run, "runtime": found.box, "beside": found.beside, "metric": found.metric,
        "dimensions": dict(found.dimensions), "value": value.value if value else None,
        "low": interval.low if interval else None, "high": interval.high if interval else None,
        "n": value.n if value else 0, "unit": found.unit, "outcome": found.outcome.value,
        "counts": found.counts, "why": found.why,
    }  # fmt: skip


def _indented(text: str, by: int) -> RenderableType:
    return Padding(Text(text), (0, 0, 0, by))
