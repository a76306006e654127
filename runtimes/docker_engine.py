"""Finds a Docker Engine, or runs a private one that leaves nothing behind.

An engine that answers already is used as it is. Where there is none, and we are root, a run
gets one of its own. It lives in a mount namespace of its own, so that every mount that it
makes ends with its last process, however that ends; what it would write outside its folders
(/etc/docker, /run/containerd) is covered there by folders of the run. It gets a containerd of
its own, because dockerd would adopt any that it finds, and a bridge of its own. So all that
it can leave is processes, a bridge and control groups, each of which can be told by name.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.clock import Deadline
from harness.errors import HarnessError, RuntimeUnavailable
from harness.model import Context
from harness.probes.cgroups import Group, Layout
from harness.process import Process, find_program, spawn
from runtimes import bridge, engine_runtimes
from runtimes.daemon_parts import (
    Hold,
    all_pids,
    argv_of,
    children_of,
    cover,
    cover_details,
    end_process,
    parent_of,
    recall,
    remember,
    uncover,
    uncovered,
)
from runtimes.docker_api import connect
from runtimes.engine_runtimes import Registered
from runtimes.mounts import PrivateMounts, hide_unified

log = logging.getLogger(__name__)

KIND = "docker-engine"
_PROGRAMS = ("dockerd", "containerd", "containerd-shim-runc-v2", "runc")
_OURS = frozenset({"tini", "dockerd", "containerd", "docker-proxy", "docker-init"})
_SHIM = "containerd-shim"
_COVERED = ("/etc/docker", "/run/containerd")
_START_TIMEOUT_S = 90.0
_LOG_CHARACTERS = 800
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def require_startable() -> None:
    """Raises RuntimeUnavailable with the reason why no private engine can be started here."""
    if find_program("dockerd") is None:
        raise RuntimeUnavailable("Docker Engine is not installed", "apt-get install docker.io")
    if os.geteuid() != 0:
        raise RuntimeUnavailable(
            "no Docker Engine runs, and only root can start one",
            "start it (systemctl start docker), or run the same command with sudo",
        )
    for program in _PROGRAMS:
        if find_program(program) is None:
            raise RuntimeUnavailable(
                f"no Docker Engine runs, and {program} is missing to start one",
                "apt-get install docker.io",
            )
    if not Layout.detect().writable():
        raise RuntimeUnavailable(
            "no Docker Engine runs, and starting one needs writable control groups",
            "mount /sys/fs/cgroup read-write (containers: run privileged)",
        )


class PrivateEngine:
    """The run's own engine, shared by all of its runtimes that need one."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.folder = context.state / "docker"
        self.socket = self.folder / "docker.sock"
        self.host = f"unix://{self.socket}"
        self.containerd = self.folder / "containerd.sock"
        self._data = context.cache / "docker"
        self._hold = Hold(self.folder)

    @property
    def running(self) -> bool:
        return self.socket.exists()

    def acquire(self) -> None:
        """Start it unless it runs, and hold it. Raises RuntimeUnavailable with its own words."""
        if not self.running:
            require_startable()
            self._start()
        self._hold.take()

    def release(self) -> None:
        """Let go of it; the last one stops it and removes all of it."""
        if self._hold.give_back():
            self._remove()

    def processes(self) -> Sequence[int]:
        """The daemons themselves, without shims."""
        return [pid for pid, program in _processes(self.folder) if program in _OURS]

    def _details(self) -> Mapping[str, str]:
        own = bridge.name_of(self._context.run_id)
        return {
            "bridge": own,
            "cgroup": f"{self._context.cgroup}/engine",
            **cover_details(_COVERED, own),
        }

    def _start(self) -> None:
        details = self._details()
        self._context.inventory.will_make(KIND, str(self.folder), **details)
        try:
            with ExitStack() as stack:
                stack.enter_context(_locked(self._data))
                self._write_files(details)
                bridge.create(details["bridge"])
                output = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                stack.callback(os.close, output)
                mounts = stack.enter_context(PrivateMounts())
                cover(mounts, _COVERED, self.folder / "covers", details)
                hide_unified(mounts)  # its containers see what those of the native runtimes see
                daemons = [
                    mounts.call(functools.partial(_spawn_daemon, argv, output))
                    for argv in self._commands()
                ]
                self._wait(daemons)
                for daemon in daemons:
                    os.close(daemon.pidfd)  # whoever stops it opens another, by identity
            self._settle(details["cgroup"])
        except OSError as error:
            self._remove()
            raise RuntimeUnavailable(f"a private Docker Engine could not start: {error}") from error
        except BaseException:
            self._remove()
            raise

    def _remove(self) -> None:
        cleaner = EngineCleaner()
        cleaner.remove(str(self.folder), recall(self.folder, self._details()))
        self._context.inventory.removed(KIND, str(self.folder))

    def _write_files(self, details: Mapping[str, str]) -> None:
        remember(self.folder, details)
        (self.folder / "exec").mkdir(exist_ok=True, mode=0o700)
        (self.folder / "daemon.json").write_text(
            json.dumps(
                daemon_config(self.folder, self._data, details, engine_runtimes.installed()),
                indent=1,
            )
        )
        (self.folder / "containerd.toml").write_text(containerd_config(self.folder, self._data))

    def _commands(self) -> Sequence[Sequence[str]]:
        """tini reaps what the daemons orphan: PID 1 may be slow to (PLATFORM)."""
        tini = find_program("tini")
        reaper = [tini, "-s", "--"] if tini else []
        return [
            [
                *reaper,
                str(find_program("containerd")),
                "--config",
                str(self.folder / "containerd.toml"),
            ],
            [
                *reaper,
                str(find_program("dockerd")),
                "--config-file",
                str(self.folder / "daemon.json"),
            ],
        ]

    def _wait(self, daemons: Sequence[Process]) -> None:
        """Until it answers: its socket exists early, and holds our first question until then."""
        deadline, pause_s = Deadline(_START_TIMEOUT_S), 0.005
        while not self.socket.exists():
            self._check(daemons, deadline)
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.1)
        try:
            api = connect(self.host, deadline.left_s())
        except HarnessError as error:
            raise RuntimeUnavailable(f"{error.message}; {self._said()}", error.hint) from error
        api.close()

    def _check(self, daemons: Sequence[Process], deadline: Deadline) -> None:
        for daemon in daemons:
            if not daemon.is_running():
                raise RuntimeUnavailable(f"a private Docker Engine did not start: {self._said()}")
        if deadline.over:
            raise RuntimeUnavailable(
                f"a private Docker Engine was not up after {_START_TIMEOUT_S:g} s: {self._said()}"
            )

    def _said(self) -> str:
        """The last words of its log, problems first."""
        lines = (self.folder / "log").read_text(errors="replace").splitlines()
        bad = [line for line in lines if "level=error" in line or "level=fatal" in line]
        failed = [line for line in lines if line.startswith(("failed", "unable"))]
        return "\n".join(failed or bad or lines)[-_LOG_CHARACTERS:] or "it said nothing"

    def _settle(self, cgroup: str) -> None:
        """Count its CPU time apart, and drop containers that a killed run left in its data.

        On v1 only the hierarchy that counts CPU time is joined, and others keep their say.
        """
        group = Group(Layout.detect(), cgroup)
        group.create()
        counting = group.path("cpuacct")
        if counting is not None:
            for pid, _ in _processes(self.folder):
                (counting / "cgroup.procs").write_text(str(pid))
        api = connect(self.host, _START_TIMEOUT_S)
        for container in api.containers(all=True):
            api.remove_container(container["Id"], v=True, force=True)
        api.close()


def _spawn_daemon(argv: Sequence[str], output: int) -> Process:
    return spawn(argv, stdout=output, stderr=output, env={"PATH": _PATH})


@contextlib.contextmanager
def _locked(data: Path) -> Iterator[None]:
    """A lock on the data root that the daemons inherit: it is free when the last has ended."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.set_inheritable(lock, True)
        yield
    except BlockingIOError:
        raise RuntimeUnavailable(
            f"another run's Docker Engine uses {data}",
            "wait for that run to end; if it was killed: tarebench clean",
        ) from None
    finally:
        os.close(lock)


def daemon_config(
    folder: Path, data: Path, details: Mapping[str, str], runtimes: Mapping[str, Registered]
) -> Mapping[str, object]:
    """dockerd's configuration: nothing of the host is changed for it but its own bridge.

    It knows runc by itself, and does not allow to be told of it.
    """
    return {
        "runtimes": {
            name: {"path": told.path, "runtimeArgs": list(told.arguments)}
            for name, told in runtimes.items()
            if name != "runc"
        },
        "hosts": [f"unix://{folder / 'docker.sock'}"],
        "containerd": str(folder / "containerd.sock"),
        "data-root": str(data / "data"),
        "exec-root": str(folder / "exec"),
        "pidfile": str(folder / "dockerd.pid"),
        "storage-driver": "overlay2",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "bridge": details["bridge"],
        "cgroup-parent": f"/{Path(details['cgroup']).parent}",
        "iptables": False,
        "ip6tables": False,
        "ip-forward": False,
        "ip-masq": False,
    }


def containerd_config(folder: Path, data: Path) -> str:
    """containerd's configuration: only its own folders, and nothing for Kubernetes."""

    def text(path: Path) -> str:
        return json.dumps(str(path))  # a JSON string is a TOML string

    return "\n".join([
        "version = 2",
        f"root = {text(data / 'containerd')}",
        f"state = {text(folder / 'containerd')}",
        'disabled_plugins = ["io.containerd.grpc.v1.cri"]',
        "[grpc]",
        f"address = {text(folder / 'containerd.sock')}",
        '[plugins."io.containerd.internal.v1.opt"]',
        f"path = {text(folder / 'opt')}",
        "",
    ])  # fmt: skip


class EngineCleaner:
    """Stops and removes a private engine by its inventory entry; the name is its folder."""

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        folder = Path(name)
        return (
            folder.exists()
            or bool(_processes(folder))
            or bridge.exists(details.get("bridge", ""))
            or not uncovered(details)
        )

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        folder = Path(name)
        _end(folder)
        if made := details.get("bridge"):
            bridge.delete(made)
        if cgroup := details.get("cgroup"):
            Group(Layout.detect(), cgroup).remove()
        uncover(details)
        if folder.exists():
            shutil.rmtree(folder)


def _end(folder: Path) -> None:
    """Containers are killed first, then the engine is asked to end, then all is killed."""
    for shim, program in _processes(folder):
        if program.startswith(_SHIM):
            for box in children_of(shim):
                end_process(box, functools.partial(_is_child, box, shim), signal.SIGKILL)
    for daemon in ("dockerd", "containerd"):
        _signal_all(folder, (daemon,), signal.SIGTERM)
    _signal_all(folder, (), signal.SIGKILL)


def _signal_all(folder: Path, programs: Sequence[str], number: signal.Signals) -> None:
    for pid, program in _processes(folder):
        if not programs or program in programs:
            end_process(pid, functools.partial(_is_ours, pid, folder), number)


def _is_child(pid: int, parent: int) -> bool:
    return parent_of(pid) == parent


def _is_ours(pid: int, folder: Path) -> bool:
    """Whether a process is one of the engine's, told by its folder in the arguments."""
    argv = argv_of(pid)
    if not argv:
        return False
    program = Path(argv[0]).name
    known = program in _OURS or program.startswith(_SHIM)
    return known and any(part.startswith(f"{folder}/") for part in argv)


def _processes(folder: Path) -> Sequence[tuple[int, str]]:
    """The engine's processes, by number and program."""
    return [
        (pid, Path(argv[0]).name)
        for pid in all_pids()
        if _is_ours(pid, folder) and (argv := argv_of(pid))
    ]


engines = EngineCleaner()
"""What the group `tarebench.cleaners` names for the kind `docker-engine`."""
