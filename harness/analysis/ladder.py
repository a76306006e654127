"""What each rung of the cost ladder adds, in turn and last, and what the sums leave over.

*In turn* is the median over blocks of a rung's READY less that of the rung below, in the same
block. *Last* is the same for the whole set less the set without this one mechanism: what it
adds when all others are there already. Where the two differ, mechanisms share work.

A chain leads from the first rung to one that nothing stands over. Its *remainder* is its last
rung's measured READY less the sum of costs that were timed independently of it: the first rung,
and then each rung's cost, last where that was measured, else in turn. With `last` left aside
the differences telescope, and the remainder is only what medians do not add up to.

All intervals resample whole blocks; those of remainders take the blocks that have every value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.analysis import statistics
from harness.analysis.derived import ADDED, READY, rungs
from harness.analysis.frames import RunData
from harness.analysis.statistics import Estimate

_DECIMALS = 10
"""Marks are whole nanoseconds: what is below a tenth of one is the arithmetic's own."""


@dataclass(frozen=True)
class Step:
    """One rung. `start` and `end` are seconds on the chain: the sum of the rungs to it.

    They are None where a rung below has no value. `main` says that it lies on the longest
    chain; the others are branches. `last` is what the mechanism adds last, where measured.
    """

    name: str
    runtime: str
    over: str | None
    main: bool
    ready: Estimate | None
    added: Estimate | None
    last: Estimate | None
    start: float | None
    end: float | None
    absent: str


@dataclass(frozen=True)
class Remainder:
    """A chain's measured total, the sum of its costs, and what is left, in seconds."""

    rung: str
    total: Estimate
    in_turn: float
    left_in_turn: Estimate | None
    independent: float | None
    left: Estimate | None


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


def read(run: RunData) -> Ladder | None:
    """The ladder of a run; None where it has none that was measured."""
    every: Rungs = {str(rung["name"]): rung for rung in rungs(run.manifest)}
    if not every or len(run.values(READY)) == 0:
        return None
    tree = {name: rung for name, rung in every.items() if rung.get("without") is None}
    leave_out = [rung for rung in every.values() if rung.get("without") is not None]
    main = set(_longest(tree))
    last = {str(rung["without"]): _last(run, rung) for rung in leave_out}
    ends: dict[str, float | None] = {}
    steps = []
    for name in _from_the_root(tree):
        steps.append(_step(run, tree, name, ends, last.get(name), name in main))
        ends[name] = steps[-1].end
    order = list(tree)
    steps.sort(key=lambda step: order.index(step.name))
    leaves = [n for n in tree if not any(rung.get("over") == n for rung in tree.values())]
    whole = str(leave_out[0]["over"]) if leave_out else None
    ends_of_chains = dict.fromkeys([*([whole] if whole else []), *leaves])
    found = (_remainder(run, every, name) for name in ends_of_chains)
    return Ladder(tuple(steps), whole, tuple(each for each in found if each is not None))


def path(tree: Rungs, name: str) -> list[str]:
    """The rungs from the first one to this one."""
    found = [name]
    while (over := tree[found[-1]].get("over")) is not None:
        found.append(str(over))
    return found[::-1]


def _longest(tree: Rungs) -> list[str]:
    return max((path(tree, name) for name in tree), key=len)


def _from_the_root(tree: Rungs) -> list[str]:
    return sorted(tree, key=lambda name: len(path(tree, name)))


def _step(
    run: RunData,
    tree: Rungs,
    name: str,
    ends: Mapping[str, float | None],
    last: Estimate | None,
    main: bool,
) -> Step:
    runtime, over = str(tree[name]["runtime"]), tree[name].get("over")
    ready = statistics.median(run.values(READY, runtime))
    added = statistics.median(run.values(ADDED, runtime))
    start = 0.0 if over is None else ends[over]
    own = ready if over is None else added
    end = None if start is None or own is None else start + own.value
    absent = "" if end is not None else _why(run, runtime, over, ready, added)
    return Step(name, runtime, over, main, ready, added, last, start, end, absent)


def _why(
    run: RunData, runtime: str, over: str | None, ready: Estimate | None, added: Estimate | None
) -> str:
    skipped = run.manifest.get("skipped", {}).get(runtime)
    if skipped:
        return str(skipped.get("reason", "skipped"))
    if ready is None:
        return "no launch succeeded" if (run.trials["runtime"] == runtime).any() else "not run"
    return f"{over} has no value" if added is None else f"a rung below {over} has no value"


def _last(run: RunData, rung: Mapping[str, str | None]) -> Estimate | None:
    """The whole set less the set without: the derived difference with its sign turned."""
    return statistics.median(-run.values(ADDED, str(rung["runtime"])))


def _remainder(run: RunData, every: Rungs, name: str) -> Remainder | None:
    """None where a rung of the chain has no value in any common block."""
    out = {str(r["without"]): r for r in every.values() if r.get("without") is not None}
    chain = path(every, name)
    total = run.values(READY, str(every[name]["runtime"]))
    first = run.values(READY, str(every[chain[0]]["runtime"]))
    turn = [run.values(ADDED, str(every[n]["runtime"])) for n in chain[1:]]
    alone = [
        -run.values(ADDED, str(out[n]["runtime"])) if n in out else values
        for n, values in zip(chain[1:], turn, strict=True)
    ]
    left_in_turn = statistics.combined([total, first, *turn], _left)
    estimate = statistics.median(total)
    if estimate is None or left_in_turn is None:
        return None
    left, independent = None, None
    if set(chain) & set(out):
        left = statistics.combined([total, first, *alone], _left)
        independent = statistics.combined([first, *alone], _sum)
    in_turn = statistics.combined([first, *turn], _sum)
    assert in_turn is not None  # its blocks are among those of the remainder
    return Remainder(
        name, estimate, in_turn.value, left_in_turn,
        None if independent is None else independent.value, left,
    )  # fmt: skip


def _sum(*costs: statistics.Floats, axis: int = -1) -> statistics.Floats:
    return np.asarray(sum(np.median(cost, axis=axis) for cost in costs))


def _left(total: statistics.Floats, *costs: statistics.Floats, axis: int = -1) -> statistics.Floats:
    """The median total less the sum of the medians of what it is made of."""
    left = np.median(total, axis=axis) - _sum(*costs, axis=axis)
    return np.asarray(np.round(left, _DECIMALS))
