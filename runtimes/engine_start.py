"""What starting a private engine takes, Docker's or Podman's: a lock, a wait, a clean slate."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.clock import Deadline
from harness.cpuid import patience
from harness.errors import HarnessError, RuntimeUnavailable
from harness.probes.cgroups import Group, Layout
from harness.process import Process, find_program, spawn
from runtimes.docker_api import ANY_VERSION, connect
from runtimes.engine_store import RUN_LABEL, forget

START_TIMEOUT_S = 90.0
_LOG_CHARACTERS = 800
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@contextlib.contextmanager
def locked(data: Path, title: str) -> Iterator[None]:
    """A lock on the data root that the daemons inherit: it is free when the last has ended."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.set_inheritable(lock, True)
        yield
    except BlockingIOError:
        raise RuntimeUnavailable(
            f"another run's {title} uses {data}",
            "wait for that run to end; if it was killed: tarebench clean",
        ) from None
    finally:
        os.close(lock)


def reaped(argv: Sequence[str]) -> list[str]:
    """A daemon's command line under tini, which reaps what it orphans: PID 1 may be slow to."""
    tini = find_program("tini")
    return [*([tini, "-s", "--"] if tini else []), *argv]


def spawn_daemon(argv: Sequence[str], output: int, **environment: str) -> Process:
    """Start one, with a search path and nothing else of our environment but what is given."""
    return spawn(argv, stdout=output, stderr=output, env={"PATH": SEARCH_PATH, **environment})


def wait_up(
    path: Path, daemons: Sequence[Process], log: Path, title: str, version: str = ANY_VERSION
) -> None:
    """Until it answers: its socket exists early, and holds our first question until then.

    For an instant it has its name already and nobody listens yet. Raises RuntimeUnavailable with
    the last words of its log.
    """
    limit_s, pause_s = START_TIMEOUT_S * patience(), 0.005
    deadline = Deadline(limit_s)
    while not _listens(path):
        if not all(daemon.is_running() for daemon in daemons):
            raise RuntimeUnavailable(f"{title} did not start: {_said(log)}")
        if deadline.over:
            raise RuntimeUnavailable(f"{title} was not up after {limit_s:g} s: {_said(log)}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.1)
    try:
        api = connect(f"unix://{path}", deadline.left_s(), version)
    except HarnessError as error:
        raise RuntimeUnavailable(f"{error.message}; {_said(log)}", error.hint) from error
    api.close()


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return False
    return True


def _said(log: Path) -> str:
    """The last words of a log, problems first."""
    lines = log.read_text(errors="replace").splitlines()
    bad = [line for line in lines if "level=error" in line or "level=fatal" in line]
    failed = [line for line in lines if line.startswith(("failed", "unable", "Error"))]
    return "\n".join(failed or bad or lines)[-_LOG_CHARACTERS:] or "it said nothing"


def count_apart(cgroup: str, pids: Sequence[int]) -> None:
    """Count the CPU time of daemons in a group of their own.

    On v1 only the hierarchy that counts CPU time is joined, and others keep their say.
    """
    group = Group(Layout.detect(), cgroup)
    group.create()
    counting = group.path("cpuacct")
    if counting is not None:
        for pid in pids:
            (counting / "cgroup.procs").write_text(str(pid))


def drop_leftovers(host: str, version: str = ANY_VERSION) -> None:
    """Remove the containers, and images of a while, that a killed run left in a private engine."""
    api = connect(host, START_TIMEOUT_S, version)
    for container in api.containers(all=True):
        api.remove_container(container["Id"], v=True, force=True)
    for image in api.images(""):
        if RUN_LABEL in (image.get("Labels") or {}):
            for name in image.get("RepoTags") or ():
                forget(api, name)
    api.close()
