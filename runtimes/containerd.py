"""containerd without an engine around it: one container an instance, asked for by `ctr`.

The bundle is the one that the native OCI runtimes get, root filesystem included, so that what
differs from `runc` is containerd, its shim and its client. The containerd is the one that the
run's private Docker Engine leans on (docker_engine.py): a daemon of the run's own, and the
same that a `docker` box of the same run goes through.

`ctr` is containerd's own client; what is timed holds its start. Its container has the network
namespace of the bundle, with a loopback and nothing else.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.channel import Agent
from harness.errors import LaunchFailed, RuntimeUnavailable
from harness.model import (
    Context,
    Image,
    InstanceSpec,
    Mark,
    Marks,
    Parameter,
    RuntimeClass,
    RuntimeFacts,
)
from harness.probes.cgroups import Group, Layout
from harness.process import find_program, run, spawn
from runtimes.box import AgentBox, Ending, check_parameters, listen, require_root
from runtimes.daemon_parts import parent_of
from runtimes.docker_engine import PrivateEngine, require_startable
from runtimes.grouped import ALL_LIMITS
from runtimes.mounts import UPPER, MountsOf, OnLayers, fresh_layer
from runtimes.oci import bundle_config, finish
from runtimes.privileges import SECCOMP
from runtimes.storage import LAYER, make_storage

KIND = "containerd-container"
_NAMESPACE = "tarebench"
_CALL_TIMEOUT_S = 60.0


class Containerd(OnLayers):
    """See the module."""

    runtime_class = RuntimeClass.CONTAINER
    on_tree = True
    parameters: Mapping[str, Parameter] = {
        "seccomp": SECCOMP,
    }
    shared_daemon = False

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        given = check_parameters("containerd", parameters, self.parameters)
        self._seccomp = given["seccomp"] == "on"
        self.name = name
        self._context = context
        self._engine = PrivateEngine(context)
        self._held = False
        self._mounts: MountsOf | None = None

    def probe(self) -> RuntimeFacts:
        require_root(self.name)
        require_startable()
        if find_program("ctr") is None:
            raise RuntimeUnavailable("ctr is not installed", "apt-get install containerd")
        versions = {
            program: run([program, "--version"]).stdout.decode().split()[2]
            for program in ("containerd", "ctr", "runc")
        }
        notes = ["the containerd of the run's private engine", "asked by ctr"]
        return RuntimeFacts(versions=versions, limits=ALL_LIMITS, notes=notes)

    def daemon_processes(self) -> Sequence[int]:
        return self._engine.processes() if self._held else ()

    def prepare(self, image: Image) -> None:
        """Have a containerd, without what a killed run may have left in its records."""
        if self._held:
            return
        self._engine.acquire()
        self._held = True
        self._mounts = MountsOf(self._engine.processes()[0])
        for name in self._ctr("containers", "list", "--quiet").stdout.decode().split():
            remove(self._engine.containerd, name)

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return run(command(self._engine.containerd, *arguments), timeout_s=_CALL_TIMEOUT_S)

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[AgentBox]:
        self.prepare(spec.image)
        assert self._mounts is not None
        cgroup = f"{self._context.cgroup}/{spec.name}"
        with ExitStack() as stack:
            listener = stack.enter_context(listen(spec))
            root = fresh_layer(self._mounts, spec)
            stack.callback(self._mounts.unmount, root)
            config = bundle_config(spec, root, f"/{cgroup}", seccomp=self._seccomp)
            bundle = spec.directory / "config.json"
            bundle.write_text(json.dumps(config, indent=1))
            errors = stack.enter_context(tempfile.TemporaryFile())
            self._context.inventory.will_make(KIND, spec.name, socket=str(self._engine.containerd))
            stack.callback(self._forget, spec.name, Group(Layout.detect(), cgroup))
            argv = command(
                self._engine.containerd, "run", "--detach", "--null-io", "--config", str(bundle),
                spec.name,
            )  # fmt: skip
            marks.stamp(Mark.REQUEST)
            finish(spawn(argv, stderr=errors.fileno()), errors)
            marks.stamp(Mark.STARTED)
            group = Group(Layout.detect(), cgroup)
            ready_ns = listener.wait_ready(spec.ready_timeout_s, lambda: bool(group.members()))
            marks.at(Mark.READY, ready_ns)
            agent, pid = Agent(listener, shares_clock=True), listener.peer_pid
            if not pid:
                raise LaunchFailed("the container's process is not visible from here")
            ending = stack.enter_context(Ending(pid))
            storage = make_storage(LAYER, spec, spec.directory / UPPER)
            yield AgentBox(agent, spec.image, pid, storage, (parent_of(pid),))
            ending.exit(agent, marks)
            stack.close()
            marks.stamp(Mark.REMOVED)

    def _forget(self, name: str, group: Group) -> None:
        remove(self._engine.containerd, name)
        group.kill()
        group.remove()
        self._context.inventory.removed(KIND, name)

    def close(self) -> None:
        if self._mounts is not None:
            self._mounts.close()
            self._mounts = None
        if self._held:
            self._held = False
            self._engine.release()


def command(socket: Path, *arguments: str) -> list[str]:
    """The command line of `ctr` for a containerd of ours."""
    ctr = find_program("ctr") or "/usr/bin/ctr"
    return [ctr, "--address", str(socket), "--namespace", _NAMESPACE, *arguments]


def remove(socket: Path, name: str) -> None:
    """Remove a container whatever its state; that there is none is fine."""
    for arguments in (("tasks", "delete", "--force", name), ("containers", "delete", name)):
        run(command(socket, *arguments), check=False, timeout_s=_CALL_TIMEOUT_S)


class Containers:
    """Cleans containers by their inventory entry.

    A containerd of ours that has gone has taken its containers with it: its engine's own entry
    ends its shims and what they hold.
    """

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        said = run(
            command(Path(details["socket"]), "--connect-timeout", "2s", "containers", "list", "-q"),
            check=False, timeout_s=_CALL_TIMEOUT_S,
        )  # fmt: skip
        return said.returncode == 0 and name in said.stdout.decode().split()

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        remove(Path(details["socket"]), name)


containers = Containers()
"""What the group `tarebench.cleaners` names for the kind `containerd-container`."""
