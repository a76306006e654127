"""What the ramps of a run say: where each ended, what one more instance cost, how it was.

A trial is one ramp. Its slope is one value, and several ramps give an interval; what was read
on the way is kept as curves over the number of instances, one a ramp.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.statistics import Estimate
from harness.model import Outcome

EXPERIMENT = "density"
SLOPE = "density.slope"

Curve = Sequence[tuple[int, float]]
"""Values of one ramp by the number of instances, rising."""


@dataclass(frozen=True)
class Stopped:
    """The end of a ramp: how many instances it held, the rule, and the reason in words."""

    instances: int
    rule: str
    text: str


@dataclass(frozen=True)
class Density:
    """One runtime's ramps. `estimates` are medians over blocks by metric without prefix.

    `stops` are in the order of blocks; `reserve_bytes`, `touched_bytes` and `available_bytes`
    (before the ramp) are those of the last one.
    """

    runtime: str
    tried: int
    stops: tuple[Stopped, ...]
    estimates: Mapping[str, Estimate | None]
    touched_bytes: float
    reserve_bytes: float
    available_bytes: float

    @property
    def furthest(self) -> Stopped:
        """The ramp that held the most."""
        return max(self.stops, key=lambda stop: stop.instances)


ESTIMATED = ("slope", "slope_host", "remainder", "harness", "rate", "teardown")


def densities(run: RunData) -> tuple[Density, ...]:
    """The runtimes that ran ramps to an end, in the order of the scenario's list."""
    if not (run.tally["experiment"] == EXPERIMENT).any():
        return ()
    trials = run.trials[(run.trials["experiment"] == EXPERIMENT) & ~run.trials["warmup"]]
    names = list(dict.fromkeys(trials["runtime"]))
    order = {name: place for place, name in enumerate(run.manifest["scenario"]["runtimes"])}
    found = (
        _density(run, name, trials[trials["runtime"] == name])
        for name in sorted(names, key=lambda name: order.get(name, len(order)))
    )
    return tuple(each for each in found if each.stops)


def _density(run: RunData, runtime: str, trials: pd.DataFrame) -> Density:
    ended = trials[trials["outcome"] == Outcome.OK.value]
    held = run.values("density.instances", runtime)
    said = [dict(each) for each in ended["conditions"]]
    stops = tuple(
        Stopped(int(held[block]), str(told.get("stop", "")), str(told.get("stop_text", "")))
        for block, told in zip(ended["block"], said, strict=True)
        if block in held.index
    )
    last = said[-1] if said else {}
    return Density(
        runtime=runtime,
        tried=int((trials["outcome"] != Outcome.INTERRUPTED.value).sum()),
        stops=stops,
        estimates={
            name: statistics.median(run.values(f"density.{name}", runtime)) for name in ESTIMATED
        },
        touched_bytes=float(last.get("touched_bytes", 0)),
        reserve_bytes=float(last.get("reserve_bytes", 0)),
        available_bytes=float(last.get("available_before_bytes", 0)),
    )


def curves(
    run: RunData, metric: str, runtime: str, having: str = "", **dimensions: str
) -> tuple[Curve, ...]:
    """A curve a ramp from the samples of a metric that have these dimensions and `n`.

    With `having`, only of the ramps that have a sample of that metric too.
    """
    rows = run.samples
    if having:
        rows = rows[rows["trial"].isin(rows.loc[rows["metric"] == having, "trial"])]
    rows = rows[(rows["metric"] == metric) & (rows["runtime"] == runtime)]
    rows = rows[rows["outcome"] == Outcome.OK.value]
    ramps: dict[str, list[tuple[int, float]]] = {}
    for trial, text, value in zip(rows["trial"], rows["dimensions"], rows["value"], strict=True):
        said = json.loads(text)
        if "n" in said and said.items() >= dimensions.items():
            ramps.setdefault(trial, []).append((int(said["n"]), float(value)))
    return tuple(sorted(points) for points in ramps.values())


def rules(found: Density) -> Mapping[str, int]:
    """How many ramps ended by which rule."""
    return Counter(stop.rule for stop in found.stops)
