"""The one suite, accounting: what a box costs the host is in its processes and its groups."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.clock import Deadline
from harness.experiments.ledger import OutsideMemory
from harness.model import MIB, GuestMemory, HasDaemon, Instance, RuntimeClass, Support
from harness.probes import memory as probe
from harness.probes.cgroups import Layout, counting
from tests.contract.subject import GIVEN, Subject, shell
from tests.hoststate import Ours, all_groups, settled
from tests.lab import Lab

pytestmark = pytest.mark.contract

HELD_BYTES = 32 * MIB


def test_processes_live_and_have_groups(subject: Subject) -> None:
    pids = subject.box.processes()
    assert pids
    for pid in pids:
        os.kill(pid, 0)
    assert all(path.is_dir() for path in subject.box.cgroups())


def anonymous(subject: Subject) -> int:
    """Bytes of anonymous memory that the box's processes hold."""
    rollups = [Path(f"/proc/{pid}/smaps_rollup") for pid in subject.box.processes()]
    return sum(probe.parse_kib(rollup.read_text())["Anonymous"] for rollup in rollups)


def held_by_a_sandbox(box: Instance) -> None:
    """Its kernel in user space holds the memory, in a file, and gives it back when it likes."""

    def charge() -> int:
        found = probe.charged(box.processes(), box.cgroups())
        assert found is not None
        return found

    before = charge()
    assert box.touch(HELD_BYTES, seed=1) == HELD_BYTES
    held = charge()
    assert held - before > 0.95 * HELD_BYTES
    assert box.release() == 0
    deadline = Deadline(20)
    while held - charge() < 0.95 * HELD_BYTES:
        assert not deadline.over
    assert box.run(shell("exit 0")).exit_status == 0


def test_touched_memory_is_held_and_given_back(subject: Subject) -> None:
    if subject.runtime.runtime_class is RuntimeClass.SANDBOX:
        held_by_a_sandbox(subject.box)
        return
    before = anonymous(subject)
    assert subject.box.touch(HELD_BYTES // 2, seed=1) == HELD_BYTES // 2
    assert subject.box.touch(HELD_BYTES // 2) == HELD_BYTES
    held = probe.charged(subject.box.processes(), subject.box.cgroups())
    mapped = anonymous(subject)
    assert subject.box.release() == 0
    after = probe.charged(subject.box.processes(), subject.box.cgroups())
    left = anonymous(subject)
    assert subject.box.run(shell("exit 0")).exit_status == 0
    if not any("tb-test" in str(path) for path in subject.box.cgroups()):
        return  # without a group of its own a box shares its charge with others
    assert held is not None
    assert after is not None
    if isinstance(subject.box, GuestMemory):  # earlier jobs have touched RAM, and a guest keeps it
        assert subject.box.guest_memory_bytes() > HELD_BYTES
        return
    # page cache is charged too, and a kernel may take that away between any two readings
    assert held - after > 0.95 * HELD_BYTES
    assert mapped - before > 0.95 * HELD_BYTES
    assert abs(left - before) < 0.05 * HELD_BYTES


def test_every_process_that_a_launch_brings_is_counted(subject: Subject, lab: Lab) -> None:
    ours = Ours.of(lab.place)
    before = {each.pid for each in ours.processes()}
    with lab.instance(subject.name, GIVEN) as box:
        counted = {*box.processes(), *daemons(subject)}

        def uncounted() -> list[str]:
            return [
                f"{each.pid} {each.command}"
                for each in ours.processes()
                if each.pid not in before and each.pid not in counted
            ]

        assert settled(uncounted) == []


def test_every_group_that_a_launch_fills_is_counted(subject: Subject, lab: Lab) -> None:
    """By the group itself, or by each process in it: a monitor may have a group of its own.

    Of the hierarchies that account for something; a runtime may join others as well. Not each is
    told by our name: where systemd makes them, it is the engine that names them.
    """
    ours, roots = Ours.of(lab.place), Layout.detect().roots()
    before, every = set(ours.groups()), set(all_groups())
    with lab.instance(subject.name, GIVEN) as box:
        counted, known = box.cgroups(), {*box.processes(), *daemons(subject)}
        new = [
            path
            for path in ours.groups()
            if path not in before and any(root in path.parents for root in roots)
        ]
        assert [
            path
            for path in new
            if not members(path) <= known and not {path, *path.parents}.intersection(counted)
        ] == []
        own = [path for path in counted if path not in every]
        assert {pid for path in own for pid in members(path)} <= known
        if subject.runtime.probe().limits.memory is Support.SUPPORTED:
            assert own or isinstance(box, OutsideMemory)  # a hypervisor holds its memory


def daemons(subject: Subject) -> Sequence[int]:
    """Those that all of a runtime's boxes share: their cost is told apart."""
    runtime = subject.runtime
    return runtime.daemon_processes() if isinstance(runtime, HasDaemon) else ()


def members(group: Path) -> set[int]:
    """Processes of a group and of those below it. One of threads cannot be asked (control groups
    v2): whose threads they are, the group above says that counts them. What the kernel itself does
    there is no process: KVM has a thread of its own in each machine's group."""
    files = [file for file in group.rglob("cgroup.procs") if counting(file.parent) == file.parent]
    found = {int(pid) for file in files for pid in file.read_text().split()}
    return {pid for pid in found if not of_the_kernel(pid)}


def of_the_kernel(pid: int) -> bool:
    """Whether it is a thread of the kernel (flag PF_KTHREAD; proc(5), stat), and not gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return bool(int(stat.rpartition(")")[2].split()[6]) & 0x0020_0000)
