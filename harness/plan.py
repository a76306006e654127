"""From a scenario to its trials: seeded randomised blocks, with controls around them.

A block is one pass over all runtimes: each experiment once on each, in random order, but those
that are asked for in fewer blocks, which come in the first ones. A canary and a floor stand in
every block; the first measured trial is repeated at the very end, so
that an order effect shows. The same scenario, runtimes and seed give the same plan.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from harness.model import Trial
from harness.scenario import Scenario

HOST = "host"
"""The runtime column of controls, which measure the host and the harness themselves."""

CONTROLS = ("canary", "floor")


def make_plan(
    scenario: Scenario, offers: Mapping[str, Sequence[str]], seed: int
) -> Sequence[Trial]:
    """All trials in the order of execution.

    `offers` maps each runtime that takes part to the experiments it can do.
    """
    chance = random.Random(seed)
    trials: list[Trial] = []
    chosen = scenario.experiments.chosen()
    warmed = [name for name, settings in chosen.items() if settings.warmed]
    for block in range(scenario.warmup_blocks):
        pairs = _pairs(scenario, offers, warmed)
        _add_block(trials, chance, pairs, block, warmup=True)
    for block in range(scenario.blocks):
        pairs = _pairs(scenario, offers, [n for n, own in chosen.items() if own.within(block)])
        _add_block(trials, chance, [*pairs, *((name, HOST) for name in CONTROLS)], block)
    first = next((t for t in trials if t.experiment == "startup" and not t.warmup), None)
    if first is not None:
        _add(trials, "repeat", first.runtime, scenario.blocks - 1, len(trials), False)
    return trials


def _pairs(
    scenario: Scenario, offers: Mapping[str, Sequence[str]], experiments: Sequence[str]
) -> list[tuple[str, str]]:
    return [
        (experiment, runtime)
        for runtime in scenario.runtimes
        if runtime in offers
        for experiment in experiments
        if experiment in offers[runtime]
    ]


def _add_block(
    trials: list[Trial],
    chance: random.Random,
    pairs: Sequence[tuple[str, str]],
    block: int,
    warmup: bool = False,
) -> None:
    order = list(pairs)
    chance.shuffle(order)
    for position, (experiment, runtime) in enumerate(order):
        _add(trials, experiment, runtime, block, position, warmup)


def _add(
    trials: list[Trial], experiment: str, runtime: str, block: int, position: int, warmup: bool
) -> None:
    trials.append(
        Trial(
            trial=f"{len(trials):05d}", experiment=experiment, runtime=runtime,
            block=block, position=position, warmup=warmup,
        )
    )  # fmt: skip
