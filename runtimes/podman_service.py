"""A Podman service of the run's own, which leaves nothing of itself on the host.

Podman has no daemon: its API is served by a process that lives as long as it is wanted, and
each container is held by a monitor (conmon) of its own. The service gets a mount namespace,
in which folders of the run lie over those where Podman and its helpers keep their state, and,
unless boxes are to have the host's network, a network namespace: its bridge and its firewall
rules are made there and end with it. Storage, images included, stays in our cache.
"""

from __future__ import annotations

import functools
import json
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
from runtimes import engine_runtimes
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
from runtimes.engine_start import (
    count_apart,
    drop_leftovers,
    locked,
    reaped,
    spawn_daemon,
    wait_up,
)
from runtimes.mounts import MountsOf, PrivateMounts, hide_unified

KIND = "podman-service"
TITLE = "a private Podman service"
PROGRAMS = ("podman", "conmon")
API_VERSION = "1.40"
"""Docker's API as we speak it to Podman, which asks the package manager when asked for its own."""
_OWN_CHOICE = ("crun", "runc")
"""What Podman takes when nobody tells it an OCI runtime, in its own order."""
_HELPERS = tuple(
    Path(base, "podman") for base in ("/usr/libexec", "/usr/lib", "/usr/local/libexec")
)
_RUN_ROOT, _TEMPORARY = "/run/containers", "/run/libpod"
_COVERED = (
    _RUN_ROOT, _TEMPORARY, "/run/crun", "/run/runc", "/run/runsc", "/run/netns",
    "/var/lib/containers", "/var/cache/containers",
)  # fmt: skip
_REGISTRIES = """\
# Written by tarebench: as for Docker, the loopback needs no certificate.
[[registry]]
location = "127.0.0.1"
insecure = true
"""
_MONITOR = "conmon"
_OURS = frozenset({"tini", "podman", _MONITOR})


def require_startable(runtime: str, network: str) -> None:
    """Raises RuntimeUnavailable with the reason why no private service can be started here."""
    if os.geteuid() != 0:
        raise NeedsRoot(
            "podman's rootless containers have other limits and another network, and are not "
            "measured"
        )
    for program in PROGRAMS:
        if find_program(program) is None:
            raise RuntimeUnavailable(
                f"{program} is not installed", "apt-get install podman conmon netavark"
            )
    if not Layout.detect().writable():
        raise RuntimeUnavailable(
            "podman needs writable control groups",
            "mount /sys/fs/cgroup read-write (containers: run privileged)",
        )
    known = engine_runtimes.installed()
    engine_runtimes.require(runtime, known, TITLE, network)
    if not runtime and not set(_OWN_CHOICE) & known.keys():
        raise RuntimeUnavailable("podman finds no OCI runtime", "apt-get install crun")
    if network == "bridge":
        _require_bridge()


def _require_bridge() -> None:
    has_netavark = any((folder / "netavark").exists() for folder in _HELPERS)
    for there, name in ((has_netavark, "netavark"), (find_program("iptables"), "iptables")):
        if not there:
            raise RuntimeUnavailable(
                f"podman's bridge needs {name}, which is not installed",
                f"apt-get install {name}, or podman,network=none",
            )


def chosen(runtime: str) -> str:
    """The OCI runtime that a private service takes; raises KeyError where none is installed."""
    known = engine_runtimes.installed()
    return runtime or next(name for name in _OWN_CHOICE if name in known)


class PrivatePodman:
    """The run's own service for one OCI runtime and one kind of network.

    All of a run share one storage and one place: Podman keeps its state in files, so that
    services beside each other know the same containers and images.
    """

    def __init__(self, context: Context, runtime: str, network: str) -> None:
        self._context = context
        self._runtime, self._network = runtime, network
        self.folder = context.state / "podman"
        self._apart = network != "host"
        place = [] if self._apart else ["host"]
        words = ["service", *([f"{runtime}-{network}"] if runtime else place)]
        self.socket = self.folder / f"{'-'.join(words)}.sock"
        self.host = f"unix://{self.socket}"
        self._data = context.cache / "podman"
        self._hold = Hold(self.folder)

    @property
    def running(self) -> bool:
        return self.socket.exists()

    def acquire(self) -> None:
        """Start it unless it runs, and hold it. Raises RuntimeUnavailable with its own words."""
        if not self.running:
            require_startable(self._runtime, self._network)
            others = _processes(self.folder, self._data)
            try:
                self._start(others)
            except OSError as error:
                self._give_up(others)
                raise RuntimeUnavailable(f"{TITLE} could not start: {error}") from error
            except BaseException:
                self._give_up(others)
                raise
        self._hold.take()

    def release(self) -> None:
        """Let go of it; the last one stops all of them and removes what they share."""
        if self._hold.give_back():
            self._remove()

    def processes(self) -> Sequence[int]:
        """This service itself, without monitors and without others of the run."""
        return [pid for pid in _processes(self.folder, self._data) if self.host in argv_of(pid)]

    def _details(self) -> Mapping[str, str]:
        return {
            "cgroup": f"{self._context.cgroup}/podman",
            "data": str(self._data),
            **cover_details(_COVERED, self._context.run_id),
        }

    def _start(self, others: Sequence[int]) -> None:
        """In the place of those that run; the first one makes it."""
        details = self._details()
        with ExitStack() as stack:
            if others:
                details = recall(self.folder, details)
                mounts = stack.enter_context(MountsOf(others[0], network=self._apart))
            else:
                self._context.inventory.will_make(KIND, str(self.folder), **details)
                remember(self.folder, details)
                stack.enter_context(locked(self._data, "Podman service"))
                self._write_files()
                mounts = stack.enter_context(PrivateMounts(network=self._apart))
                cover(mounts, _COVERED, self.folder / "covers", details)
                hide_unified(mounts)
            self._spawn(mounts)
        count_apart(details["cgroup"], self.processes())
        if not others:
            drop_leftovers(self.host, API_VERSION)

    def _spawn(self, mounts: PrivateMounts) -> None:
        log = self.folder / "log"
        mounts.call(os.chdir, self.folder)  # of its thread: monitors write where they are
        command = reaped(self._command())
        with log.open("ab") as output:
            daemon = mounts.call(
                functools.partial(spawn_daemon, command, output.fileno(), **self._environment())
            )
            wait_up(self.socket, [daemon], log, TITLE, API_VERSION)
        os.close(daemon.pidfd)  # whoever stops it opens another, by identity

    def _write_files(self) -> None:
        (self._data / "tmp").mkdir(exist_ok=True, mode=0o700)
        (self.folder / "containers.conf").write_text(containers_conf(self.folder, self._data))
        (self.folder / "storage.conf").write_text(storage_conf(self._data))
        (self.folder / "registries.conf").write_text(_REGISTRIES)

    def _environment(self) -> dict[str, str]:
        return {
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
            "TMPDIR": str(self._data / "tmp"),
            "HOME": str(self.folder),
        }

    def _command(self) -> list[str]:
        known = engine_runtimes.installed()
        told = known[engine_runtimes.for_network(chosen(self._runtime), self._network, known)]
        flags = [f"--runtime-flag={word.lstrip('-')}" for word in told.arguments]
        return [
            str(find_program("podman")), "--runtime", told.path, *flags,
            "system", "service", "--time", "0", self.host,
        ]  # fmt: skip

    def _give_up(self, others: Sequence[int]) -> None:
        """What was begun is ended; those that ran before are others' to end."""
        if not others:
            self._remove()
            return
        for pid in reversed(self.processes()):
            still = functools.partial(_is_ours, pid, self.folder, self._data)
            end_process(pid, still, signal.SIGKILL)
        self.socket.unlink(missing_ok=True)

    def _remove(self) -> None:
        services.remove(str(self.folder), recall(self.folder, self._details()))
        self._context.inventory.removed(KIND, str(self.folder))


def containers_conf(folder: Path, data: Path) -> str:
    """Podman's settings: no limits but those asked for, and no service manager."""
    return "\n".join([
        "# Written by tarebench.",
        "[containers]",
        "default_ulimits = []",
        "pids_limit = 0",
        "[engine]",
        'cgroup_manager = "cgroupfs"',
        'events_logger = "file"',
        'lock_type = "file"',
        f"tmp_dir = {_text(Path(_TEMPORARY))}",
        f"static_dir = {_text(data / 'storage' / 'libpod')}",
        f"volume_path = {_text(data / 'storage' / 'volumes')}",
        "[network]",
        f"network_config_dir = {_text(folder / 'networks')}",
        "",
    ])  # fmt: skip


def storage_conf(data: Path) -> str:
    """Where Podman keeps images and layers."""
    return "\n".join([
        "# Written by tarebench.",
        "[storage]",
        'driver = "overlay"',
        f"graphroot = {_text(data / 'storage')}",
        f"runroot = {_text(Path(_RUN_ROOT, 'storage'))}",
        "",
    ])  # fmt: skip


def _text(path: Path) -> str:
    return json.dumps(str(path))  # a JSON string is a TOML string


class ServiceCleaner:
    """Stops and removes a private service by its inventory entry; the name is its folder."""

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        folder = Path(name)
        left = _processes(folder, Path(details["data"]))
        return folder.exists() or bool(left) or not uncovered(details)

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        folder, data = Path(name), Path(details["data"])
        _end(folder, data)
        Group(Layout.detect(), details["cgroup"]).remove()
        uncover(details)
        if folder.exists():
            shutil.rmtree(folder)


def _end(folder: Path, data: Path) -> None:
    """The service first, so that it starts nothing more; then boxes, and then their monitors."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in reversed(_processes(folder, data)):
            if _program(pid) != _MONITOR:
                end_process(pid, functools.partial(_is_ours, pid, folder, data), number)
    for monitor in _processes(folder, data):
        for box in children_of(monitor):
            end_process(box, functools.partial(_is_child, box, monitor), signal.SIGKILL)
        end_process(monitor, functools.partial(_is_ours, monitor, folder, data), signal.SIGKILL)


def _is_child(pid: int, parent: int) -> bool:
    return parent_of(pid) == parent


def _processes(folder: Path, data: Path) -> Sequence[int]:
    return sorted(pid for pid in all_pids() if _is_ours(pid, folder, data))


def _is_ours(pid: int, folder: Path, data: Path) -> bool:
    """Whether a process is the service or a monitor, told by its folders in the arguments."""
    return _program(pid) in _OURS and any(
        part.startswith((f"unix://{folder}/", f"{data}/")) for part in argv_of(pid)
    )


def _program(pid: int) -> str:
    return Path(next(iter(argv_of(pid)), "")).name


services = ServiceCleaner()
"""What the group `tarebench.cleaners` names for the kind `podman-service`."""
