"""Machines for real: guests boot, are what they say, and leave nothing, however they end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from harness.clock import Marks, now_ns
from harness.errors import (
    ChannelError,
    DeadlineExceeded,
    HarnessError,
    LaunchFailed,
    RuntimeUnavailable,
)
from harness.inventory import Entry
from harness.model import MIB, Balloons, GuestMemory, Instruments, Job, Limits, Mark, Runtime
from runtimes import libvirt_domain
from runtimes.domain_parts import machines_by_uuid
from runtimes.guest_box import GuestBox
from runtimes.libvirt_domain import Kvm, LibvirtDomain, Qemu
from runtimes.libvirt_start import domains
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = pytest.mark.integration

MACHINES = ("qemu", "qemu,machine=microvm")
SLOWEST_VERDICT_S = 40.0


def machine(lab: Lab, name: str) -> LibvirtDomain:
    runtime: object = runtime_or_skip(lab, name)
    assert isinstance(runtime, LibvirtDomain)
    return runtime


def guests() -> list[int]:
    """Pids of this process's own guests: the embedded driver's folder is on their command line."""
    mine = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if line.split(b"\0")[0].endswith(b"qemu-system-x86_64") and parent == os.getpid():
            mine.append(int(entry.name))
    return mine


def pids_in(group: Path) -> list[int]:
    return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]


@pytest.mark.parametrize("name", MACHINES)
def test_a_guest_boots_and_ends(lab: Lab, name: str) -> None:
    machine(lab, name)
    marks = Marks()
    with lab.instance(name, Limits(cpus=2, memory_bytes=192 * MIB), marks) as box:
        assert isinstance(box, GuestBox)
        assert isinstance(box, GuestMemory)
        assert not isinstance(box, Balloons)
        assert box.accel == "tcg"
        assert box.processes() == (*guests(),)
        facts = box.facts()
        assert (facts["pid"], facts["cpus"]) == ("1", "2")
        total = int(facts["meminfo"].split()[1]) * 1024
        assert 128 * MIB < total < 192 * MIB
        assert 32 * MIB < box.guest_memory_bytes() <= 192 * MIB
        done = box.run(Job(["/usr/bin/busybox", "uname", "-r"]))
        assert done.stdout.read().decode().strip() in facts["kernel"]
    order = [Mark.REQUEST, Mark.VMM, Mark.STARTED, Mark.READY, Mark.STOP, Mark.EXITED, Mark.REMOVED]
    assert [str(mark) for mark in order] == list(marks.freeze())
    assert not guests()


@pytest.mark.parametrize(
    "name",
    ["qemu,balloon=on", pytest.param("qemu,balloon=on,machine=microvm", marks=pytest.mark.slow)],
)
def test_a_balloon_gives_back_what_the_guest_kept(lab: Lab, name: str) -> None:
    machine(lab, name)
    with lab.instance(name, Limits(memory_bytes=128 * MIB)) as box:
        assert isinstance(box, Balloons)
        assert isinstance(box, GuestMemory)
        box.touch(48 * MIB)
        held = box.guest_memory_bytes()
        assert held > 80 * MIB
        box.release()
        assert box.guest_memory_bytes() > held - 4 * MIB
        box.inflate(48 * MIB)
        assert box.guest_memory_bytes() < held - 40 * MIB
        assert box.round_trip_ns()[0] > 0


def test_the_least_memory_boots(lab: Lab) -> None:
    machine(lab, "qemu,machine=microvm")
    with lab.instance("qemu,machine=microvm", Limits()) as box:
        assert box.facts()["cpus"] == "1"


def test_a_fraction_of_a_cpu_is_a_quota(lab: Lab) -> None:
    runtime = machine(lab, "qemu,machine=microvm")
    if any("cannot be limited" in note for note in runtime.probe().notes):
        pytest.skip("no control groups in which one thread can lie")
    with lab.instance("qemu,machine=microvm", Limits(cpus=1.5)) as box:
        assert box.facts()["cpus"] == "2"
        quotas = [file for group in box.cgroups() if (file := group / "cpu.cfs_quota_us").exists()]
        assert [file.read_text().strip() for file in quotas[:1]] in ([], ["150000"])
        members = {pid for group in box.cgroups() for pid in pids_in(group)}
        assert members == set(box.processes())


def test_several_guests_at_once(lab: Lab) -> None:
    machine(lab, "qemu,machine=microvm")

    def one(_: int) -> int:
        with lab.instance("qemu,machine=microvm") as box:
            return int(box.run(Job(["/usr/bin/busybox", "true"])).exit_status or 0)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, range(2))) == [0, 0]
    assert not guests()


@pytest.mark.parametrize(
    "name", [pytest.param("qemu", marks=pytest.mark.slow), "qemu,machine=microvm"]
)
def test_an_instrumented_guest_shows_its_kernel(lab: Lab, name: str) -> None:
    runtime: object = machine(lab, name)
    assert isinstance(runtime, Instruments)
    lab.runtimes[f"{name} instrumented"] = runtime.instrumented()
    marks = Marks()
    with lab.instance(f"{name} instrumented", marks=marks):
        pass
    kernel = marks.get(Mark.KERNEL)
    assert kernel is not None
    assert (marks.get(Mark.VMM) or 0) < kernel < (marks.get(Mark.READY) or 0)


@pytest.fixture
def hanging(lab: Lab, tmp_path: Path) -> Iterator[str]:
    """A runtime whose guests have no init."""
    runtime = Qemu("qemu", {"machine": "microvm"}, lab.context)
    machine(lab, "qemu,machine=microvm")
    runtime.prepare(lab.image)
    empty = tmp_path / "initramfs"
    empty.write_bytes(b"\0" * 512)
    files = runtime._files[lab.image.digest]
    runtime._files[lab.image.digest] = replace(files, initramfs=empty)
    lab.runtimes["hanging"] = cast(Runtime, runtime)
    yield "hanging"
    runtime.close()


def test_a_guest_that_cannot_boot_fails_and_is_gone(lab: Lab, hanging: str) -> None:
    with pytest.raises((DeadlineExceeded, LaunchFailed)), lab.instance(hanging):
        pass
    assert not guests()
    assert not [entry for entry in lab.inventory_entries() if entry.kind == "domain"]


def test_a_killed_guest_is_found_by_its_uuid_until_it_has_ended(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stubborn(uuid: str) -> None:
        raise HarnessError(f"QEMU of {uuid} cannot be killed")

    def listed() -> list[Entry]:
        return [entry for entry in lab.inventory_entries() if entry.kind == "domain"]

    def kill_by_uuid() -> None:
        with lab.instance("qemu,machine=microvm") as box:
            (entry,) = listed()
            assert domains.exists(entry.name, entry.details)
            assert (*machines_by_uuid(entry.details["uuid"]),) == box.processes()
            domains.remove(entry.name, entry.details)
            assert not domains.exists(entry.name, entry.details)
            with pytest.raises(ChannelError):
                box.run(Job(["/usr/bin/busybox", "true"]))
            monkeypatch.setattr(libvirt_domain, "kill_machine", stubborn)

    machine(lab, "qemu,machine=microvm")
    with pytest.raises(HarnessError, match="cannot be killed"):
        kill_by_uuid()
    assert not guests()
    (entry,) = listed()  # it might still be there
    lab.context.inventory.removed(entry.kind, entry.name)


def verdict_on_kvm(lab: Lab) -> str:
    """Why KVM does not work here, with a hint; empty if it does."""
    runtime = Kvm("kvm", {}, lab.context)
    try:
        runtime.probe()
        runtime.prepare(lab.image)
    except RuntimeUnavailable as error:
        return f"{error.message}: {error.hint}"
    finally:
        runtime.close()
    return ""


def verdicts_kept(lab: Lab) -> set[tuple[str, int]]:
    """Each file with a verdict, and when it was written."""
    folder = lab.context.cache / "libvirt"
    return {(path.name, path.stat().st_mtime_ns) for path in folder.glob("kvm-*.json")}


def test_kvm_has_a_verdict_that_is_kept(lab: Lab) -> None:
    machine(lab, "qemu")
    start = now_ns()
    first = verdict_on_kvm(lab)
    middle = now_ns()
    kept = verdicts_kept(lab)
    assert verdict_on_kvm(lab) == first
    assert verdicts_kept(lab) == kept, "a guest was booted for a verdict that is known"
    if first:
        assert (middle - start) / 1e9 < SLOWEST_VERDICT_S
        assert kept
        assert not first.endswith(": ")


def test_without_libvirt_the_rest_works_and_the_reason_is_clear(lab: Lab) -> None:
    del lab
    code = (
        "import sys; sys.modules['libvirt'] = None\n"
        "from pathlib import Path\n"
        "from harness.errors import RuntimeUnavailable\n"
        "import runtimes.libvirt_domain\n"
        "from runtimes.libvirt_connection import libvirt_module\n"
        "try: libvirt_module()\n"
        "except RuntimeUnavailable as error: print(error.message, error.hint)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "libvirt-python is not installed" in done.stdout
    assert "tarebench[machines]" in done.stdout
