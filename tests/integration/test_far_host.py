"""A far host for real: machines over ssh, what is carried there, and a host that goes away."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping

import pytest

from harness.clock import Marks, now_ns
from harness.errors import ChannelError, RuntimeUnavailable
from harness.model import Cleaner, Job, Limits, Mark
from harness.process import find_program
from runtimes.far_host import KIND as FOLDER
from runtimes.far_host import folders
from runtimes.libvirt_domain import LibvirtDomain, Qemu
from runtimes.libvirt_start import KIND, domains
from tests.conftest import runtime_or_skip
from tests.far import Far, far_host, sshd
from tests.lab import Lab

pytestmark = pytest.mark.integration

TRUE = Job(["/usr/bin/busybox", "true"])
NOTICED_S = 60.0
CLEANERS: Mapping[str, Cleaner] = {KIND: domains, FOLDER: folders}


@pytest.fixture
def far(lab: Lab) -> Iterator[Far]:
    runtime_or_skip(lab, "qemu")
    if os.geteuid() != 0:
        pytest.skip("a private libvirtd and sshd need root")
    if find_program("ssh") is None:
        pytest.skip("ssh is not installed")
    try:
        sshd(lab.context.cache)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"openssh-server cannot be fetched: {error.stderr.decode()[-200:]}")
    with far_host(lab) as host:
        yield host


def named(far: Far, more: str = "") -> str:
    return f"qemu,uri={far.uri.replace(',', '%2C')}{more}"


def test_a_machine_runs_there_and_is_timed_here(lab: Lab, far: Far) -> None:
    name = named(far)
    runtime: object = lab.runtime(name)
    assert isinstance(runtime, LibvirtDomain)
    assert runtime.elsewhere
    (note,) = [note for note in runtime.probe().notes if note.startswith("far host")]
    assert "127.0.0.1" in note
    assert " ms away and back by ssh" in note
    folder = far.disk / f"tarebench-{os.geteuid()}"
    carried = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(carried) == 3
    disk = next(path for path in carried if path.name.endswith("root.ext4"))
    assert disk.stat().st_blocks * 512 < disk.stat().st_size
    marks = Marks()
    with lab.instance(name, Limits(cpus=2), marks) as box:
        kinds = [entry.kind for entry in lab.inventory_entries()]
        assert {KIND, FOLDER} <= set(kinds)
        assert box.processes() == ()
        assert box.facts()["cpus"] == "2"
        done = box.run(Job(["/usr/bin/busybox", "head", "-c", "3000000", "/dev/zero"]))
        assert done.stdout.size == 3_000_000
        assert box.round_trip_ns()[0] > 0
    order = [Mark.REQUEST, Mark.VMM, Mark.STARTED, Mark.READY, Mark.STOP, Mark.EXITED, Mark.REMOVED]
    assert {str(mark) for mark in order} == set(marks.freeze())
    kinds = [entry.kind for entry in lab.inventory_entries()]
    assert not {KIND, FOLDER} & set(kinds)
    runtime.prepare(lab.image)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == carried
    runtime.close()
    del lab.runtimes[name]


def lose(lab: Lab, far: Far, how: str) -> None:
    """Run a long job over there, and have the host go away meanwhile."""
    with lab.instance("far") as box:
        assert box.run(TRUE).exit_status == 0
        far.lost_ns = now_ns()
        getattr(far, how)()
        box.run(Job(["/usr/bin/busybox", "sleep", "100"], timeout_s=100))


@pytest.mark.parametrize("how", ["cut_off", pytest.param("freeze", marks=pytest.mark.slow)])
def test_a_host_that_goes_away_fails_the_trial_in_bounded_time(
    lab: Lab, far: Far, how: str
) -> None:
    runtime = Qemu("qemu", {"uri": far.uri}, lab.context)
    runtime.probe()
    runtime.prepare(lab.image)
    lab.runtimes["far"] = runtime
    try:
        with pytest.raises(ChannelError):
            lose(lab, far, how)
        assert (now_ns() - far.lost_ns) / 1e9 < NOTICED_S
        far.is_up = False
        with (
            pytest.raises(RuntimeUnavailable, match="cannot be reached by ssh"),
            lab.instance("far"),
        ):
            pass
        left = [entry for entry in lab.inventory_entries() if entry.kind in CLEANERS]
        assert {entry.kind for entry in left} >= {FOLDER}
        with pytest.raises(RuntimeUnavailable):
            CLEANERS[FOLDER].exists(left[0].name, left[0].details)
        far.is_up = True
        with lab.instance("far") as box:  # the next trial finds it again
            assert box.run(TRUE).exit_status == 0
        for entry in left:
            CLEANERS[entry.kind].remove(entry.name, entry.details)
            assert not CLEANERS[entry.kind].exists(entry.name, entry.details)
            lab.context.inventory.removed(entry.kind, entry.name)
    finally:
        del lab.runtimes["far"]
        runtime.close()
