"""What the harness adds to a job: from the call until its end is known, against spawn and wait.

The job runs in a box that is there already (`bare`, so that the box itself adds nothing), by
the agent, with its output carried over the channel and its end stamped. The peer is the same
command, started by posix_spawn from this process and waited for. That difference is what every
trial which runs a job pays for being measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.clock import now_ns
from harness.model import Instance, Job
from harness.process import spawn
from runtimes.bare import unboxed
from tests.benchmarks.pairs import Pairs, measure
from tests.lab import Lab

pytestmark = [pytest.mark.benchmark, pytest.mark.slow]

SHELL = "/usr/bin/busybox"
COUNTING = "i=0; while [ $i -lt {} ]; do i=$((i+1)); done"


@pytest.fixture
def box(lab: Lab) -> Iterator[Instance]:
    """One bare box for all rounds."""
    lab.runtime("bare")
    with lab.instance("bare") as instance:
        yield instance


def compare(
    benchmark: BenchmarkFixture, lab: Lab, box: Instance, argv: Sequence[str], rounds: int
) -> Pairs:
    """Seconds of the job by the harness, and of the same command by itself."""
    command = unboxed(lab.image.root, argv)

    def ours() -> float:
        begin = now_ns()
        done = box.run(Job(argv))
        took_ns = now_ns() - begin
        assert done.exit_status == 0
        return took_ns / 1e9

    def peer() -> float:
        begin = now_ns()
        with spawn(command) as process:
            assert process.wait() == 0
        return (now_ns() - begin) / 1e9

    return measure(benchmark, ours, peer, rounds)


def test_a_short_job_costs_at_most_three_milliseconds_more(
    benchmark: BenchmarkFixture, lab: Lab, box: Instance
) -> None:
    pairs = compare(benchmark, lab, box, [SHELL, "true"], rounds=60)
    assert pairs.difference_low() <= 0.003


def test_a_job_of_100_ms_takes_at_most_five_percent_longer(
    benchmark: BenchmarkFixture, lab: Lab, box: Instance
) -> None:
    steps = 20_000
    while True:  # as many steps as take this machine a tenth of a second
        argv = [SHELL, "sh", "-c", COUNTING.format(steps)]
        begin = now_ns()
        box.run(Job(argv))
        if now_ns() - begin >= 120_000_000:
            break
        steps *= 2
    pairs = compare(benchmark, lab, box, argv, rounds=30)
    benchmark.extra_info["steps"] = steps
    assert min(pairs.peer) > 0.02
    assert pairs.ratio_low() <= 1.05
