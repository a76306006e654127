"""Bad input for minutes: every reader, the agent in a jail, and each reader led by coverage.

`TAREBENCH_FUZZ_S` is the time of one target, in seconds; what was tried is printed at the end.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.agent import Jail, jail, why_not
from tests.fuzz.campaign import Tally, by_atheris, by_hypothesis, once, table
from tests.fuzz.targets import targets

pytestmark = pytest.mark.integration
SECONDS = int(os.environ.get("TAREBENCH_FUZZ_S", "10"))
FEW = 40


@pytest.fixture(scope="module")
def tallies() -> Iterator[list[Tally]]:
    found: list[Tally] = []
    yield found
    os.write(1, f"\n{table(found)}\n".encode())


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def boxed() -> Iterator[Jail]:
    if why := why_not():
        pytest.skip(why)
    with jail() as made:
        yield made


def judge(tally: Tally, tallies: list[Tally]) -> None:
    tallies.append(tally)
    assert not tally.broken, (tally.broken, tally.culprit)
    assert tally.inputs


def test_the_agent_bears_a_few_garbled_requests(boxed: Jail) -> None:
    target = boxed.target()
    for seed in target.seeds:
        target.feed(seed, boxed.scratch())
    tally = Tally(target.name)
    once(target, tally, FEW, seed=0)
    assert not tally.broken, (tally.broken, tally.culprit)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 600)
def test_the_agent_bears_garbled_requests(boxed: Jail, tallies: list[Tally]) -> None:
    judge(by_hypothesis(boxed.target(), SECONDS * 4, first_seed=1), tallies)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize("name", sorted(targets()))
def test_a_reader_keeps_its_promises_for_long(name: str, tallies: list[Tally]) -> None:
    judge(by_hypothesis(targets()[name], SECONDS, first_seed=1), tallies)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.skipif(
    importlib.util.find_spec("atheris") is None,
    reason="atheris is not installed: pip install 'tarebench[fuzz]'",
)
@pytest.mark.parametrize("name", sorted(targets()))
def test_a_reader_keeps_its_promises_led_by_coverage(
    name: str, tallies: list[Tally], tmp_path: Path
) -> None:
    tally = by_atheris(targets()[name], SECONDS, tmp_path)
    tally.target = f"{name}*"
    judge(tally, tallies)
