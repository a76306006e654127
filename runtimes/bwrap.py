"""bubblewrap: an unprivileged sandbox's own program, as Flatpak uses it.

One short command makes the namespaces and the mounts and becomes the monitor of the box; the
agent is its first process. The writable layer is mounted untimed in a private mount namespace,
from which bubblewrap is spawned, as for the other boxes on the image's directory.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from harness.channel import Agent
from harness.errors import LaunchFailed, RuntimeUnavailable
from harness.model import (
    AGENT_PATH,
    CHANNEL_DIRECTORY,
    Context,
    Image,
    InstanceSpec,
    LimitSupport,
    Mark,
    Marks,
    Parameter,
    RuntimeClass,
    RuntimeFacts,
)
from harness.process import Process, find_program, run, spawn
from runtimes.box import (
    SOCKET,
    AgentBox,
    Ending,
    check_parameters,
    in_directory_form,
    last_words,
    listen,
    require_root,
)
from runtimes.grouped import ALL_LIMITS, CGROUP, group_of, probe_groups
from runtimes.mounts import UPPER, PrivateMounts, fresh_layer
from runtimes.privileges import CAPABILITIES
from runtimes.storage import STORAGE, VOLUME_PATH, bound_folder, make_storage

_PROGRAM = "bwrap"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Bwrap:
    """See the module."""

    runtime_class = RuntimeClass.JAIL
    on_tree = True
    parameters: Mapping[str, Parameter] = {"cgroup": CGROUP, "storage": STORAGE}
    examples = ("cgroup=on",)

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        self.name = name
        self._context = context
        chosen = check_parameters(_PROGRAM, parameters, self.parameters)
        self._grouped = chosen["cgroup"] == "on"
        self._storage = chosen["storage"]
        self._binary = find_program(_PROGRAM) or _PROGRAM

    def probe(self) -> RuntimeFacts:
        if find_program(_PROGRAM) is None:
            raise RuntimeUnavailable("bubblewrap is not installed", "apt-get install bubblewrap")
        require_root(self.name)  # for the writable layer; bubblewrap itself needs none
        if self._grouped:
            probe_groups(self.name)
        said = run([self._binary, "--version"]).stdout.decode().split()
        return RuntimeFacts(
            versions={"bubblewrap": said[-1]},
            limits=ALL_LIMITS if self._grouped else LimitSupport(),
        )

    def prepare(self, image: Image) -> None:
        """The directory form is all that is needed."""

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[AgentBox]:
        with ExitStack() as stack:
            listener = stack.enter_context(listen(spec))
            joining = stack.enter_context(group_of(self._context, spec)) if self._grouped else ()
            mounts = stack.enter_context(PrivateMounts())
            root = fresh_layer(mounts, spec)
            storage = make_storage(self._storage, spec, spec.directory / UPPER)
            argv = [
                self._binary, *options(root, spec.sockets, bound_folder(storage)), "--",
                AGENT_PATH, f"unix:{CHANNEL_DIRECTORY}/{SOCKET}", *joining,
            ]  # fmt: skip
            errors = stack.enter_context(tempfile.TemporaryFile())
            process = stack.enter_context(mounts.call(_spawn, argv, errors, marks))
            try:
                ready_ns = listener.wait_ready(spec.ready_timeout_s, process.is_running)
            except LaunchFailed as error:
                raise LaunchFailed(f"{error.message}: {last_words(errors)}") from error
            marks.at(Mark.READY, ready_ns)
            assert listener.peer_pid is not None
            agent = Agent(listener, shares_clock=True)
            ending = stack.enter_context(Ending(listener.peer_pid, process.wait))
            yield AgentBox(agent, spec.image, listener.peer_pid, storage, extra=[process.pid])
            ending.exit(agent, marks)
            stack.close()
            marks.stamp(Mark.REMOVED)

    def launch_files(self, image: Image, inside: Sequence[str]) -> Sequence[Path]:
        return [Path(self._binary), *in_directory_form(image, inside)]

    def close(self) -> None:
        """Nothing is held."""


def options(root: Path, sockets: Path, volume: Path | None) -> list[str]:
    """bubblewrap's options: the namespaces, mounts and capabilities that containers get too."""
    binds = [("--bind", str(sockets), CHANNEL_DIRECTORY)]
    if volume is not None:
        binds.append(("--bind", str(volume), VOLUME_PATH))
    return [
        "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net",
        "--as-pid-1", "--die-with-parent", "--hostname", "tarebench",
        "--bind", str(root), "/", "--proc", "/proc", "--dev", "/dev",
        "--tmpfs", "/run", "--perms", "1777", "--tmpfs", "/tmp",
        *(word for bind in binds for word in bind),
        "--clearenv", "--setenv", "PATH", _PATH, "--chdir", "/",
        "--cap-drop", "ALL", *(word for name in CAPABILITIES for word in ("--cap-add", name)),
    ]  # fmt: skip


def _spawn(argv: Sequence[str], errors: IO[bytes], marks: Marks) -> Process:
    marks.stamp(Mark.REQUEST)
    return spawn(argv, stderr=errors.fileno())
