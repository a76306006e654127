"""The one suite that every runtime passes, with real boxes."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness import registry
from harness.clock import Deadline, Marks
from harness.errors import ChannelError
from harness.experiments import identity
from harness.experiments import limits as limit_checks
from harness.image.manifest import differences, digest_of
from harness.model import (
    MIB,
    GuestMemory,
    Instance,
    Job,
    Limits,
    Mark,
    Runtime,
    RuntimeClass,
    Support,
)
from harness.probes import cgroups
from harness.probes import memory as probe
from harness.scenario import load
from harness.serving import Serves, Service
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = pytest.mark.contract

RUNTIMES = [
    form
    for name in registry.names()
    if name not in registry.HIDDEN
    for form in registry.tested(name)
]
"""Every form that a registered runtime declares: a new one is here by itself."""

GIVEN = Limits(cpus=1, memory_bytes=256 * MIB, pids=128)
SHELL = "/usr/bin/busybox"
HELD_BYTES = 32 * MIB
TOO_MUCH_BYTES = 320 * MIB
LARGE_BYTES = 100_000_000


@dataclass
class Subject:
    """A runtime under test and one instance of it that runs."""

    name: str
    runtime: Runtime
    box: Instance
    marks: Marks


@pytest.fixture(scope="module", params=RUNTIMES)
def subject(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Subject]:
    name: str = request.param
    runtime = runtime_or_skip(lab, name)
    marks = Marks()
    with ExitStack() as stack:
        box = stack.enter_context(lab.instance(name, GIVEN, marks))
        yield Subject(name, runtime, box, marks)


def shell(script: str, **more: float) -> Job:
    return Job([SHELL, "sh", "-c", script], timeout_s=more.get("timeout_s", 60.0))


def test_marks_are_in_order(subject: Subject) -> None:
    marks = subject.marks.freeze()
    assert marks["request"] < marks["ready"]
    assert all(ns >= marks["request"] for ns in marks.values())


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
    done = subject.box.run(Job([SHELL, "head", "-c", str(LARGE_BYTES), "/dev/zero"], timeout_s=120))
    assert done.stdout.size == LARGE_BYTES
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


def test_processes_live_and_have_groups(subject: Subject) -> None:
    pids = subject.box.processes()
    assert pids
    for pid in pids:
        os.kill(pid, 0)
    assert all(path.is_dir() for path in subject.box.cgroups())


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


def test_files_leave_the_page_cache_by_their_path_inside(subject: Subject) -> None:
    subject.box.drop_cached([SHELL, "/etc/passwd"])
    with pytest.raises(ChannelError, match="No such file"):
        subject.box.drop_cached([SHELL, "/there/is/no/such/file"])
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


def test_ends_when_asked_and_leaves_nothing(subject: Subject, lab: Lab) -> None:
    marks = Marks()
    before = {(entry.kind, entry.name) for entry in lab.inventory_entries()}
    with lab.instance(subject.name, GIVEN, marks) as box:
        pids = box.processes()
        groups = [path for path in box.cgroups() if "tb-test" in str(path)]
    frozen = marks.freeze()
    order = [Mark.REQUEST, Mark.READY, Mark.STOP, Mark.EXITED, Mark.REMOVED]
    instants = [frozen[mark] for mark in order]
    assert instants == sorted(instants)
    for pid in pids[:1]:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not [path for path in groups if path.exists()]
    assert {(entry.kind, entry.name) for entry in lab.inventory_entries()} == before


def test_instance_that_breaks_inside_is_torn_down(subject: Subject, lab: Lab) -> None:
    pids: list[int] = []

    def break_inside() -> None:
        with lab.instance(subject.name, GIVEN) as box:
            pids.extend(box.processes()[:1])
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        break_inside()
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_cpu_limit_holds(subject: Subject, lab: Lab) -> None:
    if subject.runtime.probe().limits.cpus is not Support.SUPPORTED:
        pytest.skip(f"{subject.name} does not limit CPU time, and says so")
    if subject.runtime.runtime_class.is_machine:
        pytest.skip("a guest's whole vCPUs are counted, and were seen from inside")
    with lab.instance(subject.name, Limits(cpus=0.25)) as box:
        before = group_cpu_s(box)
        done = box.run(shell("while :; do :; done", timeout_s=2.0))
        used_s = group_cpu_s(box) - before
    if subject.runtime.runtime_class.shares_kernel:
        used_s = done.cpu_s
    assert used_s < 0.6 * done.duration_s


def group_cpu_s(box: Instance) -> float:
    """CPU time of the box's group: a kernel in user space counts by its own clock's ticks."""
    return sum(cgroups.cpu_ns(path) or 0 for path in box.cgroups()[-1:]) / 1e9
