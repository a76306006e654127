"""The one suite that every runtime passes, with real boxes: jobs, output, the image, the end."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import pytest

from harness.clock import Marks
from harness.errors import ChannelError
from harness.experiments import identity
from harness.image.manifest import differences, digest_of
from harness.model import MIB, Job, Limits, Mark
from harness.scenario import load
from harness.serving import Serves, Service
from tests.conftest import runtime_or_skip
from tests.contract.subject import SHELL, Subject, leaving_nothing, shell
from tests.lab import Lab

pytestmark = pytest.mark.contract

LARGE_BYTES = 100_000_000


def test_marks_are_in_order(subject: Subject) -> None:
    marks = subject.marks.freeze()
    assert marks[Mark.REQUEST] == min(marks.values())
    for earlier, later in (
        (Mark.REQUEST, Mark.CREATED), (Mark.CREATED, Mark.STARTED), (Mark.CREATED, Mark.READY),
        (Mark.REQUEST, Mark.VMM), (Mark.VMM, Mark.READY), (Mark.REQUEST, Mark.READY),
    ):  # fmt: skip
        if earlier in marks and later in marks:  # what a runtime cannot tell, it leaves out
            assert marks[earlier] <= marks[later], (earlier, later)
    # Of Xen's the device model listens and we connect, so that it opens nothing that we see.
    connects = subject.is_machine and subject.name.partition(",")[0] != "xen"
    assert (Mark.VMM in marks) == connects


def test_job_runs_as_nobody_and_returns_its_output(subject: Subject) -> None:
    done = subject.box.run(shell("id -u; sleep 0.2; echo to-stderr >&2; exit 7"))
    root = os.geteuid() == 0
    assert done.stdout.read() == (b"65534\n" if root else f"{os.geteuid()}\n".encode())
    assert done.stderr.read() == b"to-stderr\n"
    assert (done.exit_status, done.signal, done.timed_out) == (7, None, False)
    assert done.ended_ns > done.started_ns > subject.marks.freeze()["ready"]


def test_dynamic_program_runs_with_the_images_libraries(subject: Subject) -> None:
    done = subject.box.run(Job(["/usr/bin/echo", "hello"]))
    assert done.stdout.read() == b"hello\n"
    assert done.exit_status == 0


def test_environment_is_given_and_nothing_else(subject: Subject) -> None:
    done = subject.box.run(Job([SHELL, "env"], env={"ONLY": "this one"}))
    assert done.stdout.read() == b"ONLY=this one\n"


def test_missing_program_is_an_error_and_the_box_goes_on(subject: Subject) -> None:
    with pytest.raises((ChannelError, FileNotFoundError)):
        subject.box.run(Job(["/usr/bin/there-is-no-such-program"]))
    assert subject.box.run(shell("exit 0")).exit_status == 0


def test_large_and_binary_output_survives(subject: Subject) -> None:
    # More than any buffer on the way holds. A guest's serial port is slow where it is emulated.
    size = LARGE_BYTES // 10 if subject.is_machine else LARGE_BYTES
    done = subject.box.run(Job([SHELL, "head", "-c", str(size), "/dev/zero"], timeout_s=120))
    assert done.stdout.size == size
    with done.stdout.open() as file:
        assert file.read(1 << 16) == bytes(1 << 16)
    binary = subject.box.run(shell(r"printf '\000\377REDY\n\r\000'"))
    assert binary.stdout.read() == b"\0\xffREDY\n\r\0"


def test_a_service_answers_and_ends_with_its_box(subject: Subject, lab: Lab) -> None:
    name = "nginx" if subject.name in ("bare", "crun", "docker") else "redis"
    with lab.instance(subject.name, Limits(memory_bytes=256 * MIB), marks := Marks()) as box:
        assert isinstance(box, Serves)
        workload = load("service", settings=[f"workload={name}"]).workload
        service = workload.serving(box.scratch())
        assert service is not None
        before = host_processes(workload.argv[0])
        found = box.serve(service)
        assert marks.freeze()["ready"] < found.started_ns <= found.served_ns
        assert found.tries >= 1
        born = host_processes(workload.argv[0]) - before
        assert bool(born) == subject.runtime.runtime_class.shares_kernel
        proof = identity.prove(box, lab.image, [workload.argv[0]], ())
        assert proof.identical
        assert any(path.endswith(f"/{name}") or name in path for path in proof.files)
    assert not [pid for pid in born if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("name", ["redis", "nginx"])
def test_a_service_on_bare_metal_opens_nothing_of_the_host(lab: Lab, name: str) -> None:
    runtime_or_skip(lab, "bare")
    workload = load("service", settings=[f"workload={name}"]).workload
    with lab.instance("bare") as box:
        scratch = box.scratch()
        service = workload.serving(scratch, trace=True)
        assert service is not None
        assert isinstance(box, Serves)
        opened = box.serve(service).opened
        assert any(path.startswith(str(lab.image.root)) for path in opened)
        assert identity.opened_outside(lab.image, opened, scratch) == []
        assert box.run(shell("exit 0")).exit_status == 0


def test_a_service_that_fails_says_why_and_the_box_goes_on(subject: Subject) -> None:
    folder = subject.box.scratch()

    def refused(script: str, timeout_s: float = 20.0) -> str:
        service = Service(shell(script, timeout_s=timeout_s), folder, "no.sock", "hello", "hi")
        assert isinstance(subject.box, Serves)
        with pytest.raises(ChannelError) as caught:
            subject.box.serve(service)
        return caught.value.message

    assert "exit status 3: no luck" in refused("echo no luck; exit 3")
    assert "did not answer in time" in refused("sleep 1000", timeout_s=0.3)
    assert subject.box.run(shell("exit 0")).exit_status == 0


def host_processes(program: str) -> set[int]:
    """Processes of this host that run a program, whichever box they are in."""
    name = program.rpartition("/")[2].encode()
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if name in path.read_bytes():
                found.add(int(path.parent.name))
    return found


def test_killed_job_is_told_by_its_signal(subject: Subject) -> None:
    done = subject.box.run(shell("kill -9 $$"))
    assert (done.exit_status, done.signal) == (None, signal.SIGKILL)


def test_hanging_job_is_ended_at_its_time_limit(subject: Subject) -> None:
    done = subject.box.run(
        shell("echo before; trap '' TERM; while :; do sleep 1; done", timeout_s=1.5)
    )
    assert done.timed_out
    assert done.stdout.read() == b"before\n"
    assert 1.0 < done.duration_s < 30


def test_process_that_forks_away_is_gone_with_its_job(subject: Subject) -> None:
    done = subject.box.run(shell("setsid sleep 4321 & echo $!; exit 0"))
    assert done.exit_status == 0
    assert not done.timed_out
    left = subject.box.run(shell("for d in /proc/[0-9]*; do tr '\\0' ' ' <$d/cmdline; echo; done"))
    assert b"sleep 4321" not in left.stdout.read()


def test_whole_image_is_identical_from_inside(subject: Subject, lab: Lab) -> None:
    if subject.is_machine and not subject.is_plain:
        pytest.skip("read whole in the plain form; each run proves it again for each of its boxes")
    found = subject.box.derive_manifest()
    assert differences(lab.image.manifest.read_bytes(), found) == []
    assert digest_of(found) == lab.image.digest


def test_round_trip_and_clock(subject: Subject) -> None:
    trip_ns, delay_ns = subject.box.round_trip_ns()
    assert trip_ns > 0
    shared = subject.runtime.runtime_class.shares_kernel
    assert (delay_ns is not None) == shared
    if delay_ns is not None:
        assert 0 < delay_ns <= trip_ns


def test_files_leave_the_page_cache_by_their_path_inside(subject: Subject) -> None:
    subject.box.drop_cached([SHELL, "/etc/passwd"])
    with pytest.raises(ChannelError, match="No such file"):
        subject.box.drop_cached([SHELL, "/there/is/no/such/file"])
    assert subject.box.run(shell("exit 0")).exit_status == 0


def test_ends_when_asked_and_leaves_nothing(subject: Subject, lab: Lab) -> None:
    with leaving_nothing(lab, subject.name, Marks()) as unused:
        assert unused.processes()
