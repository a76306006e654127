"""The answer of a run in English words. Another language is another module like this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.analysis.summary import Comparison, Cost, Summary, Undecided, Verdict
from harness.analysis.units import percent, plural, quantity, span, times


@dataclass(frozen=True)
class Sentence:
    """One thing that the data say (or refuse to say): a headline and what supports it."""

    kind: str
    headline: str
    detail: str

    @property
    def text(self) -> str:
        """Both on one line, for a terminal."""
        return f"{self.headline} {self.detail}".strip()


def tell(summary: Summary) -> tuple[Sentence, ...]:
    """All sentences of a run, the most wanted first."""
    found = (_ready(summary), _memory(summary), _machines(summary), _failures(summary))
    return tuple(sentence for sentence in found if sentence is not None)


def _ready(summary: Summary) -> Sentence | None:
    if not summary.ranking:
        return None
    medians = {row.runtime: row.ready for row in summary.rows}
    first = summary.ranking[0].faster
    told = [c for c in summary.ranking if c.verdict is Verdict.DIFFERENT and c.ratio]
    alike = [c for c in summary.ranking if c.verdict is Verdict.EQUIVALENT]
    open_ = [c for c in summary.ranking if c.verdict is Verdict.NO_CONCLUSION]
    ready = medians[first]
    value = quantity(ready.value, "s") if ready else ""
    detail = [_with_intervals(told, summary.family)] if told else []
    detail += [
        f"{_names([c.slower for c in alike])} and {first} are equivalent within the margin "
        "that the scenario fixed before the run."
    ] * bool(alike)
    detail += [f"Between {first} and {c.slower}: no conclusion ({c.why})." for c in open_]
    if not told:
        return Sentence("ready", "Which runtime is ready sooner is not decided.", " ".join(detail))
    longer = [f"{c.slower} {times(c.ratio.value)} times" for c in told if c.ratio]
    longer[0] = longer[0].replace(f"{told[0].slower} ", f"{told[0].slower} takes ", 1) + " as long"
    return Sentence("ready", f"{first} is ready in {value}; {_list(longer)}.", " ".join(detail))


def _with_intervals(told: Sequence[Comparison], family: int) -> str:
    ranges = [
        f"{c.slower} {times(c.ratio.interval.low)} to {times(c.ratio.interval.high)} times"
        for c in told
        if c.ratio and c.ratio.interval
    ]
    joint = f", all {family} intervals of this answer at once" if family > 1 else ""
    return f"Intervals: {_list(ranges)} (95 %{joint}; medians paired by block)."


def _memory(summary: Summary) -> Sentence | None:
    known = [c for c in summary.memory if not c.emulated]
    absent = [
        r.runtime for r in summary.rows if r.memory_tried and r.memory is None and not r.emulated
    ]
    if not known and not absent:
        return None
    detail = _memory_detail(known, absent)
    if not known:
        return Sentence("memory", "What an idle box holds in memory is not decided.", detail)
    costs = [f"{quantity(c.estimate.value, 'bytes')} in {c.runtime}" for c in known]
    return Sentence("memory", f"An idle instance holds {_list(costs)}.", detail)


def _memory_detail(known: Sequence[Cost], absent: Sequence[str]) -> str:
    ranges = [
        f"{c.runtime} {span(c.estimate.interval, 'bytes')}" for c in known if c.estimate.interval
    ]
    parts = [f"Intervals: {_list(ranges)} (95 %, at once)."] if ranges else []
    if absent:
        parts.append(
            f"{_names(absent)}: too little to tell from the host's own variation, so no value."
        )
    return " ".join(parts)


def _machines(summary: Summary) -> Sentence | None:
    why = summary.undecided
    if why is None:
        return None
    return Sentence(
        "machine", "What a virtual machine costs is not decided on this host.", _why(why)
    )


def _why(why: Undecided) -> str:
    parts = []
    if why.emulated:
        parts.append(
            f"{_names(why.emulated)} ran under software emulation (TCG): every instruction of "
            "the guest was translated by a program, which no virtual machine on suitable "
            "hardware does."
        )
    if why.unlike:
        parts.append(f"{_names(why.unlike)} had no hardware accelerator that we can vouch for.")
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
    head = f"{plural(total, 'trial')} did not succeed: {_list(told)}."
    return Sentence("failures", head, " ".join([*short, "No time stands for a failed trial."]))


def _names(names: Sequence[str]) -> str:
    return _list(list(names))


def _list(parts: Sequence[str]) -> str:
    if len(parts) <= 2:
        return " and ".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]


def _stop(text: str) -> str:
    return text if text.endswith((".", "!", "?")) else f"{text}."
