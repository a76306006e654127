"""Talking with a machine that is up: commands, files in, results out, all over SSH.

The machine's key and ours were made with its disk, so that it is nobody else's machine that
answers at the port, and nobody else who may ask.
"""

from __future__ import annotations

import os
import shlex
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import process
from harness.clock import Deadline
from harness.errors import CommandFailed, DeadlineExceeded, LaunchFailed
from harness.lab.build import Built
from harness.lab.machine import Machine
from harness.lab.project import ENTRY_POINTS
from harness.lab.recipe import PROJECT, REPOSITORY, USER, Profile
from harness.paths import REPORT

_CONNECT_S = 120
_HELPER_S = 600.0
_DYING_S = 5.0
_SSH_FAILED = 255
_ROOT = "root"
_CHECKOUT = (
    f"mkdir -p {PROJECT} && cd {PROJECT} && "
    # What is compiled stays: it serves as long as its text does.
    r"find . \( -path ./.venv -o -path ./results -o -name __pycache__ \) -prune "
    "-o ! -type d -exec rm -f {} + && "
    "tar -x --no-same-owner -f - && mkdir -p results/runs && for told in "
    ".venv/lib/python3*/site-packages/tarebench-*.dist-info/entry_points.txt; do "
    f'if [ -e "$told" ]; then cp {ENTRY_POINTS} "$told"; fi; done'
)
_TO_CLONE = (
    f"rm -rf {REPOSITORY} && mkdir -p {REPOSITORY} && cd {REPOSITORY} && "
    f"tar -x --no-same-owner -f - && rm -f {ENTRY_POINTS} && "
    "git init -q -b main && git add -A && "
    "git -c user.name=lab -c user.email=lab@localhost commit -q -m lab && "
    f"chown -R {USER} ."  # git clones nothing that is another's
)


@dataclass(frozen=True)
class Session:
    """A way into one machine, for the profile's user to work and for root to look after it."""

    machine: Machine
    built: Built
    port: int
    profile: Profile

    def call(self, argv: Sequence[str], deadline: Deadline) -> int:
        """Run a command where the user begins, with our output; returns its exit status.
        255 is ssh's own word for a connection that broke.

        Raises DeadlineExceeded when it does not end in time, LaunchFailed when the machine
        does before it.
        """
        line = working_line(self.profile, shlex.join(argv))
        with process.spawn(self._argv(line, user=self.profile.user), stdout=1, stderr=2) as child:
            return self._await(child, deadline, shlex.join(argv))

    def shell(self) -> int:
        """A shell where the user begins, on our terminal; returns its exit status."""
        line = working_line(self.profile, "$SHELL")
        argv = self._argv(line, "-t", user=self.profile.user)
        with process.spawn(argv, stdin=0, stdout=1, stderr=2, new_group=False) as child:
            return child.wait()

    def _await(self, child: process.Process, deadline: Deadline, what: str) -> int:
        if not self.machine.wait(child.pidfd, deadline):
            raise DeadlineExceeded(
                f"{what} did not end in time; the lab's console ends: {self.machine.console_end()}",
                "give it longer with --limit",
            )
        if self.machine.child.is_running():
            status = child.wait()
            if status != _SSH_FAILED:
                return status
            # The connection of a machine that dies breaks before the machine is seen to be dead.
            if not process.wait_pidfd(self.machine.child.pidfd, _DYING_S):
                raise LaunchFailed(f"the connection to the lab broke under {what}")
        raise LaunchFailed(
            f"the lab's machine ended under {what}; its console ends: {self.machine.console_end()}"
        )

    def read(self, line: str, *, check: bool = True, given: bytes | None = None) -> bytes:
        """What a shell line of root's prints inside; both of its outputs where it may fail."""
        try:
            done = process.run(
                self._argv(line if check else f"({line}) 2>&1"), input=given, check=check,
                timeout_s=_HELPER_S,
            )  # fmt: skip
        except CommandFailed as error:
            raise LaunchFailed(
                f"the lab does not do as it is told: {error.message}; its console ends: "
                f"{self.machine.console_end()}"
            ) from error
        return done.stdout

    def put_project(self, archive: bytes, now_s: float) -> None:
        """Set its clock, and put today's checkout in place of the one of its disk.

        Where an ordinary user has none, what comes is a repository of theirs, to be cloned.
        """
        own = self.profile.user == _ROOT
        line = f"date -u -s @{int(now_s)} >/dev/null && {_CHECKOUT if own else _TO_CLONE}"
        self.read(line, given=archive)

    def fetch_runs(self, target: Path) -> Sequence[Path]:
        """Bring the run folders back; one that is here already gets what has come since."""
        with tempfile.TemporaryFile() as held:
            runs = self.profile.runs
            line = f"if [ -d {runs} ]; then tar -C {runs} -cf - .; else tar -cf - -T /dev/null; fi"
            argv = self._argv(line)
            with process.spawn(argv, stdout=held.fileno(), stderr=2) as child:
                status = self._await(child, Deadline(_HELPER_S), "tar")
            if status != 0:
                raise LaunchFailed("the runs could not be brought back from the lab")
            held.seek(0)
            target.mkdir(parents=True, exist_ok=True)
            with tarfile.open(fileobj=held) as tar:
                names = sorted({Path(name).parts[0] for name in tar.getnames() if name != "."})
                tar.extractall(target, filter="data")
        return [target / name for name in names if (target / name).is_dir()]

    def proofs(self, lines: Sequence[str]) -> str:
        """Each command with what it printed, as one would see it in a terminal."""
        script = "; ".join(f"echo {shlex.quote(f'# {line}')}; {line}" for line in lines)
        return self.read(script, check=False).decode(errors="replace")

    def _argv(self, line: str, *options: str, user: str = _ROOT) -> list[str]:
        ssh = str(process.find_program("ssh"))  # it is there: the machine would not be
        return [
            ssh, "-F", os.devnull, *options, *_settings(self._settings()),
            "-i", str(self.built.key), "-p", str(self.port), f"{user}@127.0.0.1", line,
        ]  # fmt: skip

    def _settings(self) -> Mapping[str, str]:
        return {
            "BatchMode": "yes",
            "ConnectTimeout": str(_CONNECT_S),
            "HostKeyAlias": "lab",
            "IdentitiesOnly": "yes",
            "LogLevel": "ERROR",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.built.known_hosts),
        }


def working_line(profile: Profile, command: str) -> str:
    """The shell line of a command inside: its folder, its programs, and no report.

    A report is drawn from the stored run alone, so this host does it, in a tenth of the time.
    """
    told = f"{REPORT}=0"
    if profile.user == _ROOT:
        told += f" PATH={PROJECT}/.venv/bin:$PATH"
    return f"cd {profile.start} && {told} exec {command}"


def _settings(values: Mapping[str, str]) -> Sequence[str]:
    return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
