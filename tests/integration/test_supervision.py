"""A run is supervised: alone on its host, retried only where allowed, and never held for ever."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import events, readying
from harness.alone import VARIABLE
from harness.clock import Marks
from harness.cpuid import patience
from harness.errors import DeadlineExceeded
from harness.experiments.bench import Bench
from harness.imagecheck import built
from harness.inventory import cleaners
from harness.journal import Journal, records
from harness.lineup import Entrant, Lineup, assemble
from harness.model import Image, Instance, Mark, Outcome, Trial, TrialRecord
from harness.probes.conditions import Weather
from harness.runner import run_trial
from harness.scenario import load
from harness.spool import SpooledOutput
from harness.workload import Workload
from runtimes import guest_start
from runtimes.domain_parts import machines_by_uuid
from runtimes.guest_box import GuestBox
from runtimes.libvirt_domain import LibvirtDomain
from tests.command import Place, finish, read_lines
from tests.conftest import runtime_or_skip
from tests.hoststate import Ours
from tests.lab import Lab

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(built() is None, reason="the image is not built: tarebench image build"),
]

HANGING = ["run", "quick", "--runtime", "fake,fail=hang", "--repeat", "1"]
QUICK = ["run", "quick", "--runtime", "fake", "--repeat", "1", "--quiet"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """With a word of its own, so that runs of other tests are not in the way."""
    return Place(tmp_path, {VARIABLE: f"t-{secrets.token_hex(4)}"})


def manifest(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "manifest.json").read_bytes())
    return found


def guards(run: Path) -> dict[str, str]:
    return {guard["name"]: guard["value"] for guard in manifest(run)["guards"]}


def test_second_run_is_refused_by_name_and_forced_ones_say_so(place: Place) -> None:
    first, second = place.folder / "one", place.folder / "two"
    with place.started(*HANGING, "--out", str(first)) as process:
        read_lines(process, until="trial 1 of")
        elsewhere = {"TAREBENCH_STATE": str(place.folder / "another")}  # the host is the same
        said = place.tarebench(*QUICK, "--out", second, env=elsewhere)
        assert (said.status, said.out) == (3, "")
        assert f"another run goes on on this host: one (pid {process.pid})" in said.err
        assert "--force" in said.err
        assert not second.exists()
        said = place.tarebench(*QUICK, "--out", second, "--force", env=elsewhere)
        assert said.status == 0, said.err
        assert guards(second)["alone"] == f"beside one (pid {process.pid})"
        assert finish(process, signal.SIGINT).status == 130
    assert guards(first)["alone"].startswith("beside two (pid ")


def test_strict_refuses_a_noisy_host_and_names_who_is_busy(place: Place) -> None:
    out = place.folder / "run"
    spin = [sys.executable, "-c", "print(flush=True)\nwhile True: pass"]
    with subprocess.Popen(spin, stdout=subprocess.PIPE) as spinner:
        assert spinner.stdout is not None
        spinner.stdout.readline()
        said = place.tarebench(*QUICK, "--strict", "--out", out)
        spinner.kill()
    assert (said.status, said.out) == (3, ""), said.err
    assert "--strict: this host is not fit to measure on" in said.err
    (busy,) = [line for line in said.err.splitlines() if line.startswith("  busy: ")]
    assert f"(pid {spinner.pid}) " in busy
    assert "end what is named" in busy
    assert "hint: tarebench doctor" in said.err
    assert not out.exists()


def test_launch_that_fails_is_retried_where_the_scenario_says_so(place: Place) -> None:
    """Each second launch of this box fails; a trial here is one launch."""
    scenario = place.folder / "odd.toml"
    scenario.write_text(
        'name = "odd"\ntitle = "t"\nquestion = "q"\nwarmup_blocks = 0\nretries = 1\n'
        "[experiments.startup]\n"
    )
    said = place.tarebench(*QUICK[:1], scenario, "--runtime", "fake,fail=odd", *QUICK[4:])
    tried = [record for record in records(said.folder) if record.runtime != "host"]
    assert [record.outcome for record in tried] == ["ok"] * 2, said.err
    assert {record.conditions["retries"] for record in tried} == {1}
    assert {record.conditions["retried"] for record in tried} == {"this fake was told to fail"}
    assert guards(said.folder)["retried"] == "fake,fail=odd: 2 times"


DOCKER = "docker,network=none"


def attempt(lab: Lab, name: str, folder: Path, *, ready_s: float, job_s: float) -> TrialRecord:
    """One trial of `startup`, whose job speaks and then lasts a little."""
    setting = f"experiments.startup.ready_timeout_s={ready_s}"
    argv = ["/usr/bin/sh", "-c", "echo begun; exec sleep 0.2"]
    workload = Workload(argv=argv, timeout_s=job_s)
    scenario = load("quick", runtimes=[name], settings=[setting])
    lineup = Lineup({name: Entrant(replace(lab.bench(name), workload=workload))}, {})
    with Journal(folder) as journal, Weather() as weather:
        number = len(records(folder))
        trial = Trial(f"{number:05d}", "startup", name, number, 0)
        return run_trial(trial, lineup, scenario, journal, weather)


def do_at(patch: pytest.MonkeyPatch, mark: Mark, act: Callable[[], object]) -> None:
    """Do something once, as soon as the next launch has come to a mark."""
    at, todo = Marks.at, [act]

    def noted(self: Marks, found: Mark, ns: int) -> None:
        at(self, found, ns)
        if found is mark and todo:
            todo.pop()()

    patch.setattr(Marks, "at", noted)


@pytest.mark.slow
def test_engine_that_hangs_is_a_failed_trial(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """dockerd is stopped between a container's creation and its start, and goes on later."""
    runtime: Any = runtime_or_skip(lab, DOCKER)
    daemons = runtime.daemon_processes()
    if not daemons:
        pytest.skip("docker: the engine is shared with others, and not ours to stop")
    ready = attempt(lab, DOCKER, tmp_path, ready_s=60, job_s=60)
    assert ready.outcome is Outcome.OK, ready.reason
    before = Ours.of(lab.place).look()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(runtime._connected(), "timeout", 2.0)
            do_at(patch, Mark.CREATED, lambda: signal_all(daemons, signal.SIGSTOP))
            stuck = attempt(lab, DOCKER, tmp_path, ready_s=60, job_s=60)
    finally:
        signal_all(daemons, signal.SIGCONT)
    assert (stuck.outcome, stuck.samples) == (Outcome.TIMEOUT, [])
    assert "no answer in time" in stuck.reason
    after = attempt(lab, DOCKER, tmp_path, ready_s=60, job_s=60)
    assert after.outcome is Outcome.OK, after.reason
    for entry in lab.inventory_entries():  # as a run's end does: what stayed is still listed
        if entry.kind == "docker-container":
            cleaners()[entry.kind].remove(entry.name, entry.details)
            lab.context.inventory.removed(entry.kind, entry.name)
    assert "\n".join(Ours.of(lab.place).leaked(before, but=["descriptor", "thread"])) == ""


@pytest.mark.slow
@pytest.mark.parametrize("name", [DOCKER, "podman,network=none", "containerd", "libvirt-lxc"])
def test_daemon_that_hangs_while_a_runtime_is_prepared_is_told_and_the_others_go_on(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The daemon is stopped between the look at a runtime and its preparation."""
    runtime: Any = runtime_or_skip(lab, name)
    daemons = runtime.daemon_processes()
    if not daemons or runtime.shared_daemon:
        pytest.skip(f"{name}: its daemon is shared with others, and not ours to stop")
    first = attempt(lab, name, tmp_path, ready_s=60, job_s=60)
    assert first.outcome is Outcome.OK, first.reason
    before = Ours.of(lab.place).look()
    prepare = type(runtime).prepare

    def stop_and_prepare(self: Any, image: Image) -> None:
        signal_all(daemons, signal.SIGSTOP)
        prepare(self, image)

    told: list[events.Event] = []
    try:
        with monkeypatch.context() as patch, ExitStack() as stack:
            patch.setattr(type(runtime), "prepare", stop_and_prepare)
            patch.setattr(readying, "PREPARE_LIMIT_S", 2.0 / patience())
            lineup = assemble(
                load("quick", runtimes=[name, "bare"]), lab.image, lab.context, lab.place,
                frozenset(), told.append, stack,
            )  # fmt: skip
    finally:
        signal_all(daemons, signal.SIGCONT)
    assert list(lineup.entrants) == ["bare"]
    assert "could not be prepared within 2 s" in lineup.skipped[name].message
    assert [each.runtime for each in told if isinstance(each, events.Skipped)] == [name]
    for thread in threading.enumerate():  # what was given up ends, and lets go of the daemon
        if thread.name == f"preparing it: {name}":
            thread.join(60)
            assert not thread.is_alive()
    after = attempt(lab, name, tmp_path, ready_s=60, job_s=60)
    assert after.outcome is Outcome.OK, after.reason
    assert "\n".join(Ours.of(lab.place).leaked(before, but=["descriptor", "thread"])) == ""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["start", "job"])
def test_machine_that_hangs_is_a_failed_trial(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """QEMU is stopped when libvirt has started it, or in the middle of a job."""
    runtime_or_skip(lab, "qemu")
    before = Ours.of(lab.place).look()
    with monkeypatch.context() as patch:
        if moment == "start":
            do_at(patch, Mark.STARTED, lambda: signal_all(machines(lab), signal.SIGSTOP))
        else:
            stop_when_a_job_speaks(patch)
        stuck = attempt(lab, "qemu", tmp_path, ready_s=5 if moment == "start" else 120, job_s=5)
    assert stuck.outcome is Outcome.TIMEOUT, stuck.reason
    assert "\n".join(Ours.of(lab.place).leaked(before, but=["descriptor", "thread"])) == ""


@pytest.mark.slow
def test_machine_that_gives_libvirt_no_answer_is_killed(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libvirt itself waits for an answer of its QEMU without end."""
    runtime = runtime_or_skip(lab, "qemu")
    assert isinstance(runtime, LibvirtDomain)
    monkeypatch.setattr(guest_start, "_ANSWER_LIMIT_S", 1.0)
    uuids: list[str] = []

    def ask_one_that_is_stopped() -> None:
        with lab.instance("qemu") as box:
            assert isinstance(box, GuestBox)
            uuids.append(box.domain.uuid)
            handle = runtime._connect().handle.lookupByUUIDString(box.domain.uuid)
            assert guest_start.ask_accelerator(handle) == "tcg"
            os.kill(box.pid, signal.SIGSTOP)
            guest_start.ask_accelerator(handle)

    with pytest.raises(DeadlineExceeded, match="did not answer within 1 s, and was killed"):
        ask_one_that_is_stopped()
    assert list(machines_by_uuid(*uuids)) == []


def signal_all(pids: Sequence[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


def machines(lab: Lab) -> list[int]:
    """QEMUs of this lab."""
    return [each.pid for each in Ours.of(lab.place).processes() if "qemu-system" in each.command]


def stop_when_a_job_speaks(patch: pytest.MonkeyPatch) -> None:
    """Stops a box's first process as soon as its job has written something."""
    open_instance, hear = Bench.instance, SpooledOutput.add
    running: list[Instance] = []

    @contextmanager
    def noted(self: Bench, *given: Any, **named: Any) -> Iterator[Instance]:
        with open_instance(self, *given, **named) as box:
            running.append(box)
            yield box

    def heard(self: SpooledOutput, data: bytes) -> None:
        hear(self, data)
        while running:
            os.kill(running.pop().processes()[0], signal.SIGSTOP)

    patch.setattr(Bench, "instance", noted)
    patch.setattr(SpooledOutput, "add", heard)
