"""Verdicts beside bare metal in words, for the sections that give them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import listed, say, sentences
from harness.analysis.relative import Relative, beside_bare
from harness.analysis.sentences import Sentence
from harness.analysis.summary import Summary
from harness.analysis.units import span, times
from harness.analysis.verdicts import Verdict, margin_text


@dataclass(frozen=True)
class Words:
    """How a section says it: of runtimes that are equal, of one that differs by `told`, of
    none, and by what the values of one runtime are told apart (nothing where it is empty)."""

    kind: str
    equal: Callable[[Sequence[str]], str]
    differs: Callable[[str, str], str]
    undecided: str
    variant: Callable[[Relative], str] = lambda found: ""


def verdict(found: Relative) -> str:
    """One verdict for a table."""
    if found.verdict is Verdict.EQUIVALENT:
        return say("equivalent {within}", within=within(found.margin))
    if found.verdict.is_difference:
        return say(str(found.verdict))
    return say("no conclusion: {why}", why=found.why or say("bare metal is not in the run"))


def within(margin: float) -> str:
    """The margin of an equivalence."""
    return say("within {margin}", margin=margin_text(margin))


def answers(
    run: RunData, summary: Summary, found: Sequence[Relative], metric: str, words: Words
) -> tuple[Sentence, ...]:
    """The section's sentence on one metric, with intervals that hold all at once.

    None where there is nothing to compare with bare metal but what was emulated.
    """
    family = sum(_is_told(r) and r.metric == metric for r in found)
    if not family:
        return ()
    confidence = statistics.simultaneous(family)
    sure = [r for r in beside_bare(run, summary, [metric], confidence) if _is_told(r)]
    names = list(dict.fromkeys(r.row.runtime for r in sure))
    own = {name: [r for r in sure if r.row.runtime == name] for name in names}
    equal = [n for n in names if all(r.verdict is Verdict.EQUIVALENT for r in own[n])]
    other = [n for n in names if any(r.verdict.is_difference for r in own[n])]
    parts = []
    if equal:
        margin = within(sure[0].margin)
        parts.append(say("{equal}, {within}", equal=words.equal(equal), within=margin))
    parts += [words.differs(name, _told(own[name], words)) for name in other]
    head = say("; ").join(parts) or say(words.undecided)
    detail = [_intervals(sure, words)] if equal or other else []
    detail += [
        say("{name}: no conclusion ({why}).", name=name, why=own[name][0].why)
        for name in names
        if name not in equal and name not in other
    ]
    told = say("{clauses}.", clauses=f"{head[:1].upper()}{head[1:]}")
    return (Sentence(words.kind, told, sentences(detail), decided=bool(parts)),)


def _is_told(found: Relative) -> bool:
    return found.ratio is not None and not found.row.emulated


def _told(found: Sequence[Relative], words: Words) -> str:
    told = []
    for each in found:
        if each.verdict.is_difference and each.ratio is not None:
            variant = words.variant(each)
            told.append(
                times(each.ratio.value) + (say(" ({variant})", variant=variant) if variant else "")
            )
    return listed(told)


def _intervals(found: Sequence[Relative], words: Words) -> str:
    told = []
    for each in found:
        if each.ratio is not None and each.ratio.interval is not None:
            name = ", ".join(filter(None, (each.row.runtime, words.variant(each))))
            told.append(f"{name}: {span(each.ratio.interval, '1')}")
    ranges, n = say("; ").join(told), len(found)
    if n < 2:
        return say("Intervals: {ranges} (95 %, {once}).", ranges=ranges, once=say("bootstrap"))
    return say("Intervals: {ranges} (95 %, all {n} at once).", ranges=ranges, n=n)
