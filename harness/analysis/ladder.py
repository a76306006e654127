"""What each rung of the cost ladder adds, in turn and last, and what the sums leave over.

*In turn*: a rung's READY less that of the rung below. *Last*: the whole set's READY less that of
the whole set without this one mechanism, which is what it adds when all others are there
already. Where the two differ, mechanisms share work or are in each other's way. Both are
differences of medians over the blocks that have both, resampled jointly: one slow launch in
ten then moves neither. (The samples `ladder.added` are the same differences block by block.)

A chain leads from the first rung to one that nothing stands over, and differences in turn add up
to its READY by construction. So its *remainder* is taken from costs that were timed apart from
it: its READY less the first rung, less what each mechanism adds last where that was measured,
and in turn where it was not. All intervals resample whole blocks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.analysis import statistics
from harness.analysis.derived import READY, rungs
from harness.analysis.frames import RunData
from harness.analysis.statistics import CONFIDENCE, Estimate, Floats

_DECIMALS = 10
"""Marks are whole nanoseconds: what is below a tenth of one is the arithmetic's own."""


@dataclass(frozen=True)
class Step:
    """One rung. `start` is the READY of the rung below, in seconds, 0 for the first.

    `depth` counts from 1 at the first rung; `main` says that it lies on the longest chain, the
    others being branches. `last` is what the mechanism adds last, where that was measured.
    `absent` says why there is no READY or nothing to compare it with.
    """

    name: str
    runtime: str
    over: str | None
    depth: int
    main: bool
    ready: Estimate | None
    start: float | None
    added: Estimate | None
    last: Estimate | None
    absent: str


@dataclass(frozen=True)
class Remainder:
    """A chain: its last rung's READY, the sum of costs timed apart, and what that leaves."""

    rung: str
    total: Estimate
    costs: float
    left: Estimate


@dataclass(frozen=True)
class Ladder:
    """The ladder of a run. `steps` are in the scenario's order, without the leaving-out ones.

    `whole` is the rung from which mechanisms are left out, if any are.
    """

    steps: tuple[Step, ...]
    whole: str | None
    remainders: tuple[Remainder, ...]

    def step(self, name: str) -> Step:
        """One rung by name."""
        return next(step for step in self.steps if step.name == name)


Rungs = Mapping[str, Mapping[str, str | None]]


def read(run: RunData, confidence: float = CONFIDENCE) -> Ladder | None:
    """The ladder of a run; None where no rung was measured."""
    every: Rungs = {str(rung["name"]): rung for rung in rungs(run.manifest)}
    tree = {name: rung for name, rung in every.items() if rung.get("without") is None}
    if not any(len(run.values(READY, str(rung["runtime"]))) for rung in every.values()):
        return None
    without = {str(r["without"]): n for n, r in every.items() if r.get("without") is not None}
    top = max(tree, key=lambda name: len(path(tree, name)))
    main = set(path(tree, top))
    steps = tuple(
        _step(run, every, name, without.get(name), name in main, confidence) for name in tree
    )
    whole = every[next(iter(without.values()))]["over"] if without else None
    leaves = [n for n in tree if not any(rung.get("over") == n for rung in tree.values())]
    ends = dict.fromkeys([*([str(whole)] if whole else []), *leaves])
    found = (_remainder(run, every, without, name) for name in ends)
    return Ladder(steps, whole, tuple(each for each in found if each is not None))


def path(tree: Rungs, name: str) -> list[str]:
    """The rungs from the first one to this one."""
    found = [name]
    while (over := tree[found[-1]].get("over")) is not None:
        found.append(str(over))
    return found[::-1]


def _step(
    run: RunData, every: Rungs, name: str, without: str | None, main: bool, confidence: float
) -> Step:
    runtime, over = str(every[name]["runtime"]), every[name].get("over")
    ready = statistics.median(run.values(READY, runtime), confidence)
    added = None if over is None else _difference(run, every, name, over, confidence)
    below = None if over is None else _median(run, every, over)
    last = None
    if without is not None:
        last = _difference(run, every, str(every[without]["over"]), without, confidence)
    return Step(
        name, runtime, over, len(path(every, name)), main, ready,
        0.0 if over is None else below, added, last, _why(run, every, name, added),
    )  # fmt: skip


def _difference(
    run: RunData, every: Rungs, one: str, other: str, confidence: float
) -> Estimate | None:
    first, second = (run.values(READY, str(every[name]["runtime"])) for name in (one, other))
    return statistics.difference(first, second, confidence)


def _median(run: RunData, every: Rungs, name: str) -> float | None:
    found = statistics.median(run.values(READY, str(every[name]["runtime"])))
    return None if found is None else found.value


def _why(run: RunData, every: Rungs, name: str, added: Estimate | None) -> str:
    runtime, over = str(every[name]["runtime"]), every[name].get("over")
    if _median(run, every, name) is None:
        skipped = run.manifest.get("skipped", {}).get(runtime)
        if skipped:
            return str(skipped.get("reason", "skipped"))
        return "no launch succeeded" if (run.tally["runtime"] == runtime).any() else "not run"
    return "" if over is None or added else f"{over} has no value to compare with"


def _remainder(
    run: RunData, every: Rungs, without: Mapping[str, str], name: str
) -> Remainder | None:
    """None where nothing on the chain was timed apart, or a value is missing in every block."""
    chain = path(every, name)
    if not set(chain) & set(without):
        return None
    weights = Counter({name: 1, chain[0]: -1})
    for rung, below in zip(chain[1:], chain, strict=False):
        less = without.get(rung)
        whole = rung if less is None else str(every[less]["over"])
        weights.update({whole: -1})
        weights.update({below if less is None else less: 1})
    used = {rung: weight for rung, weight in weights.items() if weight}
    total = statistics.median(run.values(READY, str(every[name]["runtime"])))
    left = _combination(run, every, used)
    if total is None or left is None:
        return None
    return Remainder(name, total, total.value - left.value, left)


def _combination(run: RunData, every: Rungs, weights: Mapping[str, int]) -> Estimate | None:
    """A weighted sum of rungs' median READY, resampled jointly."""
    factors: Sequence[int] = tuple(weights.values())

    def weighted(*values: Floats, axis: int = -1) -> Floats:
        medians = (statistics.median_of(each, axis) for each in values)
        total = sum(f * m for f, m in zip(factors, medians, strict=True))
        return np.asarray(np.round(total, _DECIMALS))

    columns = [run.values(READY, str(every[name]["runtime"])) for name in weights]
    return statistics.combined(columns, weighted)
