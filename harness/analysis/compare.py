"""Two or more stored runs, the first as the base: one comparison for each series that both have.

A series is a metric on a runtime with its dimensions. The verdict core judges each (unpaired: the
blocks of two runs have nothing in common), at the margin that the base's scenario fixed before
any data; differences must stand among all comparisons made at once; and every condition in which
the runs are unlike is named beside what it concerns, and refuses the verdict where it must
(harness/analysis/likeness.py).

What the intervals hold is the variation between the blocks of a run. How much whole runs differ
from hour to hour is not in them: across runs the run is the unit (METHOD), and there is one a
side. Two things stand against reading too much into it. The canary, a fixed piece of work that
every run does once a block, tells whether the host itself became slower; a difference that is no
larger than the canary's is no verdict. And docs/comparing.md says how to see the variation: by
comparing two runs of the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import pandas as pd

from harness.analysis import likeness, statistics, verdicts
from harness.analysis.frames import WALL, RunData
from harness.analysis.likeness import is_same_run
from harness.analysis.statistics import CONFIDENCE, Estimate
from harness.analysis.summary import round_trip_p99_s
from harness.analysis.units import times
from harness.analysis.unlike import Unlike
from harness.analysis.verdicts import Judgement, Pair, Verdict
from harness.errors import UsageError
from harness.metrics import DECIDING, HEADLINES, METRICS
from harness.model import Outcome

DEFAULT_MARGIN = 1.10
"""Where the base's scenario fixes none: what most shipped scenarios do, fixed here before any
data, and more than what two runs of the same are commonly apart on one quiet machine."""

CANARY_WORK = "canary.work"
_CONTROLS = ("canary.", "floor.", "repeat.")
_FACTS = "isolation."
_STAMPED = ("startup.", "ladder.", "phases.", "parallel.", "density.ready", "memory.ready")
_CANARY_MATTERS = 1.05
_SHOWN = 3

Values: TypeAlias = "pd.Series[float]"
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Comparison:
    """One series of two runs. `base` and `new` are medians in the metric's base unit, `blocks`
    how many each has; `margin_declared`: the base's scenario fixed the margin. `values` are what
    was judged, indexed by block; None where there is nothing to judge.
    """

    base_run: str
    new_run: str
    metric: str
    runtime: str
    dimensions: Mapping[str, str]
    unit: str
    better: str
    base: float | None
    new: float | None
    blocks: tuple[int, int]
    margin: float
    margin_declared: bool
    judgement: Judgement
    unlike: tuple[Unlike, ...]
    floor: float | None = None
    values: tuple[Values, Values] | None = field(default=None, repr=False, compare=False)

    @property
    def verdict(self) -> Verdict:
        return self.judgement.verdict

    @property
    def guards(self) -> tuple[str, ...]:
        """Names of all conditions that stand beside it, those that refuse first."""
        ordered = sorted(self.unlike, key=lambda each: not each.refuses)
        return tuple(dict.fromkeys(each.name for each in ordered))

    @property
    def refusing(self) -> tuple[Unlike, ...]:
        """The conditions that take its verdict away."""
        return tuple(each for each in self.unlike if each.refuses)

    @property
    def is_headline(self) -> bool:
        """Whether its metric is one that its experiment is about."""
        known = {*DECIDING.values(), *(m for each in HEADLINES.values() for m in each)}
        return self.metric in known


@dataclass(frozen=True)
class LeftOut:
    """Series that were not compared: why, how many, and a few of them."""

    reason: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Beside:
    """One new run beside the base, with every difference of condition between the two."""

    base: RunData
    new: RunData
    comparisons: tuple[Comparison, ...]
    unlike: tuple[Unlike, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def is_same_run(self) -> bool:
        return is_same_run(self.base, self.new)


def compare(base: RunData, news: Sequence[RunData]) -> tuple[Beside, ...]:
    """Each new run beside the base, verdicts controlled over all of them at once.

    Raises UsageError where no new run has a series that the base has.
    """
    found = [_beside(base, new) for new in news]
    if not any(each.comparisons for each in found):
        raise UsageError(
            f"{base.run} and {', '.join(new.run for new in news)} have no metric of a runtime in "
            "common",
            f"{_holds(base)}; {'; '.join(map(_holds, news))}",
        )
    fair = [c.judgement for each in found for c in each.comparisons if _may_be_chance(c)]
    standing = iter(verdicts.control(fair))
    return tuple(
        replace(
            each,
            comparisons=tuple(
                replace(c, judgement=next(standing)) if _may_be_chance(c) else c
                for c in each.comparisons
            ),
        )
        for each in found
    )


def _may_be_chance(c: Comparison) -> bool:
    """Whether it was tested; what was refused and facts were not."""
    return not c.refusing and c.judgement.p is not None


def series_of(run: RunData) -> Mapping[Key, Values]:
    """Each series of a run that can be compared, by metric, runtime and dimensions (JSON)."""
    every = run.samples["metric"].unique()
    wanted = [m for m in every if m != WALL and not str(m).startswith(_CONTROLS)]
    measured = run.samples["outcome"] == Outcome.OK.value
    rows = run.samples[measured & run.samples["metric"].isin(wanted)]
    return {
        (str(metric), str(runtime), str(dimensions)): pd.Series(
            group["value"].to_numpy(dtype=float), index=group["block"].to_numpy(dtype=int)
        )
        for (metric, runtime, dimensions), group in rows.groupby(
            ["metric", "runtime", "dimensions"], sort=False
        )
    }


def _beside(base: RunData, new: RunData) -> Beside:
    old, fresh = series_of(base), series_of(new)
    common = [key for key in old if key in fresh]
    along = [key for key in common if _is_along(key)]
    unlike = likeness.unlike(base, new)
    canary = None if is_same_run(base, new) else _canary(base, new)
    unlike += (canary.unlike,) if canary else ()
    made = [
        _comparison(base, new, key, (old[key], fresh[key]), unlike)
        for key in common
        if not _is_along(key)
    ]
    if canary and not any(each.name == "cpu" for each in unlike):
        made = [_less_canary(each, canary) for each in made]
    regimes = list(_other_regimes(old, fresh))
    made += [_unmatched(base, new, *pair, unlike) for pair in regimes]
    paired = {key for pair in regimes for key in pair}
    return Beside(
        base, new, tuple(made), unlike,
        tuple(
            LeftOut(reason, len(keys), tuple(_name(key) for key in keys[:_SHOWN]))
            for reason, keys in (
                ("readings within a trial, one by one", along),
                ("only the base has", [k for k in old if k not in fresh and k not in paired]),
                ("only the new run has", [k for k in fresh if k not in old and k not in paired]),
            )
            if keys
        ),
    )  # fmt: skip


def _comparison(
    base: RunData,
    new: RunData,
    key: Key,
    values: tuple[Values, Values],
    unlike: Sequence[Unlike],
) -> Comparison:
    metric, runtime, dimensions = key
    unit, better = _declared(new, metric)
    margin, declared = _margin(base, metric)
    floor = _floor(base, new, metric, runtime)
    if is_same_run(base, new):
        judgement = _nothing(Estimate(1.0, len(values[0]), None, "it is the same run"))
    else:
        fact = _of_fact(values, better) if metric.startswith(_FACTS) else None
        judgement = fact or verdicts.judge(
            Pair(*values, paired=False), better=better or "lower", margin=margin, floor=floor
        )
    if judgement.verdict.is_difference and not better:
        judgement = judgement.refused("which direction is better is not declared")
    made = Comparison(
        base_run=base.run, new_run=new.run, metric=metric, runtime=runtime,
        dimensions=json.loads(dimensions), unit=unit, better=better,
        base=_median(values[0]), new=_median(values[1]),
        blocks=(values[0].index.nunique(), values[1].index.nunique()),
        margin=margin, margin_declared=declared, judgement=judgement,
        unlike=tuple(each for each in unlike if each.concerns(metric, runtime)),
        floor=floor, values=values,
    )  # fmt: skip
    return _refused(made)


def _of_fact(values: tuple[Values, Values], better: str) -> Judgement | None:
    """The verdict of an answer that every trial of a run gave alike, and which is no sample of
    anything: one trial is enough, and chance has no part. None where trials disagreed."""
    was, now = (set(series) for series in values)
    if len(was) != 1 or len(now) != 1:
        return None
    if was == now:
        return Judgement(None, None, Verdict.EQUIVALENT, "the same fact in both")
    verdict = Verdict.BETTER if (max(now) > max(was)) == (better == "higher") else Verdict.WORSE
    return Judgement(None, None, verdict, "a fact that differs")


def _nothing(ratio: Estimate | None) -> Judgement:
    """What is said of two series that are not judged."""
    return Judgement(ratio, None, Verdict.NO_CONCLUSION, "")


def _refused(made: Comparison) -> Comparison:
    """Without a verdict where a condition takes it away."""
    if not made.refusing:
        return made
    why = made.refusing[0]
    return replace(made, judgement=made.judgement.refused(f"{why.name}: {why.text}"))


def _unmatched(
    base: RunData, new: RunData, old: Key, fresh: Key, unlike: Sequence[Unlike]
) -> Comparison:
    """A series that one run measured cold and the other warm: named, and never compared."""
    metric, runtime, dimensions = old if "regime" in json.loads(old[2]) else fresh
    was, now = (str(json.loads(key[2]).get("regime", "warm")) for key in (old, fresh))
    apart = Unlike(
        likeness.REGIME, True, was, now, "Cold and warm starts are never compared.",
        runtime, (metric,),
    )  # fmt: skip
    unit, better = _declared(new, metric)
    margin, declared = _margin(base, metric)
    return _refused(
        Comparison(
            base_run=base.run, new_run=new.run, metric=metric, runtime=runtime,
            dimensions={k: v for k, v in json.loads(dimensions).items() if k != "regime"},
            unit=unit, better=better, base=None, new=None, blocks=(0, 0), margin=margin,
            margin_declared=declared, judgement=_nothing(None),
            unlike=(apart, *(each for each in unlike if each.concerns(metric, runtime))),
        )
    )  # fmt: skip


def _other_regimes(
    old: Mapping[Key, Values], fresh: Mapping[Key, Values]
) -> Iterator[tuple[Key, Key]]:
    """Series that differ in the regime alone."""

    def plain(key: Key) -> Key:
        rest = {k: v for k, v in json.loads(key[2]).items() if k != "regime"}
        return key[0], key[1], json.dumps(rest, sort_keys=True)

    lonely = {plain(key): key for key in fresh if key not in old}
    for key in old:
        if key not in fresh and plain(key) in lonely:
            yield key, lonely[plain(key)]


@dataclass(frozen=True)
class _Canary:
    """How the host's own fixed work changed: new over base."""

    ratio: float
    unlike: Unlike


def _canary(base: RunData, new: RunData) -> _Canary | None:
    """The canary's change, where it is certain and matters; None otherwise."""
    before, after = base.values(CANARY_WORK), new.values(CANARY_WORK)
    found = statistics.ratio(after, before, CONFIDENCE, paired=False)
    if found is None or found.interval is None:
        return None
    certain = found.interval.low > 1 or found.interval.high < 1
    if not certain or max(found.value, 1 / found.value) < _CANARY_MATTERS:
        return None
    was, now = (f"{1e3 * float(series.median()):.3g} ms" for series in (before, after))
    return _Canary(
        found.value,
        Unlike(
            likeness.CANARY, False, was, now,
            f"The harness's own fixed work took {times(found.value)} times as long: the host "
            "itself changed, and a difference of no more than that is no verdict.",
        ),
    )  # fmt: skip


def _less_canary(made: Comparison, canary: _Canary) -> Comparison:
    """No verdict where the host's own change is as large as the difference."""
    ratio = made.judgement.ratio
    if not made.verdict.is_difference or ratio is None or ratio.interval is None:
        return made
    moved = {"s": canary.ratio, "1/s": 1 / canary.ratio}.get(made.unit)
    if moved is None:
        return made
    near = ratio.interval.low if ratio.interval.low > 1 else ratio.interval.high
    if (near > 1) != (moved > 1) or abs(near - 1) > abs(moved - 1):
        return made
    why = Unlike(
        likeness.CANARY, True, canary.unlike.base, canary.unlike.new,
        f"The host's own fixed work changed as much ({times(canary.ratio)} times).",
        made.runtime, (made.metric,),
    )  # fmt: skip
    return _refused(replace(made, unlike=(*made.unlike, why)))


def _is_along(key: Key) -> bool:
    """Readings within a trial, of which there may be thousands: a ramp's, or single launches."""
    metric, _, dimensions = key
    along = metric == "parallel.launch" or (
        metric.startswith("density.") and "n" in json.loads(dimensions)
    )
    return along


def _floor(base: RunData, new: RunData, metric: str, runtime: str) -> float | None:
    """What the channel of either run cannot tell apart; None for what it does not stamp."""
    if not metric.startswith(_STAMPED) or METRICS.get(metric, METRICS[WALL]).unit != "s":
        return None
    known = [p99 for run in (base, new) if (p99 := round_trip_p99_s(run, runtime)) is not None]
    return max(known) if known else None


def _margin(base: RunData, metric: str) -> tuple[float, bool]:
    """The smallest ratio that matters, and whether the base's scenario fixed it."""
    thresholds = base.manifest.get("scenario", {}).get("thresholds") or {}
    ratio = thresholds.get(metric, {}).get("ratio")
    return (DEFAULT_MARGIN, False) if ratio is None else (float(ratio), True)


def _declared(run: RunData, metric: str) -> tuple[str, str]:
    """Unit and better direction of a metric, the scenario's own ones included; an empty
    direction where none is declared and the unit does not tell."""
    if metric in METRICS:
        return METRICS[metric].unit, METRICS[metric].better
    own = (run.manifest.get("metrics") or {}).get(metric) or {}
    rows = run.samples.loc[run.samples["metric"] == metric, "unit"]
    unit = str(own.get("unit") or (rows.iloc[0] if len(rows) else "1"))
    return unit, str(own.get("better") or {"s": "lower", "1/s": "higher"}.get(unit, ""))


def _median(values: Values) -> float | None:
    blocks = statistics.by_block(values)
    return float(blocks.median()) if len(blocks) else None


def _name(key: Key) -> str:
    metric, runtime, dimensions = key
    told = ", ".join(f"{k}={v}" for k, v in json.loads(dimensions).items())
    return f"{metric}[{runtime}]" + (f"{{{told}}}" if told else "")


def _holds(run: RunData) -> str:
    """What a run has to offer, for an error's hint."""
    keys = series_of(run)
    metrics = list(dict.fromkeys(metric for metric, _, _ in keys))
    names = list(dict.fromkeys(runtime for _, runtime, _ in keys))
    if not metrics:
        return f"{run.run} has no value of a successful trial"
    more = f" and {len(metrics) - _SHOWN} more" if len(metrics) > _SHOWN else ""
    return f"{run.run} has {', '.join(metrics[:_SHOWN])}{more} of {', '.join(names[:_SHOWN])}"
