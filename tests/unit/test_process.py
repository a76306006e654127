"""Other programs: waited for, watched by a pidfd, and blamed in a line that can be pasted."""

from __future__ import annotations

import ctypes
import errno
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.errors import CommandFailed, DeadlineExceeded
from harness.process import reap, run, spawn, wait_pidfd

SHELL = "/bin/sh"
_CLONE_NEWPID = 0x20000000


def test_run_returns_what_was_printed() -> None:
    done = run([SHELL, "-c", "cat; echo err >&2"], input=b"in")
    assert (done.stdout, done.stderr, done.returncode) == (b"in", b"err\n", 0)


def test_run_has_no_input_unless_given() -> None:
    assert run(["cat"]).stdout == b""


def test_failed_command_is_told_as_a_line_that_can_be_pasted(tmp_path: Path) -> None:
    argv = [SHELL, "-c", 'printf "%s" "it broke" >&2; exit 3', "a b", "c'd"]
    with pytest.raises(CommandFailed) as caught:
        run(argv, hint="mend it")
    line, _, said = caught.value.message.partition(": exit status 3: ")
    assert shlex.split(line) == argv
    assert said == "it broke"
    assert caught.value.hint == "mend it"
    again = subprocess.run(["/bin/sh", "-c", line], capture_output=True, check=False)
    assert again.returncode == 3


def test_silent_and_killed_commands_say_so() -> None:
    with pytest.raises(CommandFailed, match=r"exit status 1: it said nothing$"):
        run(["false"])
    with pytest.raises(CommandFailed, match="killed by SIGKILL"):
        run([SHELL, "-c", "kill -9 $$"])
    assert run(["false"], check=False).returncode == 1


def test_missing_program_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="no-such-tool is not installed") as caught:
        run(["no-such-tool"], hint="apt-get install it")
    assert caught.value.hint == "apt-get install it"
    with pytest.raises(CommandFailed, match="No such file"):
        spawn([str(tmp_path / "absent")])
    with pytest.raises(CommandFailed, match="could not be started"):
        run([str(tmp_path)])


def test_command_without_end_is_stopped() -> None:
    with pytest.raises(CommandFailed, match=r"no end after 0\.05 s: sleep 1000"):
        run(["sleep", "1000"], timeout_s=0.05)


def test_spawned_process_is_waited_for_and_its_cpu_time_counted() -> None:
    code = "import time\nwhile time.process_time() < 0.05: pass\nraise SystemExit(7)"
    process = spawn([sys.executable, "-c", code])
    assert process.wait(60) == 7
    assert process.wait() == 7
    assert process.rusage_s >= 0.05
    assert not process.is_running()
    process.kill()  # it was reaped: nobody else must be hit


def test_waiting_has_a_limit_and_asking_does_not_reap() -> None:
    with spawn(["/bin/sleep", "1000"]) as process:
        with pytest.raises(TimeoutError, match=f"pid {process.pid}"):
            process.wait(0.01)
        assert process.is_running()
        process.kill(signal.SIGTERM)
        assert wait_pidfd(process.pidfd, 60)
        assert not process.is_running()
        os.kill(process.pid, 0)  # still a zombie of ours
        assert process.wait() == -signal.SIGTERM


def test_context_ends_the_process() -> None:
    with spawn(["/bin/sleep", "1000"]) as process:
        pass
    assert process.returncode == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def in_a_pid_namespace_from_now_on() -> None:
    """What this thread starts next is the first process of a new PID namespace."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWPID):
        raise OSError(ctypes.get_errno(), "unshare")


@pytest.mark.skipif(os.geteuid() != 0, reason="a PID namespace takes root")
def test_what_outlives_its_kill_is_told_and_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The first process of a PID namespace ends only when all others of it are reaped, and one
    that was started from outside is its parent's to reap: ours, and we take our time."""
    monkeypatch.setattr("harness.process._KILLED_S", 0.1)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(in_a_pid_namespace_from_now_on).result()
        first, other = (thread.submit(spawn, ["/bin/sleep", "1000"]).result() for _ in range(2))
    other.kill()
    assert wait_pidfd(other.pidfd, 60)
    stays = rf"sleep \(pid {first.pid}\) still runs 0\.1 s after it was killed"
    with pytest.raises(DeadlineExceeded, match=stays), first:
        pass
    with pytest.raises(ZeroDivisionError), first:
        raise ZeroDivisionError
    assert f"(pid {first.pid}) still runs" in caplog.text
    assert other.wait() == -signal.SIGKILL
    assert first.wait(60) == -signal.SIGKILL


def test_a_child_that_nobody_can_hold_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where descriptors run out between the start and the pidfd."""
    started: list[int] = []

    def refuse(pid: int) -> int:
        started.append(pid)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", refuse)
    with pytest.raises(CommandFailed, match="could not be started: Too many open files"):
        spawn(["/bin/sleep", "1000"])
    with pytest.raises(ProcessLookupError):
        os.kill(started[0], 0)


@pytest.mark.parametrize("name", ["HUP", "INT", "PIPE", "QUIT", "TERM", "XFSZ"])
def test_output_goes_where_it_is_told_and_signals_are_set_back(name: str) -> None:
    number = signal.Signals[f"SIG{name}"]
    previous = signal.signal(number, signal.SIG_IGN)
    try:
        with tempfile.TemporaryFile() as out:
            script = f"ulimit -c 0; cat; kill -{name} $$; echo alive"
            process = spawn([SHELL, "-c", script], stdout=out.fileno())
            assert process.wait(60) == -number
            assert out.tell() == 0
    finally:
        signal.signal(number, previous)


def test_spawned_process_is_out_of_reach_of_our_terminal() -> None:
    with (
        spawn(["/bin/sleep", "1000"]) as own,
        spawn(["/bin/sleep", "1"], new_group=False) as shared,
    ):
        assert os.getpgid(own.pid) == own.pid
        assert os.getpgid(shared.pid) == os.getpgid(0)


def test_orphans_are_collected_and_what_is_held_is_not() -> None:
    """In a process of its own, because all orphans come to it."""
    code = (
        "import os\n"
        "from harness.process import become_subreaper, spawn, wait_pidfd\n"
        "from runtimes.daemon_parts import collect_orphans\n"
        "become_subreaper()\n"
        "held = spawn(['/bin/true'])\n"
        "beside = spawn(['/bin/true'], new_group=False)\n"
        "wait_pidfd(held.pidfd, 60), wait_pidfd(beside.pidfd, 60)\n"
        "spawn(['/bin/sh', '-c', 'true & exec true']).wait()\n"
        "while collect_orphans() or len(open('/proc/self/task/%d/children' % os.getpid())"
        ".read().split()) > 2:\n"
        "    pass\n"
        "print(held.wait(), beside.wait())\n"
    )
    assert run([sys.executable, "-c", code], timeout_s=60).stdout == b"0 0\n"


def test_reaping_what_is_not_ours_does_nothing() -> None:
    reap(1)
