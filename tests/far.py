"""Another host, on this one: a real sshd before a real libvirtd, which see folders of their own.

The libvirtd is a private one with the driver of QEMU. Each connection to the port is served by
an sshd of its own, in that daemon's mount namespace, so that a shell there finds that daemon
and no other, and a disk of its own. The host can be cut off at any instant: what a machine
that loses its power does to whoever is connected.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.image.cache import finish, partial_directory
from harness.model import Context
from harness.process import Process, find_program, spawn
from runtimes.libvirt_daemon import Driver, PrivateLibvirt
from runtimes.mounts import MountsOf
from tests.lab import Lab

QEMU = Driver(
    "qemu",
    "qemu",
    "libvirt-daemon-driver-qemu",
    "qemu:///system",
    conf="\n".join([
        'stdio_handler = "file"', 'security_driver = "none"', "namespaces = []",
        'user = "root"', 'group = "root"', "cgroup_controllers = []", "dynamic_ownership = 0",
        "remember_owner = 0", "",
    ]),
)  # fmt: skip
_PRIVILEGE_SEPARATION = Path("/run/sshd")


@dataclass
class Far:
    """The host: its URI, and what it takes to be cut off."""

    uri: str
    disk: Path
    """Where /var/tmp of the host really lies."""
    daemon: PrivateLibvirt
    sessions: list[Process] = field(default_factory=list)
    is_up: bool = True
    lost_ns: int = 0

    def cut_off(self) -> None:
        """No connection lives on, and none is accepted."""
        self.is_up = False
        for session in self.sessions:
            _kill_tree(session.pid)

    def freeze(self) -> None:
        """It answers no more, and no connection is closed."""
        for session in self.sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(session.pid, signal.SIGSTOP)


def _kill_tree(pid: int) -> None:
    for child in _children(pid):
        _kill_tree(child)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(word) for word in listed.split()]
    return []


def sshd(cache: Path) -> tuple[Path, str]:
    """The server's program, and where it finds its libraries.

    Installing its package would open a port of this host to everybody: where it is not
    installed, it is unpacked into the cache.
    """
    if (found := find_program("sshd")) is not None:
        return Path(found), ""
    root = cache / "test-sshd"
    if not root.is_dir():
        with partial_directory(root) as partial:
            packages = ["openssh-server", "libwrap0"]
            subprocess.run(
                ["apt-get", "download", *packages], cwd=partial, check=True, capture_output=True
            )
            for archive in partial.glob("*.deb"):
                subprocess.run(["dpkg-deb", "--extract", archive, partial], check=True)
            finish(partial, root)
    return root / "usr/sbin/sshd", str(root / "usr/lib/x86_64-linux-gnu")


@contextmanager
def far_host(lab: Lab) -> Iterator[Far]:
    """The host, up; at the end nothing of it is left. Raises RuntimeUnavailable."""
    state = lab.place.state / "far"
    state.mkdir(mode=0o700)
    disk = lab.place.scratch / "far-disk"
    disk.mkdir()
    disk.chmod(0o1777)
    context = Context(
        "far", lab.context.cache, state, f"{lab.context.cgroup}/far", lab.context.inventory
    )
    daemon = PrivateLibvirt(context, QEMU)
    daemon.acquire()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, state)
        stack.callback(shutil.rmtree, disk)
        stack.callback(daemon.release)
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        command = _write_files(state, server.getsockname()[1])
        uri = f"qemu+ssh://root@127.0.0.1:{server.getsockname()[1]}/system?command={command}"
        far = Far(uri, disk, daemon)
        mounts = stack.enter_context(MountsOf(daemon.processes()[0]))
        mounts.bind(disk, Path("/var/tmp"))
        mounts.bind(state / "passwd", Path("/etc/passwd"))
        if not _PRIVILEGE_SEPARATION.exists():
            _PRIVILEGE_SEPARATION.mkdir()
            stack.callback(_PRIVILEGE_SEPARATION.rmdir)
        log = os.open(state / "sshd.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        stack.callback(os.close, log)
        thread = threading.Thread(target=_serve, args=(far, server, mounts, lab, log))
        thread.start()
        stack.callback(thread.join)
        stack.callback(server.shutdown, socket.SHUT_RDWR)
        stack.callback(_end, far)
        yield far


def _write_files(state: Path, port: int) -> Path:
    """Keys, both configurations, and a program `ssh` that uses them and nothing of the user's."""
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", state / name], check=True
        )
    host_key = " ".join((state / "host.pub").read_text().split()[:2])
    (state / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    passwd = Path("/etc/passwd").read_text()
    if "\nsshd:" not in passwd:
        passwd += "sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n"
    (state / "passwd").write_text(passwd)
    (state / "sshd_config").write_text(
        f"HostKey {state}/host\nAuthorizedKeysFile {state}/user.pub\nStrictModes no\n"
        "UsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
    )
    (state / "ssh_config").write_text(
        f"Host *\nIdentityFile {state}/user\nIdentitiesOnly yes\n"
        f"UserKnownHostsFile {state}/known_hosts\nGlobalKnownHostsFile /dev/null\n"
    )
    command = state / "ssh"
    command.write_text(f'#!/bin/sh\nexec /usr/bin/ssh -F {state}/ssh_config "$@"\n')
    command.chmod(0o700)
    return command


def _serve(far: Far, server: socket.socket, mounts: MountsOf, lab: Lab, log: int) -> None:
    program, libraries = sshd(lab.context.cache)
    argv = [str(program), "-i", "-e", "-f", str(far.daemon.folder.parent / "sshd_config")]
    environment = {"PATH": os.environ["PATH"], "LD_LIBRARY_PATH": libraries}
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            if not far.is_up:
                continue
            number = connection.fileno()
            start = functools.partial(
                spawn, argv, stdin=number, stdout=number, stderr=log, env=environment
            )
            far.sessions.append(mounts.call(start))


def _end(far: Far) -> None:
    far.cut_off()
    for session in far.sessions:
        session.wait()
