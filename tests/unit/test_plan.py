"""Plans: seeded, complete, in random blocks, with their controls."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.experiments.bench import Bench
from harness.lineup import Entrant
from harness.model import Limits, Trial
from harness.plan import CONTROLS, HOST, make_plan
from harness.scenario import Scenario
from harness.settings import Experiments, Memory, Phases, Startup
from harness.workload import Workload

RUNTIMES = ["bare", "chroot", "runc", "crun", "docker", "qemu"]


def scenario(
    runtimes: list[str], blocks: int = 4, warmup_blocks: int = 1, phases: bool = False
) -> Scenario:
    return Scenario(
        name="s", title="", question="", description="", runtimes=runtimes,
        experiments=Experiments(
            startup=Startup(), memory=Memory(), phases=Phases() if phases else None
        ),
        workload=Workload(argv=["/usr/bin/true"]), limits=Limits(), blocks=blocks,
        warmup_blocks=warmup_blocks, thresholds={},
    )  # fmt: skip


def offers(runtimes: list[str]) -> dict[str, list[str]]:
    return {name: ["startup", "memory"] for name in runtimes}


def plan(seed: int = 1, blocks: int = 4, warmup_blocks: int = 1) -> list[Trial]:
    return list(make_plan(scenario(RUNTIMES, blocks, warmup_blocks), offers(RUNTIMES), seed))


def order(trials: list[Trial]) -> list[tuple[str, str]]:
    return [(trial.experiment, trial.runtime) for trial in trials]


def test_same_seed_gives_the_same_plan_and_another_seed_another() -> None:
    assert plan(1) == plan(1)
    assert order(plan(1)) != order(plan(2))
    assert Counter(order(plan(1)[:-1])) == Counter(order(plan(2)[:-1]))


def test_blocks_differ_in_their_order() -> None:
    trials = plan(blocks=5)
    blocks = [order([t for t in trials if t.block == n and not t.warmup]) for n in range(5)]
    assert len({tuple(block) for block in blocks}) == 5


def test_every_runtime_is_first_somewhen() -> None:
    firsts = {
        next(t.runtime for t in plan(seed) if t.experiment == "startup" and not t.warmup)
        for seed in range(60)
    }
    assert firsts == set(RUNTIMES)


def test_warm_up_comes_first_and_has_no_controls_and_no_memory() -> None:
    trials = plan(warmup_blocks=2)
    warm = [trial for trial in trials if trial.warmup]
    assert trials[: len(warm)] == warm
    assert Counter((t.runtime, t.block) for t in warm) == Counter(
        (name, block) for name in RUNTIMES for block in range(2)
    )
    assert {trial.experiment for trial in warm} == {"startup"}
    assert not [trial for trial in plan(warmup_blocks=0) if trial.warmup]


def test_first_measured_startup_is_repeated_last() -> None:
    trials = plan()
    first = next(t for t in trials if t.experiment == "startup" and not t.warmup)
    assert trials[-1].experiment == "repeat"
    assert trials[-1].runtime == first.runtime
    assert [t.experiment for t in trials].count("repeat") == 1


def test_runtime_that_is_not_offered_takes_no_part() -> None:
    trials = make_plan(scenario(RUNTIMES), offers(["bare", "runc"]), 3)
    assert {trial.runtime for trial in trials} == {"bare", "runc", HOST}


def test_experiment_is_planned_only_where_it_can_be_done() -> None:
    given = {"bare": ["startup"], "qemu": ["startup", "memory", "phases"]}
    trials = make_plan(scenario(["bare", "qemu"], phases=True), given, 3)
    assert {t.runtime for t in trials if t.experiment in ("memory", "phases")} == {"qemu"}
    assert {t.experiment for t in trials if t.warmup} == {"startup", "phases"}


def test_experiment_comes_in_as_many_blocks_as_its_table_says() -> None:
    tables = Experiments(startup=Startup(), memory=Memory(blocks=2))
    asked = msgspec.structs.replace(scenario(["bare"]), experiments=tables)
    measured = [trial for trial in make_plan(asked, offers(["bare"]), 1) if not trial.warmup]
    assert [t.block for t in measured if t.experiment == "memory"] == [0, 1]
    assert [t.block for t in measured if t.experiment == "startup"] == [0, 1, 2, 3]


def test_runtime_does_without_an_experiment_whose_table_says_so() -> None:
    tables = Experiments(startup=Startup(), memory=Memory(without=("bare",)))
    asked = msgspec.structs.replace(scenario(["bare", "runc"]), experiments=tables)
    bare, runc = (
        Entrant(cast("Bench", SimpleNamespace(runtime=SimpleNamespace(name=name))))
        for name in ("bare", "runc")
    )
    assert bare.experiments(asked) == ["startup"]
    assert runc.experiments(asked) == ["startup", "memory"]


@given(
    seed=st.integers(0, 2**32),
    names=st.lists(st.sampled_from(RUNTIMES), unique=True, min_size=1),
    blocks=st.integers(1, 8),
    warmup_blocks=st.integers(0, 3),
)
def test_every_block_holds_everything_once(
    seed: int, names: list[str], blocks: int, warmup_blocks: int
) -> None:
    trials = make_plan(scenario(names, blocks, warmup_blocks), offers(names), seed)
    assert [trial.trial for trial in trials] == sorted({trial.trial for trial in trials})
    expected = Counter(
        [("startup", name) for name in names]
        + [("memory", name) for name in names]
        + [(control, HOST) for control in CONTROLS]
    )
    measured = [t for t in trials if not t.warmup and t.experiment != "repeat"]
    assert [t.block for t in measured] == sorted(t.block for t in measured)
    for block in range(blocks):
        own = [t for t in measured if t.block == block]
        assert Counter(order(own)) == expected
        assert [t.position for t in own] == list(range(len(own)))
    assert len(measured) == blocks * sum(expected.values())
    assert sum(t.warmup for t in trials) == warmup_blocks * len(names)


@pytest.mark.parametrize("blocks", [1, 10])
def test_number_of_trials(blocks: int) -> None:
    assert len(plan(blocks=blocks)) == len(RUNTIMES) + blocks * (2 * len(RUNTIMES) + 2) + 1
