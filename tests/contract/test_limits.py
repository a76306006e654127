"""The one suite, limits: what a runtime says that it enforces, it enforces."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median

import pytest

from harness.errors import ChannelError
from harness.experiments import limits as limit_checks
from harness.model import MIB, Instance, Job, Limits, RuntimeClass, Support
from harness.probes import cpu
from tests.contract.subject import GIVEN, SHELL, Subject, shell
from tests.lab import Lab

pytestmark = pytest.mark.contract

TOO_MUCH_BYTES = 320 * MIB
_BUSY = ["/usr/bin/sysbench", "cpu", "--time=1", "run"]
_ENOUGH_CPU = 0.85
_MOST_PAIRS = 5


def test_limits_hold_as_seen_from_inside(subject: Subject) -> None:
    support = subject.runtime.probe().limits
    kind = subject.runtime.runtime_class
    assert limit_checks.mismatches(subject.box, kind, GIVEN, support) == []
    wrong = Limits(cpus=3, memory_bytes=64 * MIB, pids=7)
    found = limit_checks.mismatches(subject.box, kind, wrong, support)
    supported = [support.cpus, support.memory, support.pids].count(Support.SUPPORTED)
    assert len(found) == supported


def test_memory_limit_kills(subject: Subject, lab: Lab) -> None:
    if subject.runtime.probe().limits.memory is not Support.SUPPORTED:
        pytest.skip(f"{subject.name} does not limit memory, and says so")
    greedy = Job([SHELL, "dd", "if=/dev/zero", "of=/dev/null", "bs=400M", "count=1"])
    if subject.runtime.runtime_class is RuntimeClass.SANDBOX:  # its kernel dies with the job
        with pytest.raises(ChannelError), lab.instance(subject.name, GIVEN) as box:
            box.run(greedy)
    else:
        assert subject.box.run(greedy).exit_status != 0
    assert subject.box.run(shell("exit 0")).exit_status == 0


def test_touching_more_than_the_limit_fails_and_ends(subject: Subject, lab: Lab) -> None:
    if subject.runtime.probe().limits.memory is not Support.SUPPORTED:
        pytest.skip(f"{subject.name} does not limit memory, and says so")
    with (
        pytest.raises(ChannelError, match="could not touch"),
        lab.instance(subject.name, GIVEN) as box,
    ):
        box.touch(TOO_MUCH_BYTES)
    assert subject.box.run(shell("exit 0")).exit_status == 0


def test_more_processes_than_the_limit_cannot_be_forked(subject: Subject, lab: Lab) -> None:
    if subject.runtime.probe().limits.pids is not Support.SUPPORTED:
        pytest.skip(f"{subject.name} does not limit processes, and says so")
    assert GIVEN.pids is not None
    forks = f"for i in $(seq {GIVEN.pids + 50}); do sleep 300 & echo $i; done"
    if subject.runtime.runtime_class is RuntimeClass.SANDBOX:
        # Its kernel's own threads are what is counted on the host, and it dies of the limit.
        with pytest.raises(ChannelError), lab.instance(subject.name, GIVEN) as box:
            box.run(shell(forks))
        return
    done = subject.box.run(shell(forks))
    assert b"can't fork" in done.stderr.read()
    made = len(done.stdout.read().split())
    assert GIVEN.pids // 2 < made < GIVEN.pids
    assert subject.box.run(shell("exit 0")).exit_status == 0


def test_half_a_cpu_is_half_the_speed(subject: Subject, lab: Lab) -> None:
    facts = subject.runtime.probe()
    if facts.limits.cpus is not Support.SUPPORTED:
        pytest.skip(f"{subject.name} does not limit CPU time, and says so")
    if any("fraction of a CPU" in note for note in facts.notes):
        pytest.skip(f"{subject.name} cannot limit a fraction of a CPU here, and says so")
    found = Pairs()
    with lab.instance(subject.name, Limits(cpus=0.5, memory_bytes=GIVEN.memory_bytes)) as half:
        if subject.is_machine:  # what is translated for the first time costs half of a short job
            for box in (subject.box, half):
                speed(subject, box)
        while not found.enough:
            found.add(speed(subject, subject.box), speed(subject, half))
    if found.says_nothing:
        pytest.skip(f"{subject.name}: the host was too busy to tell half a CPU from a whole one")
    found.check()


@dataclass
class Pairs:
    """Whole and half, one right after the other, so that what slows the host slows both.

    Each is a speed and the CPUs that the host gave. A single pair is enough where it says what it
    should; else more are taken and medians decide, of all of them: nothing is rolled again. A
    limit that does not hold is not found to hold by trying: its ratio is 1 in every pair.
    """

    whole: list[tuple[float, float]] = field(default_factory=list)
    half: list[tuple[float, float]] = field(default_factory=list)

    def add(self, whole: tuple[float, float], half: tuple[float, float]) -> None:
        self.whole.append(whole)
        self.half.append(half)

    @property
    def half_cpu(self) -> float:
        """The most that the limited one was given in any of its spans."""
        return max(cpus for _, cpus in self.half)

    @property
    def speed_ratio(self) -> float:
        return median(h / w for (w, _), (h, _) in zip(self.whole, self.half, strict=True))

    @property
    def cpu_ratio(self) -> float:
        return median(h / w for (_, w), (_, h) in zip(self.whole, self.half, strict=True))

    @property
    def enough(self) -> bool:
        """Whether the host gave what was asked, and the speeds follow; at last, in any case."""
        if not self.whole:
            return False
        given = median(cpus for _, cpus in self.whole) > _ENOUGH_CPU
        follows = self.speed_ratio == pytest.approx(self.cpu_ratio, rel=0.2)
        return len(self.whole) >= _MOST_PAIRS or (given and follows)

    @property
    def says_nothing(self) -> bool:
        """Whether other tenants left both so little that a limit could not have been seen."""
        return self.half_cpu < 0.65 and self.cpu_ratio > 0.85

    def check(self) -> None:
        """The limit holds, whatever other tenants of the host take, and speed follows CPU time."""
        assert self.half_cpu < 0.65
        assert self.speed_ratio == pytest.approx(self.cpu_ratio, rel=0.4), self


@pytest.mark.parametrize(
    ("pairs", "holds"),
    [
        ([((1000, 0.98), (490, 0.49))], True),
        ([((1000, 0.98), (280, 0.49)), *[((1000, 0.98), (480, 0.49))] * 2], True),
        ([((600, 0.6), (470, 0.49))] * 5, True),
        ([((600, 0.6), (590, 0.6))] * 5, None),
        ([((1000, 0.98), (990, 0.97))], False),
        ([((600, 0.6), (590, 0.6)), *[((1000, 0.98), (990, 0.97))] * 2], False),
        ([((1000, 0.98), (950, 0.49))] * 5, False),
        ([((1000, 0.98), (250, 0.49))] * 5, False),
    ],
    ids=["enforced", "a bad pair", "busy host", "too busy", "not enforced",
         "not enforced, busy host", "faster than its time", "slower than its time"],
)  # fmt: skip
def test_a_limit_that_does_not_hold_is_not_found_to_hold(
    pairs: Sequence[tuple[tuple[float, float], tuple[float, float]]], holds: bool | None
) -> None:
    found, rest = Pairs(), iter(pairs)
    while not found.enough:
        found.add(*next(rest))
    assert next(rest, None) is None, "as many as are needed, and no more"
    assert found.says_nothing == (holds is None)
    with contextlib.nullcontext() if holds is not False else pytest.raises(AssertionError):
        found.check()


def speed(subject: Subject, box: Instance) -> tuple[float, float]:
    """Events a second of the host's clock, and the CPUs that the host gave meanwhile."""
    before = sum(cpu.process_s(pid) or 0.0 for pid in box.processes())
    done = box.run(Job(_BUSY))
    given_s = sum(cpu.process_s(pid) or 0.0 for pid in box.processes()) - before
    if subject.runtime.runtime_class.shares_kernel:  # the job is a process of its own
        given_s = done.cpu_s
    host_s = (done.ended_ns - done.started_ns) / 1e9
    events = re.search(rb"total number of events:\s+(\d+)", done.stdout.read())
    assert events is not None
    return int(events[1]) / host_s, given_s / host_s
