"""What the sampler costs: at 10 Hz and with 50 real containers, under 2 % of a core.

Where the boxes do nothing it reads ten times a second. Where each of them works between any two
readings it may have to read more seldom, which `achieved_hz` tells.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness import series
from harness.model import Instance, Trial
from harness.probes import cpu, sampling
from harness.probes.sampler import MOST_OF_A_CORE
from tests.benchmarks.pairs import median_low
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = [pytest.mark.benchmark, pytest.mark.slow]

BOXES = 50
WINDOWS = 12
LIMIT = 0.02


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "all-busy"])
def test_sampler_of_fifty_containers(
    benchmark: BenchmarkFixture, lab: Lab, tmp_path: Path, busy: bool
) -> None:
    """Its CPU time over windows of a second, PSS included; `busy` boxes do some work between
    any two readings, so that all their counters are looked at."""
    runtime_or_skip(lab, "crun")
    shares: list[float] = []
    with ExitStack() as stack:
        watching = stack.enter_context(sampling.start(tmp_path, 10))
        stack.enter_context(watching.trial(Trial("00000", "density", "crun", 0, 0)))
        boxes = [stack.enter_context(lab.instance("crun")) for _ in range(BOXES)]
        for number, box in enumerate(boxes):
            stack.enter_context(watching.instance(f"box-{number}", box))
        pid = sampler_pid()
        benchmark.pedantic(
            lambda: shares.append(share_of_a_second(pid, boxes if busy else ())),
            rounds=WINDOWS, warmup_rounds=1,
        )  # fmt: skip
    cost = sampling.cost(tmp_path)
    assert cost is not None
    assert cost.instances == BOXES
    bytes_ = (tmp_path / series.RAW).stat().st_size
    benchmark.extra_info.update(
        shares=shares[1:], achieved_hz=cost.achieved_hz, tick_s_max=cost.tick_ns_max / 1e9,
        bytes_a_reading=bytes_ / max(1, cost.ticks) / BOXES,
    )  # fmt: skip
    assert median_low(shares[1:]) < LIMIT == MOST_OF_A_CORE
    assert cost.achieved_hz > (8 if busy else 9.5)


def share_of_a_second(pid: int, busy: Sequence[Instance]) -> float:
    """The process's share of a core over a second, in which these boxes work ten times."""
    before, begin_s = cpu.process_s(pid), time.monotonic()
    for _ in range(10):
        for box in busy:
            box.round_trip_ns()
        Event().wait(0.1)  # a length of time is what is measured
    after = cpu.process_s(pid)
    assert before is not None
    assert after is not None
    return (after - before) / (time.monotonic() - begin_s)


def sampler_pid() -> int:
    """Our only child that is a sampler."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    (found,) = [
        int(pid)
        for pid in children
        if b"harness.probes.sampler" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return found
