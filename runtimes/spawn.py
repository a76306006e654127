"""Rungs of the cost ladder: the agent by fork and exec, with exactly the mechanisms asked for.

`ns` names the new namespaces, `with` what else is done to the process; nothing else happens.
A small static launcher (launcher.c) does it between the harness's spawn and the agent's exec,
in the order in which an OCI runtime does, without a shell and without another program. Its own
cost is that of `spawn` without parameters, over `bare`.

Where the agent gets a root of its own, its writable layer is mounted before the request, as
it is for the native OCI runtimes. Without `mounts`, so are /proc, /dev and the channel.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from harness.channel import Agent
from harness.errors import LaunchFailed, UsageError
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
from runtimes.bare import BareBox
from runtimes.box import (
    SOCKET,
    AgentBox,
    Ending,
    check_parameters,
    in_directory_form,
    listen,
    require_root,
)
from runtimes.grouped import ALL_LIMITS, own_group, probe_groups
from runtimes.launcher import launcher_program
from runtimes.mounts import UPPER, PrivateMounts, fresh_layer, furnish
from runtimes.oci import MASKED, READ_ONLY, mounts
from runtimes.privileges import CAPABILITIES, CAPABILITY_MASK, DENIED_CALLS
from runtimes.storage import LAYER, make_storage

NONE = "none"
NAMESPACES: Mapping[str, int] = {
    "mount": 0x00020000, "uts": 0x04000000, "ipc": 0x08000000, "pid": 0x20000000,
    "net": 0x40000000, "cgroup": 0x02000000,
}  # fmt: skip
"""CLONE_NEW* of linux/sched.h."""

MECHANISMS = ("chroot", "pivot", "mounts", "cgroup", "capabilities", "seccomp")
FILTER_INSTRUCTIONS = len(DENIED_CALLS) + 7
"""The length of the filter that launcher.c makes, in BPF instructions."""

_CALL_TIMEOUT_S = 20.0
_ERROR_CHARACTERS = 300
_MOUNT_FLAGS: Mapping[str, int] = {
    "ro": 1, "nosuid": 2, "nodev": 4, "noexec": 8, "bind": 4096, "relatime": 1 << 21,
    "strictatime": 1 << 24, "rw": 0,
}  # fmt: skip
_DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
            "tty": (5, 0)}  # fmt: skip
_LINKS = {"fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
          "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx"}  # fmt: skip


class Spawn:
    """See the module."""

    runtime_class = RuntimeClass.JAIL
    on_tree = True
    parameters: Mapping[str, Parameter] = {
        "ns": Parameter(NONE, tuple(NAMESPACES), "new namespaces, joined by +", several=True),
        "with": Parameter(NONE, MECHANISMS, "what else is done, joined by +", several=True),
    }
    variants = ()
    examples = ("with=cgroup", f"ns={'+'.join(NAMESPACES)},with={'+'.join(MECHANISMS)}")

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        given = check_parameters("spawn", parameters, self.parameters)
        self.name = name
        self._context = context
        self._namespaces = frozenset(given["ns"].split("+")) - {NONE}
        self._mechanisms = frozenset(given["with"].split("+")) - {NONE}
        self._launcher = Path()
        self._rooted = bool(self._mechanisms & {"chroot", "pivot"})
        if not self._rooted:
            self.runtime_class = RuntimeClass.BARE
            for needy in ("pid", "mounts"):
                if needy in self._namespaces | self._mechanisms:
                    raise UsageError(
                        f"{name}: {needy} needs a root of the box's own", "add with=chroot"
                    )

    def probe(self) -> RuntimeFacts:
        limited = "cgroup" in self._mechanisms
        if self._namespaces or self._mechanisms:
            require_root(self.name)
        if limited:
            probe_groups(self.name)
        notes = [f"{len(CAPABILITIES)} capabilities kept"] * ("capabilities" in self._mechanisms)
        notes += [
            f"a filter of {FILTER_INSTRUCTIONS} instructions refuses {len(DENIED_CALLS)} system "
            "calls"
        ] * ("seccomp" in self._mechanisms)
        return RuntimeFacts(
            versions={"kernel": os.uname().release},
            limits=ALL_LIMITS if limited else LimitSupport(),
            notes=notes,
        )

    def prepare(self, image: Image) -> None:
        """The directory form is all that is needed, and the launcher."""
        self._launcher = launcher_program().build(self._context.cache)

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[AgentBox]:
        with ExitStack() as stack:
            listener = stack.enter_context(listen(spec))
            said = stack.enter_context(tempfile.TemporaryFile())
            argv = [str(self._launcher), *self._grouping(spec, stack)]
            root, call = self._place(spec, stack)
            argv += self._steps(spec, root)
            launcher = stack.enter_context(call(_start, argv, said, marks))
            box = launcher
            if "pid" in self._namespaces:
                box = stack.enter_context(_child_of(launcher, said))
            try:
                ready_ns = listener.wait_ready(spec.ready_timeout_s, box.is_running)
            except LaunchFailed as error:
                raise LaunchFailed(f"{error.message}: {_read(said)}") from error
            marks.at(Mark.READY, ready_ns)
            agent = Agent(listener, shares_clock=True)
            ending = stack.enter_context(Ending(box.pid, box.wait))
            yield self._box(agent, spec, box.pid)
            ending.exit(agent, marks)
            stack.close()
            marks.stamp(Mark.REMOVED)

    def _box(self, agent: Agent, spec: InstanceSpec, pid: int) -> AgentBox:
        if self._rooted:
            return AgentBox(
                agent, spec.image, pid, make_storage(LAYER, spec, spec.directory / UPPER)
            )
        scratch = spec.directory / "scratch"
        scratch.mkdir()
        scratch.chmod(0o1777)  # whatever the umask: jobs are not run as root
        return BareBox(agent, spec.image, pid, scratch)

    def _place(
        self, spec: InstanceSpec, stack: ExitStack
    ) -> tuple[Path | None, Callable[..., Process]]:
        """The root that is prepared, and how to call a function where it is mounted."""
        if not self._rooted:
            return None, lambda function, *arguments: function(*arguments)
        place = stack.enter_context(PrivateMounts())
        root = fresh_layer(place, spec)
        if "mounts" not in self._mechanisms:
            furnish(place, root, spec)
        return root, place.call

    def _grouping(self, spec: InstanceSpec, stack: ExitStack) -> Sequence[str]:
        """The steps that make the instance's group, limit it and join it."""
        if "cgroup" not in self._mechanisms:
            return []
        group = stack.enter_context(own_group(self._context, spec))
        group.allow()
        steps = [word for path in group.paths() for word in ("mkdir", str(path))]
        for file, value in group.settings(spec.limits):
            steps += ["write", str(file), value]
        for path in group.paths():
            steps += ["write", str(path / "cgroup.procs"), "0"]
        return steps

    def _steps(self, spec: InstanceSpec, root: Path | None) -> Sequence[str]:
        """Everything after the group, in the order in which OCI runtimes do it."""
        asked, spaces = self._mechanisms, self._namespaces
        steps: list[str] = []
        if spaces:
            steps += ["unshare", str(sum(NAMESPACES[name] for name in spaces))]
        steps += ["fork"] * ("pid" in spaces)
        steps += ["hostname", "tarebench"] * ("uts" in spaces)
        steps += ["loopback"] * ("net" in spaces)
        steps += ["private"] * ("mount" in spaces)
        if root is not None:
            if "mounts" in asked:
                steps += _mount_steps(mounts(spec), root)
            elif "pid" in spaces:  # a pid namespace is seen through a /proc of its own
                steps += ["mount", "proc", f"{root}/proc", "proc", "14", ""]
            steps += ["pivot", str(root)] * ("pivot" in asked)
            inside = "/" if "pivot" in asked else str(root)
            steps += ["chroot", inside] * ("chroot" in asked)
        if "capabilities" in asked:
            steps += ["capabilities", str(CAPABILITY_MASK)]
        steps += ["seccomp"] * ("seccomp" in asked)
        program, channel = AGENT_PATH, f"{CHANNEL_DIRECTORY}/{SOCKET}"
        if root is None:
            program = str(spec.image.root / AGENT_PATH.lstrip("/"))
            channel = str(spec.sockets / SOCKET)
        return [*steps, "exec", program, f"unix:{channel}"]

    def launch_files(self, image: Image, inside: Sequence[str]) -> Sequence[Path]:
        return in_directory_form(image, inside)

    def close(self) -> None:
        """Nothing is held."""


def _mount_steps(entries: Sequence[Mapping[str, Any]], root: Path) -> Sequence[str]:
    """The mounts of an OCI bundle, its devices and hidden paths, as steps of the launcher.

    All but control groups, which each OCI runtime assembles in its own way.
    """
    steps: list[str] = []
    for entry in entries:
        if entry["type"] == "cgroup":
            continue
        flags = sum(_MOUNT_FLAGS.get(option, 0) for option in entry["options"])
        data = ",".join(option for option in entry["options"] if option not in _MOUNT_FLAGS)
        kind = "" if entry["type"] == "bind" else entry["type"]
        steps += ["mount", entry["source"], f"{root}{entry['destination']}", kind, str(flags), data]
        if entry["destination"] == "/dev":
            for name, (major, minor) in _DEVICES.items():
                steps += ["device", f"{root}/dev/{name}", str(major), str(minor)]
            for name, target in _LINKS.items():
                steps += ["link", target, f"{root}/dev/{name}"]
    for path in MASKED:
        steps += ["mask", f"{root}{path}"]
    for path in READ_ONLY:
        steps += ["readonly", f"{root}{path}"]
    return steps


def _start(argv: Sequence[str], said: IO[bytes], marks: Marks) -> Process:
    marks.stamp(Mark.REQUEST)
    return spawn(argv, stdout=said.fileno(), stderr=said.fileno())


def _child_of(launcher: Process, said: IO[bytes]) -> Process:
    """The box, which is a child of ours too; the launcher has told its pid, and ended."""
    try:
        status = launcher.wait(_CALL_TIMEOUT_S)
    except TimeoutError:
        raise LaunchFailed("the launcher did not return") from None
    told = _read(said)
    if status != 0:
        raise LaunchFailed(told)
    return Process(int(told.split()[0]), launcher.argv)


def _read(said: IO[bytes]) -> str:
    """What the launcher wrote; read at a place, because the box shares the file's position."""
    text = os.pread(said.fileno(), 65536, 0).decode(errors="replace").strip()
    return text[-_ERROR_CHARACTERS:] or "the launcher said nothing"
