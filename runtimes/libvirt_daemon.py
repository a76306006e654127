"""A libvirtd of the run's own, for the drivers that do not work inside our process.

It loads one driver and no other (none that would touch the host's firewall or networks),
sees its own folders where libvirt keeps its state, and serves a socket below the run's
folder. It says by itself when it is up, as it would tell systemd. Its control groups are made
by hand below the run's: without a bus it cannot ask a service manager for others.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import shutil
import signal
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

from harness.cpuid import patience
from harness.errors import NeedsRoot, RuntimeUnavailable
from harness.model import Context, Parameter
from harness.probes.cgroups import Group, Layout
from harness.process import Process, find_program, spawn
from runtimes.daemon_parts import (
    Hold,
    all_pids,
    argv_of,
    cover,
    cover_details,
    cover_of,
    end_process,
    recall,
    remember,
    uncover,
    uncovered,
)
from runtimes.mounts import PrivateMounts, hide_unified

KIND = "libvirt-daemon"
_DAEMON = "libvirtd"
_COVERED = (
    "/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt", "/etc/libvirt",
    "/run/dbus",
)  # fmt: skip
"""The last for the controllers of containers, who would ask systemd for groups by themselves."""
_SYSTEMD = Path("/run/systemd/system")
"""It is there where systemd has booted the host (sd_booted(3))."""
_OURS = frozenset({"tini", _DAEMON})
_DRIVERS = ("/usr/lib", "/usr/lib64")
_START_TIMEOUT_S = 30.0
_ANSWER_TIMEOUT_S = 5.0
_LOG_CHARACTERS = 800
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
AUTO = "auto"
URI = Parameter(
    AUTO, (), "auto (the host's daemon where it serves, else a private one), or a libvirt URI"
)


@dataclass(frozen=True)
class Driver:
    """One of libvirt's drivers that work in a daemon only.

    `module` is its file's name, `uri` where the host's own daemon has it. `groups` tells whether
    its boxes are to be in control groups of the run: the host's daemon cannot do that where groups
    are hybrid, nor where systemd makes them.
    """

    scheme: str
    module: str
    package: str
    uri: str
    groups: bool = True
    conf: str = ""


def find_daemon(context: Context, driver: Driver, uri: str) -> PrivateLibvirt | SharedLibvirt:
    """The daemon that is asked for; by `auto` the host's if it answers and can do what the driver
    needs, else a private one."""
    if uri != AUTO:
        return SharedLibvirt(uri, driver)
    shared = SharedLibvirt(driver.uri, driver)
    elsewhere = Layout.detect().version == "hybrid" or _SYSTEMD.is_dir()
    if shared.answers() and not (driver.groups and elsewhere):
        return shared
    return PrivateLibvirt(context, driver)


def driver_file(driver: str) -> Path | None:
    """The module of one of libvirt's drivers, as far as it is installed."""
    name = f"libvirt/connection-driver/libvirt_driver_{driver}.so"
    found = [path for base in _DRIVERS for path in Path(base).glob(f"**/{name}")]
    return found[0] if found else None


def require_startable(driver: Driver) -> Path:
    """The driver's module; RuntimeUnavailable says why no private daemon can be started."""
    module = driver_file(driver.module)
    if module is None:
        raise RuntimeUnavailable(
            f"libvirt's driver {driver.module} is not installed",
            f"apt-get install {driver.package}",
        )
    if find_program(_DAEMON) is None:
        raise RuntimeUnavailable(f"{_DAEMON} is not installed", "apt-get install libvirt-daemon")
    if os.geteuid() != 0:
        raise NeedsRoot(
            f"no {_DAEMON} with the driver {driver.module} runs, and only root can start one"
        )
    if not Layout.detect().writable():
        raise RuntimeUnavailable(
            f"no {_DAEMON} runs, and starting one needs writable control groups",
            "mount /sys/fs/cgroup read-write (containers: run privileged)",
        )
    return module


class PrivateLibvirt:
    """The run's own daemon for one driver, shared by all runtimes of the run that need it."""

    shared = False

    def __init__(self, context: Context, driver: Driver) -> None:
        self._context = context
        self._driver = driver
        self.folder = context.state / f"libvirtd-{driver.scheme}"
        self.socket = cover_of(self.folder, "/run/libvirt") / "libvirt-sock"
        self._hold = Hold(self.folder)

    @property
    def uri(self) -> str:
        return f"{self._driver.scheme}:///system?socket={quote(str(self.socket))}"

    def acquire(self) -> None:
        """Start it unless it runs, and hold it. Raises RuntimeUnavailable with its own words."""
        if not self.processes():
            self._start(require_startable(self._driver))
        self._hold.take()

    def release(self) -> None:
        """Let go of it; the last one stops it and removes all of it."""
        if self._hold.give_back():
            self._remove()

    def processes(self) -> Sequence[int]:
        """The daemon itself, without what it has started."""
        return _processes(self.folder)

    def _details(self) -> Mapping[str, str]:
        return {
            "cgroup": f"{self._context.cgroup}/{_DAEMON}-{self._driver.scheme}",
            **cover_details(_COVERED, self._context.run_id),
        }

    def _start(self, module: Path) -> None:
        details = self._details()
        self._context.inventory.will_make(KIND, str(self.folder), **details)
        try:
            remember(self.folder, details)
            self._write_files(module)
            with ExitStack() as stack:
                notices = stack.enter_context(_notices(self.folder / "notify"))
                output = os.open(self.folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                stack.callback(os.close, output)
                mounts = stack.enter_context(PrivateMounts())
                cover(mounts, _COVERED, self.folder, details)
                hide_unified(mounts)
                daemon = mounts.call(functools.partial(self._spawn, output))
                self._wait(daemon, notices)
                os.close(daemon.pidfd)  # whoever stops it opens another, by identity
            self._count_apart(details["cgroup"])
        except OSError as error:
            self._remove()
            raise RuntimeUnavailable(f"a private {_DAEMON} could not start: {error}") from error
        except BaseException:
            self._remove()
            raise

    def _write_files(self, module: Path) -> None:
        etc, drivers = cover_of(self.folder, "/etc/libvirt"), self.folder / "drivers"
        for folder in (etc, drivers):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (drivers / module.name).symlink_to(module)
        (etc / f"{self._driver.module}.conf").write_text(self._driver.conf)
        (self.folder / "libvirtd.conf").write_text(daemon_config(self.folder))

    def _spawn(self, output: int) -> Process:
        """tini reaps what the daemon orphans: PID 1 may be slow to (PLATFORM)."""
        tini = find_program("tini")
        argv = [
            *([tini, "-s", "--"] if tini else []), str(find_program(_DAEMON)),
            "--config", str(self.folder / "libvirtd.conf"),
            "--pid-file", str(self.folder / "libvirtd.pid"),
        ]  # fmt: skip
        environment = {
            "PATH": _PATH,
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "LIBVIRT_DRIVER_DIR": str(self.folder / "drivers"),
            "DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.folder / 'no-bus'}",
        }
        return spawn(argv, stdout=output, stderr=output, env=environment)

    def _wait(self, daemon: Process, notices: socket.socket) -> None:
        """Until it tells that it is up, which it does as services tell it systemd."""
        waiting, limit_s = select.poll(), _START_TIMEOUT_S * patience()
        waiting.register(notices, select.POLLIN)
        waiting.register(daemon.pidfd, select.POLLIN)
        ready = dict(waiting.poll(limit_s * 1000))
        if notices.fileno() in ready:
            return
        why = "ended" if ready else f"was not up after {limit_s:g} s"
        said = (self.folder / "log").read_text(errors="replace").strip()[-_LOG_CHARACTERS:]
        raise RuntimeUnavailable(f"a private {_DAEMON} {why}: {said or 'it said nothing'}")

    def _count_apart(self, cgroup: str) -> None:
        """On v1 only the hierarchy that counts CPU time is joined, and others keep their say."""
        group = Group(Layout.detect(), cgroup)
        group.create()
        counting = group.path("cpuacct")
        if counting is not None:
            for pid in self.processes():
                (counting / "cgroup.procs").write_text(str(pid))

    def _remove(self) -> None:
        daemons.remove(str(self.folder), recall(self.folder, self._details()))
        self._context.inventory.removed(KIND, str(self.folder))


class SharedLibvirt:
    """A daemon that the host has already, told by its URI."""

    shared = True

    def __init__(self, uri: str, driver: Driver) -> None:
        self._asked, self._system = uri, driver.uri
        given = parse_qs(urlsplit(uri).query).get("socket", [])
        self._sockets = given or [
            f"/run/libvirt/{name}-sock" for name in (f"virt{driver.scheme}d", "libvirt")
        ]

    @property
    def uri(self) -> str:
        """With the socket at which it answers, if it is asked for by this alone: in a process that
        holds a driver of its own (qemu:///embed), libvirt looks for those of modular daemons."""
        answered = self._answering()
        if answered is None or self._asked != self._system:
            return self._asked
        return f"{self._asked}?socket={quote(answered[0])}"

    def answers(self) -> bool:
        """Whether a process listens at one of its sockets."""
        return self._answering() is not None

    def acquire(self) -> None:
        """Raises RuntimeUnavailable where nobody listens."""
        if not self.answers():
            raise RuntimeUnavailable(
                f"no libvirt daemon answers at {' or '.join(self._sockets)}",
                "start it (systemctl start libvirtd), or leave the parameter uri out",
            )

    def release(self) -> None:
        """It is not ours to stop."""

    def processes(self) -> Sequence[int]:
        """Who listens: the daemon, or the service manager that would start it."""
        found = self._answering()
        return [] if found is None else [found[1]]

    def _answering(self) -> tuple[str, int] | None:
        """The first of its sockets at which a process listens, and that process."""
        for path in self._sockets:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asking:
                asking.settimeout(_ANSWER_TIMEOUT_S)
                asking.connect(path)
                told = asking.getsockopt(
                    socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
                )
                return path, struct.unpack("3i", told)[0]
        return None


@contextlib.contextmanager
def _notices(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiving:
        receiving.bind(str(path))
        yield receiving


def daemon_config(folder: Path) -> str:
    """libvirtd's configuration: its sockets are for their owner alone."""
    return "\n".join([
        "# Written by tarebench.",
        'unix_sock_group = "root"',
        'unix_sock_ro_perms = "0700"',
        'unix_sock_rw_perms = "0700"',
        'auth_unix_ro = "none"',
        'auth_unix_rw = "none"',
        f'log_outputs = "3:file:{folder / "log"}"',
        "",
    ])  # fmt: skip


class DaemonCleaner:
    """Stops and removes a private daemon by its inventory entry; the name is its folder."""

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        folder = Path(name)
        return folder.exists() or bool(_processes(folder)) or not uncovered(details)

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        folder = Path(name)
        for number in (signal.SIGTERM, signal.SIGKILL):
            for pid in reversed(_processes(folder)):
                end_process(pid, functools.partial(_is_ours, pid, folder), number)
        if cgroup := details.get("cgroup"):
            Group(Layout.detect(), cgroup).remove()
        uncover(details)
        if folder.exists():
            shutil.rmtree(folder)


def _processes(folder: Path) -> Sequence[int]:
    return sorted(pid for pid in all_pids() if _is_ours(pid, folder))


def _is_ours(pid: int, folder: Path) -> bool:
    """Whether a process is of the daemon, told by its folder in the arguments."""
    argv = argv_of(pid)
    return (
        bool(argv)
        and Path(argv[0]).name in _OURS
        and any(part.startswith(f"{folder}/") for part in argv)
    )


daemons = DaemonCleaner()
"""What the group `tarebench.cleaners` names for the kind `libvirt-daemon`."""
