"""Boxes whose runtime stays beside them: one program makes the box and ends when it ends.

bubblewrap, LXC and systemd-nspawn work alike: a short command makes namespaces and mounts, its
child becomes the box's first process, and the command itself stays as the monitor. So they are
launched, watched and ended in one way, here; an adapter says what its command line is. The
writable layer is mounted untimed in a private mount namespace, from which the command is
spawned, as for the other boxes on the image's directory.

A monitor's exit status tells nothing of the box: some return 0 whatever became of it. That the
box is ready is known from the channel, and that it has ended from its own pidfd.
"""

from __future__ import annotations

import contextlib
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from harness.channel import Agent
from harness.errors import CommandFailed, DeadlineExceeded, LaunchFailed, RuntimeUnavailable
from harness.model import (
    AGENT_PATH,
    CHANNEL_DIRECTORY,
    Context,
    Image,
    InstanceSpec,
    Mark,
    Marks,
    Parameter,
    RuntimeClass,
)
from harness.process import Process, find_program, run, spawn
from runtimes.box import (
    EXIT_TIMEOUT_S,
    SOCKET,
    AgentBox,
    Ending,
    check_parameters,
    in_directory_form,
    last_words,
    listen,
    require_root,
)
from runtimes.mounts import UPPER, OnLayers, PrivateMounts, fresh_layer
from runtimes.storage import STORAGE, bound_folder, make_storage

AGENT = (AGENT_PATH, f"unix:{CHANNEL_DIRECTORY}/{SOCKET}")
"""What a box executes."""
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_VERSION_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Site:
    """What is there before the request: the instance's mounts, its root, perhaps a volume."""

    spec: InstanceSpec
    mounts: PrivateMounts
    root: Path
    volume: Path | None


class Monitored(OnLayers, ABC):
    """An adapter's common part; see the module."""

    runtime_class = RuntimeClass.CONTAINER
    on_tree = True
    parameters: Mapping[str, Parameter] = {"storage": STORAGE}
    program = ""
    package = ""
    """The Debian package that has the program."""
    notes_folder: Path | None = None
    """Where the program keeps notes of its boxes on the host; each instance gets its own."""

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        self.name = name
        self._context = context
        self._chosen = check_parameters(name.partition(",")[0], parameters, self.parameters)
        self._binary = find_program(self.program) or self.program

    @abstractmethod
    def command(self, site: Site, stack: ExitStack) -> Sequence[str]:
        """The command line that makes the box. What it needs is prepared here, on the stack."""

    def groups(self, spec: InstanceSpec) -> Sequence[Path]:
        """The instance's control groups; empty where the kernel is to be asked."""
        return ()

    def require_program(self, least: str = "0") -> str:
        """Its version; raises RuntimeUnavailable where it is absent, broken, or too old."""
        require_root(self.name)
        install = f"apt-get install --no-install-recommends {self.package}"
        if find_program(self.program) is None:
            raise RuntimeUnavailable(f"{self.program} is not installed", install)
        try:
            said = run([self._binary, "--version"], timeout_s=_VERSION_TIMEOUT_S)
        except CommandFailed as error:
            raise RuntimeUnavailable(
                f"{self.program} does not tell its version: {error.message}", install
            ) from error
        version = re.search(rb"\d+(\.\d+)*", said.stdout)
        if version is None:
            raise RuntimeUnavailable(f"{self.program} does not tell its version", install)
        found = version[0].decode()
        if _numbers(found) < _numbers(least):
            raise RuntimeUnavailable(
                f"{self.program} is version {found}; {least} or newer is needed", install
            )
        return found

    def prepare(self, image: Image) -> None:
        """The directory form is all that is needed, and a place to hide the program's notes."""
        folder = self.notes_folder
        if folder is not None and not folder.is_dir():
            self._context.inventory.will_make("directory", str(folder), only="empty")
            folder.mkdir(parents=True)

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[AgentBox]:
        with ExitStack() as stack:
            listener = stack.enter_context(listen(spec))
            mounts = stack.enter_context(PrivateMounts())
            root = fresh_layer(mounts, spec)
            if self.notes_folder is not None:
                mounts.mount("tarebench", self.notes_folder, "tmpfs", data="mode=755")
            storage = make_storage(self._chosen["storage"], spec, spec.directory / UPPER)
            argv = self.command(Site(spec, mounts, root, bound_folder(storage)), stack)
            errors = stack.enter_context(tempfile.TemporaryFile())
            process = stack.enter_context(mounts.call(_spawn, argv, errors, marks))
            try:
                ready_ns = listener.wait_ready(spec.ready_timeout_s, process.is_running)
            except LaunchFailed as error:
                raise LaunchFailed(f"{error.message}: {last_words(errors)}") from error
            marks.at(Mark.READY, ready_ns)
            pid = listener.peer_pid
            if not pid:
                raise LaunchFailed("the box's first process is not visible from here")
            agent = Agent(listener, shares_clock=True)
            ending = stack.enter_context(Ending(pid, lambda: _collect(process)))
            yield AgentBox(
                agent, spec.image, pid, storage, extra=[process.pid], groups=self.groups(spec)
            )
            ending.exit(agent, marks)
            if process.wait() < 0:
                raise CommandFailed(f"{process.argv[0]} was killed while its box ran")
            stack.close()
            marks.stamp(Mark.REMOVED)

    def launch_files(self, image: Image, inside: Sequence[str]) -> Sequence[Path]:
        return [Path(self._binary), *in_directory_form(image, inside)]

    def close(self) -> None:
        """Nothing is held. The folder that hides notes goes with the run, if it is empty."""


def _collect(process: Process) -> None:
    """A monitor ends with its box; what it returns says nothing. Raises DeadlineExceeded."""
    try:
        process.wait(EXIT_TIMEOUT_S)
    except TimeoutError as error:
        raise DeadlineExceeded(f"{process.argv[0]} did not end with its box") from error


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _spawn(argv: Sequence[str], errors: IO[bytes], marks: Marks) -> Process:
    marks.stamp(Mark.REQUEST)
    return spawn(argv, stderr=errors.fileno())
