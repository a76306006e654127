"""Many containers end no later by us than by `docker rm -f` of as many."""

from __future__ import annotations

import contextlib
import os

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.clock import now_ns
from harness.errors import HarnessError
from harness.experiments.fleet import Fleet
from harness.process import find_program, run
from runtimes.docker import Docker
from runtimes.engine_store import RUN_LABEL
from tests.benchmarks.pairs import measure
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = [pytest.mark.benchmark, pytest.mark.slow]

COUNT = int(os.environ.get("TAREBENCH_TEARDOWN_COUNT", "24"))
"""The promise is about 300; so many take minutes to start."""

AT_ONCE = 4
ROUNDS = 5
TOLERANCE = 1.0


def fleet_of(lab: Lab) -> Fleet:
    """So many running containers."""
    fleet = Fleet(lambda marks: lab.instance("docker,network=none", None, marks))
    while len(fleet) < COUNT:
        fleet.launch(min(AT_ONCE, COUNT - len(fleet)))
    return fleet


def test_teardown_against_docker_rm(benchmark: BenchmarkFixture, lab: Lab) -> None:
    """Ours asks each box to end, waits, removes it and its folders; the peer kills."""
    runtime = runtime_or_skip(lab, "docker,network=none")
    assert isinstance(runtime, Docker)
    docker = find_program("docker")
    if docker is None:
        pytest.skip("the docker command is not installed")
    client = [docker, "--host", runtime._host]

    def ours() -> float:
        return fleet_of(lab).end()

    def peer() -> float:
        fleet = fleet_of(lab)
        listed = run([*client, "ps", "-q", "--filter", f"label={RUN_LABEL}={lab.place.run_id}"])
        names = listed.stdout.decode().split()
        assert len(names) == COUNT
        begin = now_ns()
        run([*client, "rm", "--force", "--volumes", *names])
        seconds = (now_ns() - begin) / 1e9
        with contextlib.suppress(HarnessError):  # ours finds them gone
            fleet.end(abruptly=True)
        return seconds

    pairs = measure(benchmark, ours, peer, ROUNDS)
    assert pairs.ratio_low() <= TOLERANCE
