"""What the data say of two sets of trials: better, worse, equivalent, or no conclusion.

The one core that every comparison of tarebench goes through, within a run and between runs.
Three things must agree before a difference is called one, and each has its own job:

1. *The interval* of the ratio of medians, from resampled whole blocks, leaves out 1.
2. *The test*: a permutation test on ranks says that chance would rarely do it, and that still
   holds among all the comparisons of a report (`control`: the false-discovery rate).
3. *The practical threshold*, the margin that the scenario fixed before any data. Where the
   whole interval lies within it, the two are *equivalent*, also when a difference is certain:
   it is there, and does not matter. That is two one-sided tests in the form of an interval,
   each at half of what the interval leaves out (2.5 % of 95 %), so stricter than the usual 5 %.

All else is *no conclusion*, and says why. What is better is the metric's to say: less time,
more events.

Sources: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 15 (1987) 657-680, for two
one-sided tests; Benjamini & Hochberg, JRSS B 57 (1995) 289-300, for the false-discovery rate;
Good, Permutation Tests, 2nd ed. (2000), 3.2. How often all this is right and wrong, measured:
docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from harness.analysis import effects, statistics
from harness.analysis.language import say
from harness.analysis.statistics import CONFIDENCE, Estimate
from harness.analysis.units import digits, percent

FALSE_DISCOVERIES = 0.02
"""The share of a report's differences that may be false. Where there is nothing to find it is
the share of reports that find something, and that is to be *shown* to be below 5 % by as many
reports as a self-test can make (docs/statistics.md); hence less than the usual 5 %."""


class Verdict(StrEnum):
    """What the data say of the new beside the base."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    NO_CONCLUSION = "no_conclusion"

    @property
    def is_difference(self) -> bool:
        """Whether a difference was found, whichever way."""
        return self in (Verdict.BETTER, Verdict.WORSE)


@dataclass(frozen=True, eq=False)
class Pair:
    """Two series of values that are compared, indexed by block; `paired`: both come from the
    blocks of one run. What no confidence changes is worked out once, for all who judge them."""

    base: pd.Series[float]
    new: pd.Series[float]
    paired: bool

    @cached_property
    def p(self) -> float | None:
        """How likely chance alone sets two equal things this far apart."""
        return effects.p_value(self.base, self.new, paired=self.paired)

    @cached_property
    def delta(self) -> float | None:
        """Cliff's delta."""
        return effects.cliffs_delta(self.base, self.new, paired=self.paired)


@dataclass(frozen=True)
class Judgement:
    """One comparison: new beside base.

    `ratio` is the median of new over that of base, `p` the permutation test's; each is None where
    the data do not give it. `why` says why there is no conclusion, or what should be known beside
    a verdict; it may be empty. `of` is what was judged, if values were.
    """

    ratio: Estimate | None
    p: float | None
    verdict: Verdict
    why: str
    of: Pair | None = field(default=None, repr=False, compare=False)
    confidence: float = CONFIDENCE

    @cached_property
    def shift(self) -> Estimate | None:
        """The Hodges-Lehmann shift in the metric's unit; None where the data do not give it."""
        if self.of is None:
            return None
        base, new, paired = self.of.base, self.of.new, self.of.paired
        return effects.shift(base, new, paired=paired, confidence=self.confidence)

    @property
    def delta(self) -> float | None:
        """Cliff's delta, positive where new values are mostly the larger; None likewise."""
        return self.of.delta if self.of else None

    def refused(self, why: str) -> Judgement:
        """The same numbers with no verdict, for a condition that makes it unfair."""
        return replace(self, verdict=Verdict.NO_CONCLUSION, why=why)


def judge(
    pair: Pair,
    *,
    better: str,
    margin: float,
    confidence: float = CONFIDENCE,
    floor: float | None = None,
) -> Judgement:
    """Compare two series of values.

    `better` is "lower" or "higher"; with neither, nothing is better or worse. `margin` is the
    smallest ratio that matters, 1 for none; `floor` is the smallest difference, in the metric's
    unit, that the channel can tell. One comparison of several goes through `control`.
    """
    ratio = statistics.ratio(pair.new, pair.base, confidence, paired=pair.paired)
    found = Judgement(ratio, pair.p, Verdict.NO_CONCLUSION, "", pair, confidence)
    if ratio is None:
        return found.refused(_no_ratio(pair))
    verdict, why = decide(ratio, margin, better)
    found = replace(found, verdict=verdict, why=why)
    if floor is not None and _is_below(floor, pair, margin, verdict):
        return found.refused(say("the difference is below the channel's round trip"))
    if verdict.is_difference and (found.p is None or found.p > 1 - confidence):
        return found.refused(say("chance may explain it{p}", p=_told(found.p)))
    return found


def decide(ratio: Estimate, margin: float, better: str) -> tuple[Verdict, str]:
    """The verdict of a ratio's interval alone, and why it is none or what qualifies it."""
    if ratio.interval is None:
        return Verdict.NO_CONCLUSION, ratio.absent
    low, high = ratio.interval.low, ratio.interval.high
    differs = low > 1 or high < 1
    if margin > 1 and 1 / margin <= low and high <= margin:
        small = say(
            "a difference is there, and within the margin of {margin}", margin=margin_text(margin)
        )
        return Verdict.EQUIVALENT, small if differs else ""
    if not differs:
        return Verdict.NO_CONCLUSION, say("the interval includes both answers")
    if better not in ("lower", "higher"):
        return Verdict.NO_CONCLUSION, say("nobody said which direction is better")
    verdict = Verdict.BETTER if (high < 1) == (better == "lower") else Verdict.WORSE
    may_be_small = margin > 1 and (low < margin if low > 1 else high > 1 / margin)
    exceeds = say(
        "whether it exceeds the margin of {margin} is not decided", margin=margin_text(margin)
    )
    return verdict, exceeds if may_be_small else ""


@dataclass(frozen=True)
class Family:
    """All the comparisons of one report: how many, and the largest p that stands among them
    (below 0 if none does)."""

    size: int
    cutoff: float


def family(p_values: Sequence[float], rate: float = FALSE_DISCOVERIES) -> Family:
    """The comparisons with these p, at this false-discovery rate (Benjamini and Hochberg)."""
    if not p_values:
        return Family(0, -math.inf)
    adjusted = stats.false_discovery_control(list(p_values))
    standing = np.asarray(p_values)[adjusted <= rate]
    return Family(len(p_values), float(standing.max()) if len(standing) else -math.inf)


def control(judgements: Sequence[Judgement], among: Family | None = None) -> tuple[Judgement, ...]:
    """The same judgements with false discoveries kept rare among all of them.

    A better or worse that does not stand becomes no conclusion. `among` is the larger family of
    which these are a part; without it they are the family themselves.
    """
    whole = among or family([each.p for each in judgements if each.p is not None])
    told = say(" among {n} comparisons", n=whole.size) if whole.size > 1 else ""
    return tuple(
        each.refused(say("chance may explain it{among}{p}", among=told, p=_told(each.p)))
        if each.verdict.is_difference and (each.p is None or each.p > whole.cutoff)
        else each
        for each in judgements
    )


def margin_text(margin: float) -> str:
    """A margin for a reader: 1.1 is `10 %`."""
    return percent(round(margin - 1, 4)).replace(".0 ", " ")


def _is_below(floor: float, pair: Pair, margin: float, verdict: Verdict) -> bool:
    """Whether the channel cannot tell the two apart, and so no difference can be seen; nor can
    an equivalence whose margin is itself below what the channel can tell."""
    base, new = float(pair.base.median()), float(pair.new.median())
    if abs(new - base) >= floor:
        return False
    return verdict is not Verdict.EQUIVALENT or (margin - 1) * base < floor


def _no_ratio(pair: Pair) -> str:
    old, fresh = effects.samples(pair.base, pair.new, paired=pair.paired)
    if min(len(old), len(fresh)) == 0:
        return say("no block has both") if pair.paired else say("one of the two has no value")
    return say("a value is not positive, so there is no ratio")


def _told(p: float | None) -> str:
    return "" if p is None else say(" (p {p})", p=digits(p, 2))
