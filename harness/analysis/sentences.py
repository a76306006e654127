"""The answer of a run in words, of the language that is spoken (language.py)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.analysis.language import clauses, later, listed, recorded, say, sentences
from harness.analysis.layers import Layers
from harness.analysis.statistics import Interval
from harness.analysis.summary import (
    BARE,
    MANY,
    Comparison,
    Cost,
    Summary,
    Undecided,
    class_rank,
)
from harness.analysis.units import MISSING, percent, plural, quantity, span, times, with_interval
from harness.analysis.verdicts import Verdict


@dataclass(frozen=True)
class Sentence:
    """One thing that the data say, or (not `decided`) refuse to say: a headline and its support."""

    kind: str
    headline: str
    detail: str
    decided: bool = True

    @property
    def text(self) -> str:
        """Both on one line, for a terminal."""
        return sentences([self.headline, self.detail])


def tell(summary: Summary) -> tuple[Sentence, ...]:
    """All sentences of a run, the most wanted first."""
    found = (
        _cold(summary, _ready(summary)),
        _layers(summary),
        _memory(summary),
        _machines(summary),
        _failures(summary),
    )
    return tuple(sentence for sentence in found if sentence is not None)


def in_order(found: Sequence[Sentence]) -> tuple[Sentence, ...]:
    """What is decided before what is not, and failures last."""
    return tuple(sorted(found, key=lambda each: (each.kind == "failures", not each.decided)))


def _cold(summary: Summary, said: Sentence | None) -> Sentence | None:
    """Cold figures never stand without their regime."""
    if said is None or not summary.cold:
        return said
    return replace(said, headline=say("From a cold page cache: {said}", said=said.headline))


def _ready(summary: Summary) -> Sentence | None:
    if not summary.ranking:
        return _alone(summary)
    first = summary.ranking[0].faster
    told = [c for c in summary.ranking if c.verdict.is_difference and c.ratio]
    alike = [c for c in summary.ranking if c.verdict is Verdict.EQUIVALENT]
    open_ = [c for c in summary.ranking if c.verdict is Verdict.NO_CONCLUSION]
    value = quantity(summary.ready[first].value, "s")
    detail = [_with_intervals(summary, first, told)] if told else []
    detail += [
        say(
            "{names} are equivalent within the margin that the scenario fixed before the run.",
            names=listed([*(c.slower for c in alike), first]),
        )
    ] * bool(alike)
    detail += _open(first, open_)
    if not told:
        head = say("Which runtime is ready sooner is not decided.")
        if alike:
            names = listed([first, *(c.slower for c in alike)])
            head = say("{names} are ready equally soon.", names=names)
        return Sentence("ready", head, sentences(detail), decided=bool(alike))
    if len(told) > MANY:
        return Sentence("ready", _by_class(summary, first, value, told), sentences(detail))
    takes, more = later("{name} takes {ratio} times as long"), later("{name} {ratio} times")
    longer = [
        say(more if number else takes, name=c.slower, ratio=_range(c))
        for number, c in enumerate(told)
    ]
    head = say(
        "{name} is ready in {value}; {longer}.", name=first, value=value, longer=clauses(longer)
    )
    return Sentence("ready", head, sentences(detail))


def _open(first: str, open_: Sequence[Comparison]) -> Sequence[str]:
    """What is not decided, once for each reason."""
    whys: dict[str, list[str]] = {}
    for c in open_:
        whys.setdefault(c.why, []).append(c.slower)
    one = later("Between {names}: no conclusion ({why}).")
    several = later("Between {first} and each of {names}: no conclusion ({why}).")
    return [
        say(several, first=first, names=listed(names), why=why)
        if len(names) > 1
        else say(one, names=listed([first, *names]), why=why)
        for why, names in whys.items()
    ]


def _by_class(summary: Summary, first: str, value: str, told: Sequence[Comparison]) -> str:
    """The ratios of very many: of each class from the lowest end of an interval to the highest."""
    kinds: dict[str, list[Interval]] = {}
    for c in told:
        if c.ratio is not None and c.ratio.interval is not None:
            kinds.setdefault(_class(summary, c.slower), []).append(c.ratio.interval)
    ranges = [
        say(
            "{range} ({kind})",
            kind=say(kind), range=_from_to(min(i.low for i in own), max(i.high for i in own)),
        )
        for kind, own in sorted(kinds.items(), key=lambda item: class_rank(item[0]))
    ]  # fmt: skip
    return say(
        "{name} is ready in {value}; of {number} others each takes, by class, {ranges} times "
        "as long.",
        name=first, value=value, number=len(told), ranges=listed(ranges),
    )  # fmt: skip


def _class(summary: Summary, runtime: str) -> str:
    return next(row.runtime_class for row in summary.rows if row.runtime == runtime)


def _range(found: Comparison) -> str:
    """A ratio as its interval: `7.4 to 8.1`."""
    if found.ratio is None or found.ratio.interval is None:
        return MISSING
    return _from_to(found.ratio.interval.low, found.ratio.interval.high)


def _from_to(lowest: float, highest: float) -> str:
    low, high = times(lowest), times(highest)
    return low if low == high else say("{low} to {high}", low=low, high=high)


def _with_intervals(summary: Summary, first: str, told: Sequence[Comparison]) -> str:
    own = summary.ready[first].interval
    medians = [f"{c.slower} {times(c.ratio.value)}" for c in told if c.ratio]
    once = _at_once(summary.ready_family)
    said = [say("Intervals hold with 95 %, {once}.", once=once)]
    if own:
        said = [
            say(
                "Intervals hold with 95 %, {once}; {name}: {span}.",
                once=once, name=first, span=span(own, "s"),
            )
        ]  # fmt: skip
    said.append(say("Ratios of the medians: {medians}.", medians=listed(medians)))
    bare = summary.ready.get(BARE)
    if bare is not None and bare.interval:
        said.append(say("With no box at all: {time}.", time=with_interval(bare, "s")))
    if summary.nested:
        said.append(
            say(
                "This host is itself a virtual machine, so {names} ran nested, which costs more "
                "than on hardware.",
                names=listed(summary.nested),
            )
        )
    if summary.uncached:
        said.append(
            say(
                "The disk of {names} goes past this host's page cache (cache=none), so it is read "
                "cold where the others are warm; with cache=writeback all are alike.",
                names=listed(summary.uncached),
            )
        )
    return sentences(said)


def _at_once(family: int) -> str:
    if family < 2:
        return say("bootstrap")
    return say("all {family} behind this sentence at once", family=family)


def _layers(summary: Summary) -> Sentence | None:
    """What of an engine's start is the engine, where the box that it calls stood alone too."""
    return around(summary.layers, _at_once(summary.ready_family))


def around(found: Sequence[Layers], sure: str) -> Sentence | None:
    """Of the plainest engine at the top, of the others below; `sure` says of how many at once."""
    if not found:
        return None
    first, *rest = sorted(found, key=lambda each: each.whole.count(","))
    head = say(
        "{share} of {whole}’s start is what is built around {part}: {made}.",
        share=_share(first), whole=first.whole, part=first.part, made=listed(_made_of(first)),
    )  # fmt: skip
    detail = [
        say(
            "{part} alone, in the version that {whole} calls, takes the rest.",
            part=first.part, whole=first.whole,
        )
    ]  # fmt: skip
    others = [say("{share} of {whole}", share=_share(each), whole=each.whole) for each in rest]
    detail += [say("Likewise {others}.", others=listed(others))] * bool(others)
    detail.append(say("Intervals of 95 %, {sure}.", sure=sure))
    return Sentence("layers", head, sentences(detail))


def _made_of(found: Layers) -> Sequence[str]:
    network = [say("the {network} network", network=found.network)] if found.network else []
    return [*found.others, *network]


def _share(found: Layers) -> str:
    interval = found.share.interval
    assert interval is not None
    low, high = (f"{100 * end:.0f}" for end in (interval.low, interval.high))
    if low == high:
        return say("{number} %", number=low)
    return say("{low} to {high} %", low=low, high=high)


def _alone(summary: Summary) -> Sentence | None:
    """Where there is nothing to compare: the times themselves."""
    known = {n: e for n, e in summary.ready.items() if e.interval}
    if not known:
        return None
    told = [
        say("{name} is ready in {value}", name=name, value=quantity(e.value, "s"))
        for name, e in known.items()
    ]
    ranges = [f"{name} {span(e.interval, 's')}" for name, e in known.items()]
    detail = say(
        "Intervals: {ranges} (95 %, {once}).",
        ranges=listed(ranges), once=_at_once(summary.ready_family),
    )  # fmt: skip
    return Sentence("ready", say("{clauses}.", clauses=clauses(told)), detail)


def _memory(summary: Summary) -> Sentence | None:
    costs = [c for c in summary.memory if c.decided]
    known = [c for c in costs if c.estimate.interval]
    few = [c.runtime for c in costs if not c.estimate.interval]
    absent = [r.runtime for r in summary.rows if r.memory_ok and r.memory is None]
    detail = _memory_detail(known, few, absent)
    if not known:
        head = say("What an idle box holds in memory is not decided.")
        return Sentence("memory", head, detail, decided=False) if few or absent else None
    told = [_holds(c) for c in known] if len(known) <= MANY else _hold_by_class(summary, known)
    return Sentence("memory", say("An idle instance holds {told}.", told=listed(told)), detail)


def _holds(cost: Cost) -> str:
    return say("{value} in {name}", value=quantity(cost.estimate.value, "bytes"), name=cost.runtime)


def _hold_by_class(summary: Summary, known: Sequence[Cost]) -> Sequence[str]:
    """Of each class the least and the most."""
    kinds: dict[str, list[Cost]] = {}
    for cost in sorted(known, key=lambda c: c.estimate.value):
        kinds.setdefault(_class(summary, cost.runtime), []).append(cost)
    return [
        _holds(own[0])
        if len(own) == 1
        else say(
            "{least} to {most} ({kind})", least=_holds(own[0]), most=_holds(own[-1]), kind=say(kind)
        )
        for kind, own in sorted(kinds.items(), key=lambda item: class_rank(item[0]))
    ]


def _memory_detail(known: Sequence[Cost], few: Sequence[str], absent: Sequence[str]) -> str:
    ranges = [f"{c.runtime} {span(c.estimate.interval, 'bytes')}" for c in known]
    parts = []
    if ranges:
        parts.append(say("Intervals: {ranges} (95 %, all at once).", ranges=listed(ranges)))
    if few:
        parts.append(say("{names}: too few blocks for an interval.", names=listed(few)))
    if absent:
        parts.append(
            say(
                "{names}: too little to tell from the host's own variation, so no value.",
                names=listed(absent),
            )
        )
    return sentences(parts)


def _machines(summary: Summary) -> Sentence | None:
    why = summary.undecided
    if why is None:
        return None
    head = say("What a virtual machine costs is not decided on this host.")
    return Sentence("machine", head, _why(why), decided=False)


def _why(why: Undecided) -> str:
    parts = []
    if why.emulated:
        parts.append(
            say(
                "{names} ran under software emulation (TCG): every instruction of the guest was "
                "translated by a program, which no virtual machine on suitable hardware does.",
                names=listed(why.emulated),
            )
        )
    if why.silent:
        parts.append(say("No trial of {names} came to READY.", names=listed(why.silent)))
    if why.unlike:
        unlike = listed(why.unlike)
        parts.append(
            say("{names} had no hardware accelerator that we can vouch for.", names=unlike)
        )
    parts += [recorded(text) for text in why.guards]
    parts += [
        say("{name} did not run: {why}", name=name, why=_stop(reason))
        for name, reason in why.skipped.items()
    ]
    return sentences(parts)


def _failures(summary: Summary) -> Sentence | None:
    bad = [row for row in summary.rows if row.failures]
    if not bad:
        return None
    told = [say("{n} of {name}", n=sum(r.failures.values()), name=r.runtime) for r in bad]
    short = [
        say(
            "{name}: {ok} of {starts} succeeded ({low} to {high}, exact 95 %).",
            name=r.runtime,
            ok=r.ok,
            starts=plural(r.tried, "measured start"),
            low=percent(r.success.low),
            high=percent(r.success.high),
        )
        for r in bad
        if r.success and r.ok < r.tried
    ]
    total = sum(sum(r.failures.values()) for r in bad)
    trials = plural(total, "trial")
    head = say("{trials} did not succeed: {told}.", trials=trials, told=listed(told))
    detail = sentences([*short, say("No time stands for a failed trial.")])
    return Sentence("failures", head, detail)


def _stop(text: str) -> str:
    """The beginning of a reason as the end of a sentence; the whole stands in a table."""
    lines = text.splitlines() or [say("no reason was recorded")]
    text = textwrap.shorten(lines[0], 120, placeholder=" \N{HORIZONTAL ELLIPSIS}")
    return text if text.endswith((".", "!", "?", "\N{HORIZONTAL ELLIPSIS}")) else f"{text}."
