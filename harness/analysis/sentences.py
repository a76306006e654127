"""The answer of a run in English words. Another language is another module like this one."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.analysis.layers import Layers
from harness.analysis.summary import BARE, Comparison, Cost, Summary, Undecided
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
        return f"{self.headline} {self.detail}".strip()


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
    return replace(said, headline=f"From a cold page cache: {said.headline}")


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
        f"{listed([c.slower for c in alike])} and {first} are equivalent within the margin "
        "that the scenario fixed before the run."
    ] * bool(alike)
    detail += [f"Between {first} and {c.slower}: no conclusion ({c.why})." for c in open_]
    if not told:
        head = "Which runtime is ready sooner is not decided."
        if alike:
            head = f"{listed([first, *(c.slower for c in alike)])} are ready equally soon."
        return Sentence("ready", head, " ".join(detail), decided=bool(alike))
    longer = [f"{c.slower} {_range(c)} times" for c in told]
    longer[0] = longer[0].replace(f"{told[0].slower} ", f"{told[0].slower} takes ", 1) + " as long"
    return Sentence("ready", f"{first} is ready in {value}; {listed(longer)}.", " ".join(detail))


def _range(found: Comparison) -> str:
    """A ratio as its interval: `7.4 to 8.1`."""
    if found.ratio is None or found.ratio.interval is None:
        return MISSING
    low, high = times(found.ratio.interval.low), times(found.ratio.interval.high)
    return low if low == high else f"{low} to {high}"


def _with_intervals(summary: Summary, first: str, told: Sequence[Comparison]) -> str:
    own = summary.ready[first].interval
    medians = [f"{c.slower} {times(c.ratio.value)}" for c in told if c.ratio]
    sure = f"Intervals hold with 95 %, {_at_once(summary.ready_family)}"
    text = f"{sure}; {first}: {span(own, 's')}." if own else f"{sure}."
    text += f" Ratios of the medians: {listed(medians)}."
    bare = summary.ready.get(BARE)
    if bare is not None and bare.interval:
        text += f" With no box at all: {with_interval(bare, 's')}."
    if summary.nested:
        text += (
            f" This host is itself a virtual machine, so {listed(summary.nested)} ran nested, "
            "which costs more than on hardware."
        )
    return text


def _at_once(family: int) -> str:
    return f"all {family} behind this sentence at once" if family > 1 else "bootstrap"


def _layers(summary: Summary) -> Sentence | None:
    """What of an engine's start is the engine, where the box that it calls stood alone too."""
    return around(summary.layers, _at_once(summary.ready_family))


def around(found: Sequence[Layers], sure: str) -> Sentence | None:
    """Of the plainest engine at the top, of the others below; `sure` says of how many at once."""
    if not found:
        return None
    first, *rest = sorted(found, key=lambda each: each.whole.count(","))
    head = (
        f"{_share(first)} of {first.whole}’s start is what is built around {first.part}: "
        f"{listed(_made_of(first))}."
    )
    detail = [f"{first.part} alone, in the version that {first.whole} calls, takes the rest."]
    others = [f"{_share(each)} of {each.whole}" for each in rest]
    detail += [f"Likewise {listed(others)}."] * bool(others)
    return Sentence("layers", head, " ".join([*detail, f"Intervals of 95 %, {sure}."]))


def _made_of(found: Layers) -> Sequence[str]:
    network = [f"the {found.network} network"] if found.network else []
    return [*found.others, *network]


def _share(found: Layers) -> str:
    interval = found.share.interval
    assert interval is not None
    low, high = (f"{100 * end:.0f}" for end in (interval.low, interval.high))
    return f"{low} %" if low == high else f"{low} to {high} %"


def _alone(summary: Summary) -> Sentence | None:
    """Where there is nothing to compare: the times themselves."""
    known = {n: e for n, e in summary.ready.items() if e.interval}
    if not known:
        return None
    told = [f"{name} is ready in {quantity(e.value, 's')}" for name, e in known.items()]
    ranges = [f"{name} {span(e.interval, 's')}" for name, e in known.items()]
    detail = f"Intervals: {listed(ranges)} (95 %, {_at_once(summary.ready_family)})."
    return Sentence("ready", f"{listed(told)}.", detail)


def _memory(summary: Summary) -> Sentence | None:
    costs = [c for c in summary.memory if c.decided]
    known = [c for c in costs if c.estimate.interval]
    few = [c.runtime for c in costs if not c.estimate.interval]
    absent = [r.runtime for r in summary.rows if r.memory_ok and r.memory is None]
    detail = _memory_detail(known, few, absent)
    if not known:
        head = "What an idle box holds in memory is not decided."
        return Sentence("memory", head, detail, decided=False) if few or absent else None
    told = [f"{quantity(c.estimate.value, 'bytes')} in {c.runtime}" for c in known]
    return Sentence("memory", f"An idle instance holds {listed(told)}.", detail)


def _memory_detail(known: Sequence[Cost], few: Sequence[str], absent: Sequence[str]) -> str:
    ranges = [f"{c.runtime} {span(c.estimate.interval, 'bytes')}" for c in known]
    parts = [f"Intervals: {listed(ranges)} (95 %, all at once)."] if ranges else []
    if few:
        parts.append(f"{listed(few)}: too few blocks for an interval.")
    if absent:
        parts.append(
            f"{listed(absent)}: too little to tell from the host's own variation, so no value."
        )
    return " ".join(parts)


def _machines(summary: Summary) -> Sentence | None:
    why = summary.undecided
    if why is None:
        return None
    head = "What a virtual machine costs is not decided on this host."
    return Sentence("machine", head, _why(why), decided=False)


def _why(why: Undecided) -> str:
    parts = []
    if why.emulated:
        parts.append(
            f"{listed(why.emulated)} ran under software emulation (TCG): every instruction of "
            "the guest was translated by a program, which no virtual machine on suitable "
            "hardware does."
        )
    if why.silent:
        parts.append(f"No trial of {listed(why.silent)} came to READY.")
    if why.unlike:
        parts.append(f"{listed(why.unlike)} had no hardware accelerator that we can vouch for.")
    parts += list(why.guards)
    parts += [f"{name} did not run: {_stop(reason)}" for name, reason in why.skipped.items()]
    return " ".join(parts)


def _failures(summary: Summary) -> Sentence | None:
    bad = [row for row in summary.rows if row.failures]
    if not bad:
        return None
    told = [f"{sum(r.failures.values())} of {r.runtime}" for r in bad]
    short = [
        f"{r.runtime}: {r.ok} of {plural(r.tried, 'measured start')} succeeded "
        f"({percent(r.success.low)} to {percent(r.success.high)}, exact 95 %)."
        for r in bad
        if r.success and r.ok < r.tried
    ]
    total = sum(sum(r.failures.values()) for r in bad)
    head = f"{plural(total, 'trial')} did not succeed: {listed(told)}."
    return Sentence("failures", head, " ".join([*short, "No time stands for a failed trial."]))


def listed(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(parts) <= 2:
        return " and ".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]


def _stop(text: str) -> str:
    """The beginning of a reason as the end of a sentence; the whole stands in a table."""
    lines = text.splitlines() or ["no reason was recorded"]
    text = textwrap.shorten(lines[0], 120, placeholder=" \N{HORIZONTAL ELLIPSIS}")
    return text if text.endswith((".", "!", "?", "\N{HORIZONTAL ELLIPSIS}")) else f"{text}."
