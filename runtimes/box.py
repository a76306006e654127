"""What all adapters share: an instance that is an agent behind a channel.

An adapter brings its box to READY and then yields an `AgentBox`, which answers for the
`Instance` protocol by talking to the agent. What differs between boxes on the host's kernel
is only where their processes and files are.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from harness.channel import Agent, Listener
from harness.clock import Deadline
from harness.errors import DeadlineExceeded, NeedsRoot, UsageError
from harness.image.tree import outside_view
from harness.model import (
    Completed,
    Image,
    InstanceSpec,
    Job,
    Mark,
    Marks,
    Parameter,
    Storage,
)
from harness.probes.cgroups import Layout
from harness.probes.counters import descendants
from harness.process import reap, wait_pidfd
from harness.serving import Served, Service

SOCKET = "channel"
EXIT_TIMEOUT_S = 20.0
_ERROR_CHARACTERS = 500


class AgentBox:
    """One running box. `pid` is its init or VMM as the host sees it, `storage` where the
    files of jobs lie, and `extra` further processes that the box costs. `groups` are its control
    groups where they are more than those of its init. What runs inside (a service) is found among
    the descendants of `pid`; in a `sandbox`, whose threads start them, in its control group."""

    def __init__(
        self,
        agent: Agent,
        image: Image,
        pid: int,
        storage: Storage,
        extra: Sequence[int] = (),
        groups: Sequence[Path] = (),
        *,
        sandbox: bool = False,
    ) -> None:
        self.agent = agent
        self.image = image
        self.pid = pid
        self._storage = storage
        self._extra = tuple(extra)
        self._sandbox = sandbox
        self._groups = tuple(groups)

    def run(self, job: Job) -> Completed:
        return self.agent.run(job)

    def serve(self, service: Service) -> Served:
        return self.agent.serve(service)

    def send_request(self, service: Service, stamp_ns: int) -> None:
        self.agent.send_request(service, stamp_ns)

    def round_trip_ns(self) -> tuple[int, int | None]:
        return self.agent.round_trip_ns()

    def send_ping(self, stamp_ns: int) -> None:
        self.agent.send_ping(stamp_ns)

    def take_pong(self, wait_s: float) -> tuple[int, int] | None:
        return self.agent.take_pong(wait_s)

    def facts(self) -> Mapping[str, str]:
        return self.agent.facts()

    def derive_manifest(self) -> bytes:
        return self.agent.derive_manifest("/", self.image.excludes)

    def hash_files(self, paths: Sequence[str]) -> Mapping[str, str]:
        return self.agent.hash_files(paths)

    def drop_cached(self, paths: Sequence[str]) -> None:
        self.agent.drop_cached(paths)

    def touch(self, size_bytes: int, seed: int | None = None) -> int:
        return self.agent.touch(size_bytes, seed)

    def release(self) -> int:
        return self.agent.release()

    def scratch(self) -> str:
        return "/tmp"

    def storage(self) -> Storage:
        return self._storage

    def processes(self) -> Sequence[int]:
        inside = _sharing(self.cgroups()) if self._sandbox else descendants(self.pid)
        return tuple(dict.fromkeys((self.pid, *self._extra, *inside)))

    def cgroups(self) -> Sequence[Path]:
        return self._groups or Layout.detect().groups_of(self.pid)


def _sharing(groups: Sequence[Path]) -> Sequence[int]:
    return [
        int(pid) for group in groups[:1] for pid in (group / "cgroup.procs").read_text().split()
    ]


class ElsewhereBox(AgentBox):
    """A box of which nothing is on this host but the channel."""

    def __init__(self, agent: Agent, image: Image, storage: Storage) -> None:
        super().__init__(agent, image, 0, storage)

    def processes(self) -> Sequence[int]:
        return ()

    def cgroups(self) -> Sequence[Path]:
        return ()


def listen(spec: InstanceSpec) -> Listener:
    """The listener of an instance, in the folder that boxes see as /run/tarebench."""
    return Listener(spec.sockets / SOCKET, mode=0o666)


def last_words(errors: IO[bytes]) -> str:
    """The end of what a launcher wrote to its standard error."""
    errors.seek(0)
    return errors.read().decode(errors="replace").strip()[-_ERROR_CHARACTERS:]


def in_directory_form(image: Image, inside: Sequence[str]) -> list[Path]:
    """Where boxes on the image's directory find paths inside it, also below an overlay."""
    return [outside_view(image.root, path) for path in inside]


class Ending:
    """Asks a box to end and marks its end by a pidfd that was opened when it was ready.

    `collect` reaps the ended process; by default as an orphan that may be ours to reap. `pidfd`
    tells of its end meanwhile.
    """

    def __init__(self, pid: int, collect: Callable[[], object] | None = None) -> None:
        self.pid = pid
        self._collect = collect or (lambda: reap(pid))
        self.pidfd = os.pidfd_open(pid)
        self._ended = False

    def exit(self, agent: Agent, marks: Marks, timeout_s: float = EXIT_TIMEOUT_S) -> None:
        """Ask, wait, mark `stop` and `exited`. Raises DeadlineExceeded."""
        marks.stamp(Mark.STOP)
        agent.ask_to_exit()
        self.wait(marks, Deadline(timeout_s))

    def wait(self, marks: Marks, deadline: Deadline) -> None:
        if not wait_pidfd(self.pidfd, deadline.left_s()):
            raise DeadlineExceeded(f"the box (pid {self.pid}) did not end when asked")
        marks.stamp(Mark.EXITED)
        self._ended = True
        self._collect()

    def __enter__(self) -> Ending:
        return self

    def __exit__(self, *exc: object) -> None:
        """On the way out of a failure the box is killed by its own pidfd, never by number. One that
        is a daemon's, and not ours to kill, is ended by it."""
        if not self._ended:
            timeout_s = EXIT_TIMEOUT_S
            try:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            except ProcessLookupError:
                pass
            except PermissionError:  # its daemon is told to end it later, by who started it
                timeout_s = 0.0
            if wait_pidfd(self.pidfd, timeout_s):
                self._collect()
        os.close(self.pidfd)


def check_parameters(
    name: str, given: Mapping[str, str], known: Mapping[str, Parameter]
) -> dict[str, str]:
    """Given parameters over defaults; raises UsageError that names what is allowed."""
    for key, value in given.items():
        if key not in known:
            allowed = ", ".join(known) or "none"
            raise UsageError(f"{name} has no parameter {key!r}", f"its parameters: {allowed}")
        if known[key].canonical(value) is None:
            raise UsageError(
                f"{value!r} is not a value of {key} of {name}",
                f"choose from {', '.join(known[key].choices)}",
            )
    return {key: given.get(key, parameter.default) for key, parameter in known.items()}


def require_root(name: str) -> None:
    """Raises NeedsRoot for an ordinary user."""
    if os.geteuid() != 0:
        raise NeedsRoot(f"{name} needs root")
