"""Profile kvm: the true KVM path, in a machine whose processor QEMU emulates with SVM."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import psutil
import pytest

from harness import paths
from harness.analysis.frames import load_run
from harness.errors import EnvironmentRefused
from harness.image.forms import overlay_disk
from harness.journal import records
from harness.lab import machine
from harness.lab.build import build
from harness.lab.recipe import find_profile
from harness.lab.running import Wish, session
from tests.command import finish, read_lines
from tests.laboratory.conftest import Lab, check_complete, runtimes

QUICK = ("tarebench", "run", "quick", "--repeat", "1")


def test_the_doctor_finds_kvm_and_an_emulated_host(lab: Lab) -> None:
    said = lab.run("tarebench", "doctor", "--runtime", "kvm", "--json")
    assert said.status == 0, said.err
    found = json.loads(said.out)
    (kvm,) = [state for state in found["runtimes"] if state["name"] == "kvm"]
    assert (kvm["status"], kvm["accel"]) == ("ready", "kvm"), kvm
    (guard,) = [guard for guard in found["guards"] if guard["name"] == "nesting"]
    assert (guard["value"], guard["severity"]) == ("QEMU TCG", "block")
    assert found["host"]["emulated"] is True


def test_quick_runs_under_kvm_and_proves_it(lab: Lab) -> None:
    said = lab.run(*QUICK, *runtimes("kvm", "kvm,machine=microvm", "runc", "bare"))
    assert said.status == 0, said.err
    run = lab.only_run()
    check_complete(run)
    machines = [record for record in records(run) if record.runtime.startswith("kvm")]
    assert {record.accel for record in machines} == {"kvm"}
    proof = (run / "lab" / "proof.txt").read_text()
    assert '"enabled": true' in proof
    assert "kvm_amd" in proof
    assert "svm" in proof
    assert load_run(run).manifest["host"]["emulated"] is True
    refused = lab.place.tarebench("export", run, "--to", "reference")
    assert refused.status == 2
    assert "emulated host" in refused.err


def test_the_contract_suite_passes_on_kvm(lab: Lab) -> None:
    """But for the proof of a guest's whole image, minutes in software: `quick` makes it above."""
    lab.contract("kvm and not runsc and not whole_image", "kvm")


def test_a_ramp_of_guests_that_is_killed_is_cleaned_and_goes_on(lab: Lab) -> None:
    said = lab.run("python", "-m", "tests.laboratory.inside")
    assert said.status == 0, said.err[-6000:]
    assert "killed with a guest, and cleaned" in said.out


def test_a_run_goes_on_after_the_power_was_lost(lab: Lab, tmp_path: Path) -> None:
    disk = tmp_path / "kept.qcow2"
    named = runtimes("bare", "kvm,machine=microvm")
    kept = ("lab", "run", "--profile", "kvm", "--keep", disk, "--")
    with lab.place.started(*kept, *QUICK, *named) as process:
        read_lines(process, until="block 0: trial")
        (qemu,) = [p for p in psutil.Process(process.pid).children() if "qemu" in p.name()]
        qemu.kill()
        said = finish(process, signal.SIGCONT)
    assert said.status == 1
    assert "the lab's machine ended under tarebench" in said.err
    resumed = lab.run("tarebench", "resume", "latest", options=("--keep", str(disk)))
    assert resumed.status == 0, resumed.err
    run = lab.only_run()
    check_complete(run)
    assert "block 0" in resumed.err
    assert "warm-up" not in resumed.err, "a trial that was finished is done again"


def test_a_processor_without_virtualization_is_refused(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is booted from a disk that is kept: no state of such a machine is worth saving."""
    monkeypatch.setattr(machine, "CPU", machine.CPU.replace("+svm,+npt", "-svm,-npt"))
    profile, disk = find_profile("kvm"), tmp_path / "disk.qcow2"
    overlay_disk(build(paths.cache(), profile.disk, print).base, disk)
    wish = Wish(profile, profile.memory_bytes, keep=disk)
    with pytest.raises(EnvironmentRefused, match="lacks svm and npt"), session(wish):
        pytest.fail("it is used")
    lab.checks += 1


def test_a_command_that_never_ends_is_given_up(lab: Lab) -> None:
    said = lab.run("sleep", "infinity", options=("--limit", "10s"))
    assert said.status == 1
    assert "sleep infinity did not end in time; the lab's console ends:" in said.err


def test_a_lab_that_is_killed_leaves_nothing_running(lab: Lab) -> None:
    with lab.place.started("lab", "run", "--profile", "kvm", "--", "sh", "-c",
                           "echo the command goes on >&2; sleep infinity") as process:  # fmt: skip
        read_lines(process, until="the command goes on")
        (qemu,) = [p for p in psutil.Process(process.pid).children() if "qemu" in p.name()]
        process.kill()
        qemu.wait(30)
    assert lab.place.tarebench("clean").status == 0
