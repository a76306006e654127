"""The chroot jail: the image's root under a fresh layer, entered by chroot(2), and no more.

The mounts are prepared untimed in a private mount namespace. What is timed is the system call
and the spawn: the launching thread, which has a root of its own, calls chroot and spawns the
agent from inside.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.channel import Agent
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
from harness.process import Process, spawn
from runtimes.box import (
    SOCKET,
    AgentBox,
    Ending,
    check_parameters,
    in_directory_form,
    listen,
    require_root,
)
from runtimes.grouped import ALL_LIMITS, CGROUP, group_of, probe_groups
from runtimes.mounts import UPPER, OnLayers, PrivateMounts, fresh_layer, furnish
from runtimes.storage import STORAGE, bound_folder, make_storage


class Chroot(OnLayers):
    """See the module."""

    runtime_class = RuntimeClass.JAIL
    on_tree = True
    parameters: Mapping[str, Parameter] = {"cgroup": CGROUP, "storage": STORAGE}
    examples = ("cgroup=on",)

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        self.name = name
        self._context = context
        chosen = check_parameters("chroot", parameters, self.parameters)
        self._grouped = chosen["cgroup"] == "on"
        self._storage = chosen["storage"]

    def probe(self) -> RuntimeFacts:
        require_root(self.name)
        if self._grouped:
            probe_groups(self.name)
        return RuntimeFacts(
            versions={"kernel": os.uname().release},
            limits=ALL_LIMITS if self._grouped else LimitSupport(),
        )

    def prepare(self, image: Image) -> None:
        """The directory form is all that is needed."""

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[AgentBox]:
        argv = [AGENT_PATH, f"unix:{CHANNEL_DIRECTORY}/{SOCKET}"]
        with ExitStack() as stack:
            listener = stack.enter_context(listen(spec))
            if self._grouped:
                argv += stack.enter_context(group_of(self._context, spec))
            mounts = stack.enter_context(PrivateMounts())
            root = fresh_layer(mounts, spec)
            furnish(mounts, root, spec)
            storage = make_storage(self._storage, spec, spec.directory / UPPER)
            if (folder := bound_folder(storage)) is not None:
                inside = root / storage.path.lstrip("/")
                mounts.call(inside.mkdir)
                mounts.bind(folder, inside)
            process = stack.enter_context(mounts.call(_enter_and_spawn, root, argv, marks))
            ready_ns = listener.wait_ready(spec.ready_timeout_s, process.is_running)
            marks.at(Mark.READY, ready_ns)
            agent = Agent(listener, shares_clock=True)
            ending = stack.enter_context(Ending(process.pid, process.wait))
            yield AgentBox(agent, spec.image, process.pid, storage)
            ending.exit(agent, marks)
            stack.close()
            marks.stamp(Mark.REMOVED)

    def launch_files(self, image: Image, inside: Sequence[str]) -> Sequence[Path]:
        return in_directory_form(image, inside)

    def close(self) -> None:
        """Nothing is held."""


def _enter_and_spawn(root: Path, argv: Sequence[str], marks: Marks) -> Process:
    """In the private thread, which never leaves the jail again: it ends with the instance."""
    marks.stamp(Mark.REQUEST)
    os.chroot(root)
    os.chdir("/")
    return spawn(argv)
