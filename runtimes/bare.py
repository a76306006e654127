"""Bare metal: the image's agent and programs, with the image's loader, unboxed.

Nothing is isolated and nothing limited, unless `cgroup=on` puts the agent into a control
group of its own, which is another row. Programs of the image are started by the image's own
loader with the image's own libraries, so that not a byte of the host's userland is executed;
an audit of every opened file proves it (see harness/experiments/identity.py).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from harness.channel import Agent
from harness.image.tree import LOADER, library_path, outside_view
from harness.model import (
    AGENT_PATH,
    Completed,
    Context,
    Image,
    InstanceSpec,
    Job,
    LimitSupport,
    Mark,
    Marks,
    Parameter,
    RuntimeClass,
    RuntimeFacts,
    Storage,
    StorageKind,
)
from harness.process import spawn
from harness.serving import Served, Service
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


class BareBox(AgentBox):
    """Paths inside the image become paths below its root, and programs get its loader."""

    def __init__(self, agent: Agent, image: Image, pid: int, scratch: Path) -> None:
        super().__init__(agent, image, pid, Storage(str(scratch), StorageKind.DIRECTORY, scratch))
        self._scratch = scratch

    def run(self, job: Job) -> Completed:
        return super().run(replace(job, argv=unboxed(self.image.root, job.argv)))

    def serve(self, service: Service) -> Served:
        job = replace(service.job, argv=unboxed(self.image.root, service.job.argv))
        return super().serve(replace(service, job=job))

    def derive_manifest(self) -> bytes:
        return self.agent.derive_manifest(str(self.image.root), self.image.excludes)

    def hash_files(self, paths: Sequence[str]) -> Mapping[str, str]:
        root = str(self.image.root)
        found = self.agent.hash_files([root + path for path in paths])
        return {path.removeprefix(root): digest for path, digest in found.items()}

    def drop_cached(self, paths: Sequence[str]) -> None:
        self.agent.drop_cached([f"{self.image.root}{path}" for path in paths])

    def scratch(self) -> str:
        return str(self._scratch)


def unboxed(root: Path, argv: Sequence[str]) -> list[str]:
    """The command that runs a program of the image outside any box, by the image's loader."""
    program = outside_view(root, argv[0])
    if not _is_dynamic(program):
        return [str(program), *argv[1:]]
    return [
        str(outside_view(root, LOADER)), "--library-path", library_path(root),
        "--argv0", argv[0], str(program), *argv[1:],
    ]  # fmt: skip


def _is_dynamic(program: Path) -> bool:
    """Whether an ELF file names a loader. Raises FileNotFoundError as exec would."""
    with program.open("rb") as file:
        return file.read(4) == b"\x7fELF" and b"ld-linux-x86-64.so.2" in file.read(4096)


class Bare:
    """See the module."""

    runtime_class = RuntimeClass.BARE
    on_tree = True
    parameters: Mapping[str, Parameter] = {"cgroup": CGROUP}
    examples = ("cgroup=on",)

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        self.name = name
        self._context = context
        self._grouped = check_parameters("bare", parameters, self.parameters)["cgroup"] == "on"

    def probe(self) -> RuntimeFacts:
        if self._grouped:
            require_root(self.name)
            probe_groups(self.name)
        return RuntimeFacts(
            versions={"kernel": os.uname().release},
            limits=ALL_LIMITS if self._grouped else LimitSupport(),
        )

    def prepare(self, image: Image) -> None:
        """The directory form is all that is needed."""

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[AgentBox]:
        program = str(spec.image.root / AGENT_PATH.lstrip("/"))
        argv = [program, f"unix:{spec.sockets / SOCKET}"]
        with ExitStack() as stack:
            listener = stack.enter_context(listen(spec))
            if self._grouped:
                argv += stack.enter_context(group_of(self._context, spec))
            scratch = spec.directory / "scratch"
            scratch.mkdir()
            scratch.chmod(0o1777)  # whatever the umask: jobs are not run as root
            marks.stamp(Mark.REQUEST)
            process = stack.enter_context(spawn(argv))
            ready_ns = listener.wait_ready(spec.ready_timeout_s, process.is_running)
            marks.at(Mark.READY, ready_ns)
            agent = Agent(listener, shares_clock=True)
            ending = stack.enter_context(Ending(process.pid, process.wait))
            yield BareBox(agent, spec.image, process.pid, scratch)
            ending.exit(agent, marks)
            stack.close()
            marks.stamp(Mark.REMOVED)

    def launch_files(self, image: Image, inside: Sequence[str]) -> Sequence[Path]:
        return in_directory_form(image, inside)

    def close(self) -> None:
        """Nothing is held."""
