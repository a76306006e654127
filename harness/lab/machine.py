"""One machine of the lab: QEMU without hardware assistance, from its start to its end.

QEMU is called directly and not through libvirt: Xen is a multiboot kernel with a list of
modules, and the network forwards a port, neither of which libvirt's XML can say; and one
launcher serves every profile. It dies with the harness by the kernel's hand, its disk is an
overlay that is thrown away, and the inventory has it before it is started.
"""

from __future__ import annotations

import os
import re
import select
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness import process
from harness.clock import Deadline
from harness.errors import CommandFailed, DeadlineExceeded, EnvironmentRefused, LaunchFailed
from harness.lab.qmp import Monitor, listener
from harness.lab.recipe import PORT, UP
from harness.model import MIB, Ledger

KIND = "lab-machine"
CPU = "EPYC,+svm,+npt,-smap,-monitor,-rdtscp"
"""AMD's virtualization with nested paging. With the first two of what is left out, Xen or its
dom0 dies under this emulation, with the third its PVH guests do."""
_QEMU = "qemu-system-x86_64"
_TOOLS = {
    _QEMU: "qemu-system-x86", "qemu-img": "qemu-utils", "ssh": "openssh-client",
    "setpriv": "util-linux",
}  # fmt: skip
_PREFIX = "tarebench-lab-"
_ANSWER_S = 60.0
_CONSOLE_CHARACTERS = 2000
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\n\x20-\x7e]")


@dataclass(frozen=True)
class Boot:
    """What a machine is started from. `initrd` may be a list of modules for a multiboot kernel."""

    kernel: Path
    initrd: str
    command_line: str
    memory_bytes: int
    cpus: int


@dataclass(frozen=True)
class Sockets:
    """Where one machine's sockets and console lie; a short path."""

    folder: Path

    @property
    def monitor(self) -> Path:
        return self.folder / "qmp"

    @property
    def up(self) -> Path:
        return self.folder / "up"

    @property
    def console(self) -> Path:
        return self.folder / "console.log"


def qemu_arguments(
    name: str, boot: Boot, disk: Path, sockets: Sockets, *, restored: bool = False
) -> list[str]:
    """QEMU's command line after its own name; `restored` waits for a machine's state."""
    return [
        "-name", f"{_PREFIX}{name}",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        # Gigabytes that the host's same-page merging would scan for what else runs there.
        "-machine", "q35,mem-merge=off",
        "-accel", "tcg,thread=multi,tb-size=1024",
        "-cpu", CPU,
        "-smp", str(boot.cpus),
        "-m", f"{boot.memory_bytes // MIB}M",
        "-kernel", str(boot.kernel),
        "-initrd", boot.initrd,
        "-append", boot.command_line,
        "-drive", f"file={_escaped(disk)},format=qcow2,if=none,id=root",
        "-device", "virtio-blk-pci,drive=root",
        "-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-:22",
        "-device", "virtio-net-pci,netdev=net",
        "-device", "virtio-rng-pci",
        # A machine that goes on from a snapshot must not draw the random numbers of another.
        "-device", "vmgenid,guid=auto",
        "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=up,path={_escaped(sockets.up)}",
        "-device", f"virtserialport,chardev=up,name={PORT}",
        "-chardev", f"file,id=console,append=on,path={_escaped(sockets.console)}",
        "-serial", "chardev:console",
        "-chardev", f"socket,id=qmp,path={_escaped(sockets.monitor)}",
        "-mon", "chardev=qmp,mode=control",
        *(["-S", "-incoming", "defer"] if restored else []),
    ]  # fmt: skip


def _escaped(path: Path) -> str:
    """In QEMU's lists of options a comma is written twice."""
    return str(path).replace(",", ",,")


class Machine:
    """One that runs. Made by `start`."""

    def __init__(
        self, child: process.Process, monitor: Monitor, up: socket.socket, sockets: Sockets
    ) -> None:
        self.child = child
        self._monitor = monitor
        self._up = up
        self._sockets = sockets

    def wait_up(self, deadline: Deadline) -> Sequence[str]:
        """The words that it says once it is up. Raises LaunchFailed, DeadlineExceeded."""
        said = b""
        while not said.endswith(b"\n"):
            said += self._heard(deadline)
        words = said.decode(errors="replace").split()
        if words[:1] != [UP]:
            raise LaunchFailed(f"the lab said {words} where it says that it is up")
        return words[1:]

    def _heard(self, deadline: Deadline) -> bytes:
        if not self.wait(self._up.fileno(), deadline):
            raise DeadlineExceeded(
                f"the lab was not up in time; its console ends: {self.console_end()}",
                "a busy host needs a longer --boot-limit",
            )
        chunk = self._up.recv(4096)
        if not chunk:
            raise LaunchFailed(
                f"the lab's machine ended before it was up; its console ends: {self.console_end()}"
            )
        return chunk

    def wait(self, descriptor: int, deadline: Deadline) -> bool:
        """Until there is something at a descriptor, or the machine has ended; False when neither
        was so in time. Raises LaunchFailed where its disk has no room: QEMU stops it then."""
        waiting = select.poll()
        for each in (descriptor, self.child.pidfd, self._monitor.fileno()):
            waiting.register(each, select.POLLIN)
        while True:
            self._require_room()
            ready = {each for each, _ in waiting.poll(deadline.left_s() * 1000)}
            if not ready:
                return False
            if ready & {descriptor, self.child.pidfd}:
                return True

    def _require_room(self) -> None:
        try:
            told = self._monitor.told("BLOCK_IO_ERROR", Deadline(_ANSWER_S))
        except CommandFailed:  # it is about to end
            process.wait_pidfd(self.child.pidfd, _ANSWER_S)
            return
        if any(data["action"] == "stop" for data in told):
            raise LaunchFailed(
                f"the lab's machine was stopped: its disk cannot be written ({told[-1]['reason']})",
                "make room where TAREBENCH_CACHE is, or the disk of --keep",
            )

    def ssh_port(self) -> int:
        """The port of this host that leads to the machine's."""
        told = self._monitor.ask(
            "human-monitor-command", Deadline(_ANSWER_S), {"command-line": "info usernet"}
        )
        found = re.search(r"TCP\[HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", told)
        if found is None:
            raise LaunchFailed(f"QEMU forwards no port to the lab: {told}")
        return int(found[1])

    def save(self, target: Path, deadline: Deadline) -> None:
        """Stop it and write its memory and devices to a file; then it is ended."""
        monitor = self._monitor
        monitor.ask("stop", deadline)
        self._prepare_migration(deadline)
        with target.open("wb") as file:
            monitor.ask("getfd", deadline, {"fdname": "state"}, file.fileno())
            monitor.ask("migrate", deadline, {"uri": "fd:state"})
            self._wait_migrated(deadline)
        self.quit(deadline)

    def restore(self, source: Path, deadline: Deadline) -> None:
        """Read memory and devices from a file, and let it go on."""
        monitor = self._monitor
        self._prepare_migration(deadline)
        with source.open("rb") as file:
            monitor.ask("getfd", deadline, {"fdname": "state"}, file.fileno())
            monitor.ask("migrate-incoming", deadline, {"uri": "fd:state"})
            self._wait_migrated(deadline)
        monitor.ask("cont", deadline)

    def _prepare_migration(self, deadline: Deadline) -> None:
        events = [{"capability": "events", "state": True}]
        self._monitor.ask("migrate-set-capabilities", deadline, {"capabilities": events})
        self._monitor.ask("migrate-set-parameters", deadline, {"max-bandwidth": 1 << 40})

    def _wait_migrated(self, deadline: Deadline) -> None:
        ends = ("completed", "failed")
        data = self._monitor.wait("MIGRATION", lambda data: data["status"] in ends, deadline)
        if data["status"] != "completed":
            raise CommandFailed("QEMU could not move the machine's state")

    def quit(self, deadline: Deadline) -> None:
        """End it at once, as if its cord were pulled, with its disk's file whole."""
        with suppress(CommandFailed):  # it may end before it has answered
            self._monitor.ask("quit", deadline)
        self.child.wait(deadline.left_s())

    def console_text(self) -> str:
        """What its kernel and init have said, without what steers a terminal."""
        try:
            text = self._sockets.console.read_text(errors="replace")
        except OSError:
            text = ""
        return _CONTROL.sub("", text).strip() + "\n"

    def console_end(self) -> str:
        """The end of that."""
        return self.console_text().strip()[-_CONSOLE_CHARACTERS:] or "it said nothing"


@contextmanager
def start(
    name: str, boot: Boot, disk: Path, sockets: Sockets, ledger: Ledger, *, restored: bool = False
) -> Iterator[Machine]:
    """A machine that has just been switched on; at the end nothing of it is left.

    Raises EnvironmentRefused (no QEMU, too little memory), LaunchFailed.
    """
    prefix = require_tools(boot.memory_bytes)
    argv = [*prefix, *qemu_arguments(name, boot, disk, sockets, restored=restored)]
    with ExitStack() as stack:
        monitor = stack.enter_context(listener(sockets.monitor))
        up = stack.enter_context(listener(sockets.up))
        stack.enter_context(_listed(name, ledger))
        log = stack.enter_context((sockets.folder / "qemu.log").open("wb")).fileno()
        child = stack.enter_context(process.spawn(argv, stdout=log, stderr=log))
        deadline = Deadline(_ANSWER_S)
        try:
            told, asked = (
                stack.enter_context(_accept(each, child, deadline)) for each in (up, monitor)
            )
            machine = Machine(child, Monitor(asked, deadline), told, sockets)
        except CommandFailed as error:
            said = (sockets.folder / "qemu.log").read_text(errors="replace").strip()
            raise LaunchFailed(
                f"QEMU did not start: {said[-_CONSOLE_CHARACTERS:] or error.message}"
            ) from error
        yield machine


@contextmanager
def _listed(name: str, ledger: Ledger) -> Iterator[None]:
    """On the inventory until no process of it is left: what could not be ended stays listed."""
    ledger.will_make(KIND, name)
    try:
        yield
    finally:
        if not machines.exists(name, {}):
            ledger.removed(KIND, name)


def require_tools(memory_bytes: int) -> Sequence[str]:
    """What starts QEMU so that it dies when the harness does, however that happens.

    Raises EnvironmentRefused where a program or the memory is missing.
    """
    found = {name: process.find_program(name) for name in _TOOLS}
    for name, package in _TOOLS.items():
        if found[name] is None:
            raise EnvironmentRefused(f"{name} is not installed", f"apt-get install {package}")
    available = psutil.virtual_memory().available
    if available < memory_bytes:
        raise EnvironmentRefused(
            f"the lab takes {memory_bytes // MIB} MiB of memory, and this host has "
            f"{available // MIB} MiB free",
            "end something else, or give it less with --memory",
        )
    return [str(found["setpriv"]), "--pdeathsig", "KILL", "--", str(found[_QEMU])]


def _accept(listening: socket.socket, child: process.Process, deadline: Deadline) -> socket.socket:
    waiting = select.poll()
    waiting.register(listening, select.POLLIN)
    waiting.register(child.pidfd, select.POLLIN)
    ready = [descriptor for descriptor, _ in waiting.poll(deadline.left_s() * 1000)]
    if listening.fileno() in ready:
        return listening.accept()[0]
    raise CommandFailed("QEMU has ended" if ready else "QEMU does not answer")


class MachineCleaner:
    """Ends a machine of the lab by its name, which QEMU carries on its command line."""

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        return bool(_processes(name))

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        for found in _processes(name):
            with suppress(ProcessLookupError):
                pidfd = os.pidfd_open(found.pid)
                try:
                    if found.is_running():  # by its start time: never another's process
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                        process.wait_pidfd(pidfd, _ANSWER_S)
                finally:
                    os.close(pidfd)


def _processes(name: str) -> Sequence[psutil.Process]:
    wanted = ["-name", f"{_PREFIX}{name}"]
    return [
        found
        for found in psutil.process_iter(["cmdline"])
        if any(
            (found.info["cmdline"] or [])[place : place + 2] == wanted
            for place in range(len(found.info["cmdline"] or []))
        )
    ]


machines = MachineCleaner()
"""What the group `tarebench.cleaners` names for the kind `lab-machine`."""
