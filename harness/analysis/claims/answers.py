"""From findings to a verdict on a claim: holds, does not hold, depends, not decided.

A claim is taken at its word: it speaks of every box of its kind, and of each of its parts. So it
*holds* where all that counts holds; where nothing does that is decided and something fails it *does
not hold*; where some of it does and some does not it *depends*, and the verdict names on what. Else
it is *not decided by these data*, with the command that would decide it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.analysis import statistics
from harness.analysis.claims import checks
from harness.analysis.claims.checks import Finding, Source
from harness.analysis.claims.declared import Check, Claim, Cost, Share
from harness.analysis.frames import RunData
from harness.analysis.gates import Outcome
from harness.analysis.language import later, say, strung


class Verdict(StrEnum):
    """What the data say of a claim."""

    HOLDS = later("holds")
    DOES_NOT_HOLD = later("does not hold")
    DEPENDS = later("depends")
    NOT_DECIDED = later("not decided")


@dataclass(frozen=True)
class Part:
    """One check with what was found; `why` says why nothing decides it, where nothing does."""

    check: Check
    findings: tuple[Finding, ...]
    why: str

    @property
    def counted(self) -> tuple[Finding, ...]:
        """The findings that may decide."""
        return tuple(each for each in self.findings if each.counts)

    @property
    def outcomes(self) -> frozenset[Outcome]:
        """What is found of it; undecided where nothing that counts is."""
        return frozenset(each.outcome for each in self.counted) or frozenset({Outcome.UNDECIDED})

    @property
    def verdict(self) -> Verdict:
        return _verdict(self.outcomes)


@dataclass(frozen=True)
class Answer:
    """A claim with its verdict. `on` says on what it depends; `commands` would decide the rest."""

    claim: Claim
    parts: tuple[Part, ...]
    verdict: Verdict
    on: str
    commands: tuple[str, ...]
    confidence: float


def answer(claims: Sequence[Claim], runs: Sequence[RunData]) -> tuple[Answer, ...]:
    """Every claim held against all runs."""
    sources = [Source(run) for run in runs]
    return tuple(_answer(claim, sources) for claim in claims)


def _answer(claim: Claim, runs: Sequence[Source]) -> Answer:
    asked = [(check, checks.questions(check, runs)) for check in claim.checks]
    timed = (each for check, own in asked if isinstance(check, Share | Cost) for each in own)
    confidence = statistics.simultaneous(sum(not each.refused for each in timed))
    parts = tuple(
        _part(check, tuple(each.answered(confidence) for each in own), runs) for check, own in asked
    )
    verdict = _verdict(frozenset(outcome for part in parts for outcome in part.outcomes))
    on = _on(parts) if verdict is Verdict.DEPENDS else ""
    commands = dict.fromkeys(filter(None, map(_command, parts)))
    return Answer(claim, parts, verdict, on, tuple(commands), confidence)


def _part(check: Check, findings: tuple[Finding, ...], runs: Sequence[Source]) -> Part:
    if not findings:
        return Part(check, findings, checks.lacking(check, runs))
    if not any(each.counts for each in findings):
        why = say("; ").join(dict.fromkeys(each.why for each in findings))
        return Part(check, findings, why)
    undecided = dict.fromkeys(
        each.why for each in findings if each.counts and each.outcome is Outcome.UNDECIDED
    )
    return Part(check, findings, say("; ").join(undecided))


def _verdict(outcomes: frozenset[Outcome]) -> Verdict:
    holds, fails = Outcome.HOLDS in outcomes, Outcome.DOES_NOT_HOLD in outcomes
    if holds and fails:
        return Verdict.DEPENDS
    if fails:
        return Verdict.DOES_NOT_HOLD
    return Verdict.HOLDS if outcomes == {Outcome.HOLDS} else Verdict.NOT_DECIDED


def _command(part: Part) -> str:
    """What would decide what a part leaves open; empty where nothing is, or nothing would."""
    if Outcome.UNDECIDED not in part.outcomes or not part.check.run:
        return ""
    command = part.check.run
    few = [each for each in part.counted if each.outcome is Outcome.UNDECIDED and each.value]
    if few:  # four times the blocks halve an interval
        blocks = max(each.value.n for each in few if each.value)
        command = f"{command} --repeat {4 * max(blocks, 3)}"
    if part.check.needs:
        needs = say(part.check.needs)
        return say("{command} (on a host with {needs})", command=command, needs=needs)
    return command


def _on(parts: Sequence[Part]) -> str:
    """By what the boxes that hold differ from those that do not."""
    pairs = [(part, each) for part in parts for each in part.counted]
    decided = [(p, f) for p, f in pairs if f.outcome is not Outcome.UNDECIDED]
    dimensions = dict.fromkeys(key for _, f in decided for key in f.dimensions)
    factors: dict[str, Callable[[Part, Finding], str]] = {
        say("the part"): lambda part, _: say(part.check.says),
        say("the box"): lambda _, found: found.box,
        say("what is measured"): lambda _, found: found.metric,
        say("the run"): lambda _, found: found.run,
        **{key: _dimension(key) for key in dimensions},
    }
    for name, factor in factors.items():
        failing = _split(decided, factor)
        if failing:
            return say("{factor}: not so for {names}", factor=name, names=strung(failing))
    failing = [
        say("{box} ({part})", box=found.box, part=say(part.check.says))
        for part, found in decided
        if found.outcome is Outcome.DOES_NOT_HOLD
    ]
    names = strung(list(dict.fromkeys(failing)))
    return say("{factor}: not so for {names}", factor=say("box and part"), names=names)


def _dimension(key: str) -> Callable[[Part, Finding], str]:
    return lambda _, found: found.dimensions.get(key, "")


def _split(
    decided: Sequence[tuple[Part, Finding]], factor: Callable[[Part, Finding], str]
) -> list[str]:
    """The values of a factor for which it does not hold, where the factor alone tells."""
    found: Mapping[str, set[Outcome]] = {}
    found = {factor(*each): set() for each in decided}
    for part, each in decided:
        found[factor(part, each)].add(each.outcome)
    if any(len(outcomes) > 1 for outcomes in found.values()):
        return []
    return [value for value, outcomes in found.items() if Outcome.DOES_NOT_HOLD in outcomes]
