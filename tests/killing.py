"""The tarebench command, which kills itself at an event of its course that one chooses.

Wherever a run changes the host or the disk something is wrapped here, and is an event before and
after: the inventory's lines, each mark, each program and each call of an engine's API, each record,
each wait for the disk. They are numbered as they happen and written to a trace. At the number asked
for the process sends SIGKILL to itself, or some time after it: so a kill can be put exactly at any
edge, or anywhere between two.

As a program it is a server, because a process that has loaded everything forks another in no time:
it reads a line of JSON (a `Job`), forks, becomes the command, and answers with its status.
"""

from __future__ import annotations

import functools
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

TIME_LIMIT_S = 300.0
TORN = "torn"
"""The event at which half a record is on the disk."""


@dataclass(frozen=True)
class Kill:
    """At which event, by number, and how long after it; 0 is never."""

    at: int = 0
    after_s: float = 0.0


@dataclass(frozen=True)
class Job:
    """A command, where it runs and what it is told by, and when it dies."""

    argv: Sequence[str]
    cwd: str
    env: dict[str, str]
    trace: str
    at: int = 0
    after_s: float = 0.0


@dataclass(frozen=True)
class Event:
    """One line of a trace: the host's monotonic clock, and what was about to happen (`<`) or had
    happened (`>`)."""

    ns: int
    name: str


def read_trace(path: Path) -> Sequence[Event]:
    """All events of a run, in order."""
    rows = (line.split(" ", 1) for line in path.read_text().splitlines())
    return [Event(int(ns), name) for ns, name in rows]


class Killers:
    """Runs jobs in a server; a context manager."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-m", __name__], env=environment, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    @property
    def pid(self) -> int:
        """The server's own."""
        return self._server.pid

    def run(self, job: Job) -> int:
        """The status of the command; a negative one is a signal's number."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(asdict(job)) + "\n")
        return int(self._server.stdout.readline())

    def __enter__(self) -> Killers:
        return self

    def __exit__(self, *exc: object) -> None:
        self._server.kill()
        self._server.communicate()


class Course:
    """The course of this process: numbers its events, writes them down, and ends it."""

    def __init__(self, trace: str, at: int, after_s: float) -> None:
        self._file = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._at, self._after_s = at, after_s
        self._lock = threading.Lock()
        self._number = 0

    def happen(self, name: str, spoil: Callable[[], object] = lambda: None) -> None:
        """`spoil` is done only just before the end: what is half done then."""
        with self._lock:
            self._number += 1
            os.write(self._file, f"{time.monotonic_ns()} {name}\n".encode())
            if self._number != self._at:
                return
            if not self._after_s:
                spoil()
                os.kill(os.getpid(), signal.SIGKILL)
            timer = threading.Timer(self._after_s, os.kill, (os.getpid(), signal.SIGKILL))
            timer.daemon = True
            timer.start()


_course: list[Course] = []
"""Of this process; empty in the server."""


def happen(name: str, spoil: Callable[[], object] = lambda: None) -> None:
    if _course:
        _course[0].happen(name, spoil)


@contextmanager
def around(name: str) -> Iterator[None]:
    happen(f"{name} <")
    yield
    happen(f"{name} >")


def wrap(owner: Any, attribute: str, name: Callable[..., str]) -> None:
    """Make a call of this function or method an event; `name` is told its arguments."""
    inner = getattr(owner, attribute)

    @functools.wraps(inner)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with around(name(*args, **kwargs)):
            return inner(*args, **kwargs)

    setattr(owner, attribute, wrapped)


def prepare() -> Callable[[], None]:
    """Wrap everything, load everything; returns the command's entry point."""
    from harness import process

    def program(argv: Sequence[object], *_: object, **__: object) -> str:
        return f"program {Path(str(argv[0])).name}"

    wrap(process, "run", program)  # others import them by name, so these come first
    wrap(process, "spawn", program)
    wrap(os, "fsync", lambda file: "sync")
    wrap(os, "fdatasync", lambda file: "sync")
    from runtimes import docker_api

    _wrap_engines(docker_api)
    import harness.cli
    from harness import registry, runner
    from harness.clock import Marks
    from harness.inventory import Inventory
    from harness.journal import Journal

    wrap(Inventory, "will_make", lambda self, kind, name, **details: f"make {kind}")
    wrap(Inventory, "removed", lambda self, kind, name: f"gone {kind}")
    wrap(Marks, "at", lambda self, mark, ns: f"mark {mark}")
    wrap(runner, "write_manifest", lambda folder, document: "manifest")
    _wrap_records(Journal)
    registry.cleaners()
    for name in ("docker", "libvirt_domain", "oci", "chroot", "bare", "fake"):
        __import__(f"runtimes.{name}")
    for name in ("docker", "docker.transport", "libvirt", "libvirt_qemu"):
        try:
            __import__(name)
        except ImportError:
            continue
    runner.make_report = lambda folder, drawn=True: None
    return harness.cli.main


def _wrap_engines(docker_api: Any) -> None:
    connect = docker_api.connect

    def connected(*args: Any, **kwargs: Any) -> Any:
        api = connect(*args, **kwargs)
        for name in ("create_container_from_config", "start", "wait", "remove_container"):
            wrap(api, name, functools.partial(_call, name))
        return api

    docker_api.connect = connected


def _call(name: str, *_: object, **__: object) -> str:
    return f"engine {name}"


def _wrap_records(journal: Any) -> None:
    """A record: before, half written, and when it is on the disk."""
    append = journal.append

    def wrapped(self: Any, record: Any) -> None:
        half = self._encode(record)[:-20]
        happen(f"record {record.trial} <")
        happen(TORN, lambda: os.write(self._file, half))
        append(self, record)
        happen(f"record {record.trial} >")

    journal.append = wrapped


def become(job: Job, main: Callable[[], None]) -> None:
    """This process, just forked, becomes the command; it does not return."""
    status = 70
    try:
        os.chdir(job.cwd)
        os.environ.clear()
        os.environ.update(job.env)
        null, said = os.open(os.devnull, os.O_RDWR), os.open(f"{job.trace}.said", _SAID, 0o600)
        for source, target in ((null, 0), (null, 1), (said, 2)):
            os.dup2(source, target)
        _course.append(Course(job.trace, job.at, job.after_s))
        sys.argv = ["tarebench", *job.argv]
        main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    finally:
        os._exit(status)


_SAID = os.O_WRONLY | os.O_CREAT | os.O_TRUNC


def serve() -> None:
    """Until standard input ends: a job a line, its status a line."""
    main = prepare()
    for line in sys.stdin:
        job = Job(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            become(job, main)
        pidfd = os.pidfd_open(pid)
        if not select.select([pidfd], [], [], TIME_LIMIT_S)[0]:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
        os.close(pidfd)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
