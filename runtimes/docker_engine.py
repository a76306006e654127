"""Finds a Docker Engine, or runs a private one that leaves nothing behind.

An engine that answers already is used as it is. Where there is none, and we are root, a run
gets one of its own. It lives in a mount namespace of its own, so that every mount that it
makes ends with its last process, however that ends; what it would write outside its folders
(/etc/docker, /run/containerd) is covered there by folders of the run. It gets a containerd of
its own, because dockerd would adopt any that it finds, and a bridge of its own. So all that
it can leave is processes, a bridge and control groups, each of which can be told by name.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.errors import NeedsRoot, RuntimeUnavailable
from harness.model import Context
from harness.probes.cgroups import Group, Layout
from harness.process import find_program
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
from runtimes.engine_runtimes import Registered
from runtimes.engine_start import (
    count_apart,
    drop_leftovers,
    locked,
    reaped,
    spawn_daemon,
    wait_up,
)
from runtimes.mounts import PrivateMounts, hide_unified

log = logging.getLogger(__name__)

KIND = "docker-engine"
_PROGRAMS = ("dockerd", "containerd", "containerd-shim-runc-v2", "runc")
_OURS = frozenset({"tini", "dockerd", "containerd", "docker-proxy", "docker-init"})
_SHIM = "containerd-shim"
_COVERED = ("/etc/docker", "/run/containerd")


def require_startable() -> None:
    """Raises RuntimeUnavailable with the reason why no private engine can be started here."""
    if find_program("dockerd") is None:
        raise RuntimeUnavailable("Docker Engine is not installed", "apt-get install docker.io")
    if os.geteuid() != 0:
        raise NeedsRoot(
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
                stack.enter_context(locked(self._data, "Docker Engine"))
                self._write_files(details)
                bridge.create(details["bridge"])
                output = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                stack.callback(os.close, output)
                mounts = stack.enter_context(PrivateMounts())
                cover(mounts, _COVERED, self.folder / "covers", details)
                hide_unified(mounts)  # its containers see what those of the native runtimes see
                daemons = [
                    mounts.call(functools.partial(spawn_daemon, argv, output))
                    for argv in self._commands()
                ]
                wait_up(self.socket, daemons, self.folder / "log", "a private Docker Engine")
                for daemon in daemons:
                    os.close(daemon.pidfd)  # whoever stops it opens another, by identity
            count_apart(details["cgroup"], [pid for pid, _ in _processes(self.folder)])
            drop_leftovers(self.host)
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
        return [
            reaped([str(find_program(program)), option, str(self.folder / file)])
            for program, option, file in (
                ("containerd", "--config", "containerd.toml"),
                ("dockerd", "--config-file", "daemon.json"),
            )
        ]


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
