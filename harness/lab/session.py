"""Talking with a machine that is up: commands, files in, results out, all over SSH.

The machine's key and ours were made with its disk, so that it is nobody else's machine that
answers at the port, and nobody else who may ask.
"""

from __future__ import annotations

import os
import select
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
from harness.lab.recipe import PROJECT

_CONNECT_S = 120
_HELPER_S = 600.0
_SSH_FAILED = 255
RUNS = PROJECT / "results" / "runs"


@dataclass(frozen=True)
class Session:
    """A way into one machine. `user` is who works there."""

    machine: Machine
    built: Built
    port: int
    user: str = "root"

    def call(self, argv: Sequence[str], deadline: Deadline) -> int:
        """Run a command in the checkout with our output; returns its exit status.

        Raises DeadlineExceeded when it does not end in time, LaunchFailed when the machine
        does before it.
        """
        line = f"cd {PROJECT} && PATH={PROJECT}/.venv/bin:$PATH exec {shlex.join(argv)}"
        with process.spawn(self._argv(line), stdout=1, stderr=2) as child:
            return self._await(child, deadline, shlex.join(argv))

    def shell(self) -> int:
        """A shell in the checkout on our terminal; returns its exit status."""
        line = f"cd {PROJECT} && PATH={PROJECT}/.venv/bin:$PATH exec $SHELL"
        argv = self._argv(line, "-t")
        with process.spawn(argv, stdin=0, stdout=1, stderr=2, new_group=False) as child:
            return child.wait()

    def _await(self, child: process.Process, deadline: Deadline, what: str) -> int:
        waiting = select.poll()
        waiting.register(child.pidfd, select.POLLIN)
        waiting.register(self.machine.child.pidfd, select.POLLIN)
        ready = [descriptor for descriptor, _ in waiting.poll(deadline.left_s() * 1000)]
        if not ready:
            raise DeadlineExceeded(
                f"{what} did not end in time; the lab's console ends: {self.machine.console_end()}",
                "give it longer with --limit",
            )
        if self.machine.child.pidfd in ready:
            raise LaunchFailed(
                f"the lab's machine ended under {what}; its console ends: "
                f"{self.machine.console_end()}"
            )
        status = child.wait()
        if status == _SSH_FAILED:
            raise LaunchFailed(f"the connection to the lab broke under {what}")
        return status

    def read(self, line: str, *, check: bool = True, given: bytes | None = None) -> bytes:
        """What a shell line prints inside; both of its outputs where it may fail."""
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
        """Set its clock, and put today's checkout in place of the one of its disk."""
        self.read(
            f"date -u -s @{int(now_s)} >/dev/null && mkdir -p {PROJECT} && cd {PROJECT} && "
            "find . -mindepth 1 -maxdepth 1 ! -name .venv ! -name results -exec rm -rf {} + && "
            f"tar -x --no-same-owner -f - && mkdir -p {RUNS} && for told in "
            ".venv/lib/python3*/site-packages/tarebench-*.dist-info/entry_points.txt; do "
            f'if [ -e "$told" ]; then cp {ENTRY_POINTS} "$told"; fi; done',
            given=archive,
        )

    def fetch_runs(self, target: Path) -> Sequence[Path]:
        """Bring the run folders back; one that is here already gets what has come since."""
        with tempfile.TemporaryFile() as held:
            argv = self._argv(f"tar -C {RUNS} -cf - .")
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

    def _argv(self, line: str, *options: str) -> list[str]:
        ssh = str(process.find_program("ssh"))  # it is there: the machine would not be
        return [
            ssh, "-F", os.devnull, *options, *_settings(self._settings()),
            "-i", str(self.built.key), "-p", str(self.port), f"{self.user}@127.0.0.1", line,
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


def _settings(values: Mapping[str, str]) -> Sequence[str]:
    return [word for name, value in values.items() for word in ("-o", f"{name}={value}")]
