"""The one suite, faults: a box that breaks or is killed is told of, and nothing is ever left."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from harness.cpuid import patience
from harness.experiments.bench import Bench
from harness.journal import Journal, records
from harness.lineup import Entrant, Lineup
from harness.model import Instance, Outcome, Trial
from harness.probes.conditions import Weather
from harness.runner import run_trial
from harness.scenario import Scenario, load
from harness.spool import SpooledOutput
from harness.workload import Workload
from tests.contract.subject import GIVEN, SHELL, Subject
from tests.hoststate import Ours, settled
from tests.lab import Lab

pytestmark = pytest.mark.contract

_AT_ONCE = 2
_SOME = 20
_SLOW_TIMEOUT_S = 1800


def test_instance_that_breaks_inside_is_torn_down(subject: Subject, lab: Lab) -> None:
    pids: list[int] = []

    def break_inside() -> None:
        with lab.instance(subject.name, GIVEN) as box:
            pids.extend(box.processes()[:1])
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        break_inside()
    assert not any(map(runs, pids))  # at once; what has no parent any more is reaped by PID 1
    assert settled(lambda: [told for pid in pids if (told := seen(pid))]) == []


def seen(pid: int) -> str:
    """What a process is and whose; empty when there is none."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            parent = psutil.Process(process.ppid())
            return f"{pid} {process.name()}, {process.status()}, of {parent}"
    except psutil.NoSuchProcess:
        return ""


def runs(pid: int) -> bool:
    """Whether a process is there and not dead."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_kill_from_outside_is_a_failed_record_and_the_run_goes_on(
    subject: Subject, lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process that a box costs is killed in the middle of a job: init, VMM, monitor, shim."""
    bench = lab.bench(subject.name, GIVEN)
    before = Ours.of(lab.place).look()
    with Journal(tmp_path) as journal, Weather() as weather:

        def attempt(script: str, number: int) -> None:
            workload = Workload(argv=[SHELL, "sh", "-c", script])
            trial = Trial(str(number), "startup", subject.name, number, 0)
            lineup = Lineup({subject.name: Entrant(replace(bench, workload=workload))}, {})
            run_trial(trial, lineup, scenario(subject), journal, weather)

        for number in range(len(subject.box.processes())):
            with monkeypatch.context() as patch:
                kill_when_a_job_speaks(patch, number)
                attempt("echo begun; exec sleep 3", number)  # a box may bear it to its end
        attempt("echo whole", number + 1)
    *killed, last = records(tmp_path)
    assert killed[0].outcome is Outcome.FAILED
    for record in killed:  # a box may go on without its monitor, and end well
        assert (record.outcome is Outcome.OK) == (not record.reason) == bool(record.samples)
    assert (last.outcome, last.reason) == (Outcome.OK, "")
    left = Ours.of(lab.place).leaked(before, but=["descriptor"])  # the next test counts them
    assert "\n".join(left) == ""


def scenario(subject: Subject) -> Scenario:
    return load("quick", runtimes=[subject.name])


def kill_when_a_job_speaks(patch: pytest.MonkeyPatch, number: int) -> None:
    """Kills one of a box's processes, from outside, as soon as its job has written something."""
    open_instance, hear = Bench.instance, SpooledOutput.add
    running: list[Instance] = []

    @contextmanager
    def noted(self: Bench, *given: object, **named: object) -> Iterator[Instance]:
        with open_instance(self, *given, **named) as box:  # type: ignore[arg-type]
            running.append(box)
            yield box

    def heard(self: SpooledOutput, data: bytes) -> None:
        hear(self, data)
        while running:
            os.kill(running.pop().processes()[number], signal.SIGKILL)

    patch.setattr(Bench, "instance", noted)
    patch.setattr(SpooledOutput, "add", heard)


@pytest.mark.parametrize(
    "launches",
    [
        pytest.param(_SOME, id="some"),
        pytest.param(
            200, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(_SLOW_TIMEOUT_S)]
        ),
    ],
)
def test_launches_leak_nothing(subject: Subject, lab: Lab, launches: int) -> None:
    if subject.is_machine:
        launches = min(launches, 50)
    # The plain form leaves as many kinds of things, and a guest in the lab boots for a minute.
    in_lab = subject.is_machine and patience() > 1
    if (in_lab or not subject.is_plain) and launches == _SOME:
        launches = _AT_ONCE if subject.is_machine else 6  # each machine boots a kernel

    def launch(_: int) -> None:
        with lab.instance(subject.name, GIVEN) as box:
            assert box.processes()

    # What is made once and kept is made by the first: the Docker SDK, which is the hungriest,
    # keeps a connection for each of its last 25 requests.
    first = _AT_ONCE if subject.is_machine else 4 * _AT_ONCE
    with ThreadPoolExecutor(_AT_ONCE) as pool:  # guests boot on as many processors as there are
        list(pool.map(launch, range(first)))
        ours = Ours.of(lab.place)
        before = ours.look()
        list(pool.map(launch, range(launches)))
        assert "\n".join(ours.leaked(before)) == ""
