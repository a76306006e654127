"""The only gateway to other programs: argument lists, logged, never a shell.

Two ways lead out. `run` is for helpers whose time does not matter (mkfs, qemu-img): it waits
for them, and says what failed in a line that can be pasted into a terminal. `spawn` is for
what is measured or lives on: it returns a process at once, by `posix_spawn`, whose cost does
not grow with the memory of the harness.

Time limits are there for what hangs, so on an emulated host they are longer than they say.
"""

from __future__ import annotations

import ctypes
import logging
import os
import select
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from harness.cpuid import patience
from harness.errors import CommandFailed, DeadlineExceeded

log = logging.getLogger(__name__)

_PR_SET_CHILD_SUBREAPER = 36
_TAIL_CHARACTERS = 2000
_KILLED_S = 10.0
"""What the kernel may take to end a process that was killed: one that hangs in it never ends."""
_SYSTEM_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin")


def search_path() -> str:
    """Where programs are looked for: absolute folders alone.

    An empty part of a search path is the current folder, which may be anybody's.
    """
    given = (os.environ.get("PATH") or os.defpath).split(os.pathsep)
    return os.pathsep.join(f for f in (*given, *_SYSTEM_PATH) if Path(f).is_absolute())


def find_program(name: str) -> str | None:
    """A program's path, also where an ordinary user's search path does not lead."""
    return shutil.which(name, path=search_path())


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    input: bytes | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout_s: float = 600.0,
    check: bool = True,
    hint: str = "",
) -> subprocess.CompletedProcess[bytes]:
    """Run a helper to its end and return what it printed.

    Raises CommandFailed when it cannot be started, exceeds `timeout_s`, or (with `check`)
    exits with another status than 0; the message holds the end of its standard error.
    """
    line = [os.fspath(part) for part in argv]
    limit_s = timeout_s * patience()
    log.debug("run %s", shlex.join(line))
    program = line[0] if "/" in line[0] else find_program(line[0])
    if program is None:
        raise CommandFailed(f"{line[0]} is not installed", hint)
    try:
        done = subprocess.run(
            line, executable=program,
            input=input, stdin=subprocess.DEVNULL if input is None else None, env=env,
            cwd=cwd, timeout=limit_s, capture_output=True, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise CommandFailed(f"{line[0]} is not installed", hint) from None
    except OSError as error:
        raise CommandFailed(f"{line[0]} could not be started: {error.strerror}", hint) from error
    except subprocess.TimeoutExpired:
        raise CommandFailed(f"no end after {limit_s:g} s: {shlex.join(line)}", hint) from None
    if check and done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-_TAIL_CHARACTERS:]
        how = f"exit status {done.returncode}" if done.returncode > 0 else (
            f"killed by {signal.Signals(-done.returncode).name}"
        )  # fmt: skip
        raise CommandFailed(f"{shlex.join(line)}: {how}: {said or 'it said nothing'}", hint)
    return done


class Process:
    """A child that was spawned: its pid, a pidfd to wait on, and its end.

    `rusage_s` is the CPU time of the child and of the children that it waited for, known
    after `wait`.
    """

    def __init__(self, pid: int, argv: Sequence[str]) -> None:
        self.pid = pid
        self.argv = tuple(argv)
        self.pidfd = os.pidfd_open(pid)
        self.returncode: int | None = None
        self.rusage_s = 0.0

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the end; raises TimeoutError. A negative status is a signal's number."""
        if self.returncode is None:
            if timeout_s is not None and not wait_pidfd(self.pidfd, timeout_s):
                raise TimeoutError(f"{self.argv[0]} (pid {self.pid}) still runs")
            _, status, usage = os.wait4(self.pid, 0)
            self.returncode = os.waitstatus_to_exitcode(status)
            self.rusage_s = usage.ru_utime + usage.ru_stime
            os.close(self.pidfd)
        return self.returncode

    def is_running(self) -> bool:
        """Whether it has not ended yet; an ended child is not reaped by asking."""
        return self.returncode is None and not wait_pidfd(self.pidfd, 0)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal unless the process was already reaped."""
        if self.returncode is None:
            signal.pidfd_send_signal(self.pidfd, number)

    def end(self) -> None:
        """Kill it, and wait for its end. Raises DeadlineExceeded for one that outlives that."""
        self.kill()
        try:
            self.wait(_KILLED_S)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"{self.argv[0]} (pid {self.pid}) still runs {_KILLED_S:g} s after it was killed",
                f"/proc/{self.pid}/stack says what it waits for in the kernel",
            ) from error

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """As `end`; but what went wrong before is the cause, and is not hidden by what stays."""
        try:
            self.end()
        except DeadlineExceeded:
            if error is None:
                raise
            log.exception("ending %s", self.argv[0])


def spawn(
    argv: Sequence[str],
    *,
    stdin: int | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
    env: Mapping[str, str] | None = None,
    keep: Sequence[int] = (),
    new_group: bool = True,
) -> Process:
    """Start a program and return at once. `argv[0]` is an absolute path.

    Standard input, output and error are /dev/null unless a file descriptor is given.
    Descriptors in `keep` must be inheritable already. With `new_group` the child is out of
    reach of the terminal's Ctrl-C, which is the harness's to handle. Signals that the harness
    blocks, or that it or whoever started it ignores, are set back. Raises CommandFailed.
    """
    del keep  # they are inherited because they are inheritable; named for the reader
    log.debug("spawn %s", shlex.join(argv))
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDWR, 0),
        (os.POSIX_SPAWN_DUP2, 0 if stdout is None else stdout, 1),
        (os.POSIX_SPAWN_DUP2, 0 if stderr is None else stderr, 2),
        *([] if stdin is None else [(os.POSIX_SPAWN_DUP2, stdin, 0)]),
    ]
    ignored = (  # by Python, by the harness, by `nohup` or by a shell's `&`
        signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGQUIT, signal.SIGTERM,
        signal.SIGXFSZ,
    )  # fmt: skip
    group: dict[str, int] = {"setpgroup": 0} if new_group else {}
    try:
        pid = os.posix_spawn(
            argv[0], list(argv), os.environ if env is None else env,
            file_actions=actions,
            setsigmask=[], setsigdef=ignored, **group,  # type: ignore[arg-type]
        )  # fmt: skip
        try:
            return Process(pid, argv)
        except OSError:  # no descriptor is left, and nobody would hold the child
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
    except OSError as error:
        raise CommandFailed(f"{argv[0]} could not be started: {error.strerror}") from error


def wait_pidfd(pidfd: int, timeout_s: float) -> bool:
    """Wait until the process of a pidfd has ended; False when the time is over."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(max(0.0, timeout_s) * patience() * 1000))


def become_subreaper() -> None:
    """Make orphans of our children our own children.

    A detached container's init is then reaped by us at once, and not by a PID 1 that may be
    slow to look.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap(pid: int) -> None:
    """Collect an ended process if it is a child of ours; otherwise do nothing."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
