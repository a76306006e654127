"""Native OCI runtimes, driven by their command line, without a daemon.

runc and crun, and by `oci,path=PROGRAM` any other that has the same command line.

A bundle is written before the request; `run --detach` is what is timed, as an engine would
call it. With `seccomp=on` the box's system calls are filtered too, as engines do. crun refuses
a hybrid cgroup mount, so it is spawned from a private mount namespace without the unified
hierarchy; runc uses the same namespace for its root, so that both pay for the same things.

What can be checkpointed is a container of the same bundle with another program in it
(checkpoint.py).
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from harness.channel import Agent
from harness.errors import CommandFailed, LaunchFailed, RuntimeUnavailable
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
    RuntimeFacts,
    Storage,
)
from harness.probes import criu
from harness.probes.cgroups import Group, Layout
from harness.process import Process, find_program, reap, run, spawn
from runtimes import checkpoint
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
from runtimes.daemon_parts import collect_orphans
from runtimes.grouped import ALL_LIMITS
from runtimes.mounts import UPPER, OnLayers, PrivateMounts, fresh_layer, hide_unified
from runtimes.privileges import CAPABILITIES, DENIED_CALLS, DEVICES, SECCOMP
from runtimes.storage import STORAGE, VOLUME_PATH, bound_folder, make_storage

_CALL_TIMEOUT_S = 60.0
_VERSION_TIMEOUT_S = 5.0
_PERIOD_US = 100_000

MASKED = ("/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware")
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys")


class OciBox(AgentBox):
    """A container that its runtime's program can pause. `call` runs a word of that program."""

    call: Callable[[str], object]

    def pause(self) -> None:
        self.call("pause")

    def resume(self) -> None:
        self.call("resume")


class Oci(OnLayers):
    """One OCI runtime binary, `program`."""

    runtime_class = RuntimeClass.CONTAINER
    on_tree = True
    parameters: Mapping[str, Parameter] = {
        "storage": STORAGE,
        "seccomp": SECCOMP,
    }
    program = ""

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        given = check_parameters(self.program, parameters, self.parameters)
        self._storage = given["storage"]
        self._seccomp = given.get("seccomp") == "on"
        self.name = name
        self._context = context
        self._state = context.state / self.program
        self._binary = find_program(self.program) or self.program

    def _call(self, *words: str) -> list[str]:
        return [self._binary, "--root", str(self._state), *self.flags(), *words]

    def flags(self) -> Sequence[str]:
        """What is told to the runtime in each call of it."""
        return ()

    def run_flags(self, spec: InstanceSpec) -> Sequence[str]:
        """What is told in the call that starts the box."""
        return ()

    def probe(self) -> RuntimeFacts:
        require_root(self.name)
        if find_program(self.program) is None:
            raise RuntimeUnavailable(
                f"{self.program} is not installed", f"apt-get install {self.program}"
            )
        if not Layout.detect().writable():
            raise RuntimeUnavailable(
                f"{self.program} needs writable control groups",
                "mount /sys/fs/cgroup read-write (containers: run privileged)",
            )
        return RuntimeFacts(versions={Path(self.program).name: self._version()}, limits=ALL_LIMITS)

    def _version(self) -> str:
        """The third word, as in `runc version 1.1.5`."""
        said = run([self._binary, "--version"], check=False, timeout_s=_VERSION_TIMEOUT_S)
        words = said.stdout.decode(errors="replace").split()
        if said.returncode != 0 or len(words) < 3:
            raise RuntimeUnavailable(
                f"{self._binary} did not tell its version", "name an OCI runtime's program"
            )
        return words[2]

    def prepare(self, image: Image) -> None:
        self._state.mkdir(parents=True, exist_ok=True, mode=0o700)

    @contextlib.contextmanager
    def _bundle(
        self, spec: InstanceSpec, command: Sequence[str] = ()
    ) -> Iterator[tuple[PrivateMounts, Storage]]:
        """A bundle on a fresh layer, in the namespace from which the program is to be called; what
        has been made of it is removed."""
        with PrivateMounts() as mounts, ExitStack() as stack:
            root = fresh_layer(mounts, spec)
            hide_unified(mounts)
            storage = make_storage(self._storage, spec, spec.directory / UPPER)
            cgroup = f"/{self._context.cgroup}/{spec.name}"
            config = bundle_config(
                spec, root, cgroup, bound_folder(storage), seccomp=self._seccomp, command=command
            )
            (spec.directory / "config.json").write_text(json.dumps(config, indent=1))
            self._context.inventory.will_make(
                "container", spec.name, program=self._binary, state=str(self._state)
            )
            stack.callback(self._forget, spec.name)
            stack.callback(mounts.call, self._delete, spec.name)
            yield mounts, storage

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[AgentBox]:
        with ExitStack() as at_last, ExitStack() as stack:
            # crun leaves a child that it does not wait for, which on a slow processor may be the
            # parent of the box's init longer than the box lives.
            at_last.callback(collect_orphans)
            listener = stack.enter_context(listen(spec))
            errors = stack.enter_context(tempfile.TemporaryFile())
            mounts, storage = stack.enter_context(self._bundle(spec))
            group = self._group(spec.name)
            process = mounts.call(self._spawn, spec, errors, marks)
            finish(process, errors)
            marks.stamp(Mark.STARTED)
            ready_ns = listener.wait_ready(spec.ready_timeout_s, lambda: bool(group.members()))
            marks.at(Mark.READY, ready_ns)
            agent = Agent(listener, shares_clock=self.runtime_class.shares_kernel)
            assert listener.peer_pid is not None
            at_last.callback(reap, listener.peer_pid)
            box = self._box(agent, spec, listener.peer_pid, storage)
            box.call = lambda word: mounts.call(run, self._call(word, spec.name))
            ending = stack.enter_context(Ending(box.pid))
            yield box
            ending.exit(agent, marks)
            stack.close()
            marks.stamp(Mark.REMOVED)

    @contextlib.contextmanager
    def checkpointable(self, spec: InstanceSpec) -> Iterator[checkpoint.Container]:
        """See harness/lifecycle.py. Raises NotCheckpointed."""
        told = run([self._binary, "features"], check=False, timeout_s=_VERSION_TIMEOUT_S)
        with criu.leaving_nothing(self._context.inventory):
            checkpoint.require(self.program, told.stdout)
            with self.asked(spec) as container:
                yield container

    @contextlib.contextmanager
    def asked(self, spec: InstanceSpec) -> Iterator[checkpoint.Container]:
        """The container that `checkpointable` means, whether CRIU works here or not."""
        log = spec.directory / "log"
        with (
            checkpoint.conversation(spec.sockets) as talk,
            self._bundle(spec, checkpoint.COMMAND) as (mounts, _),
        ):

            def call(*words: str) -> None:
                argv = self._call("--log", str(log), *words)
                mounts.call(checkpoint.call, argv, log)

            with checkpoint.started(spec, talk, call) as container:
                yield container

    def _group(self, name: str) -> Group:
        return Group(Layout.detect(), f"{self._context.cgroup}/{name}")

    def _box(self, agent: Agent, spec: InstanceSpec, peer_pid: int, storage: Storage) -> OciBox:
        """The box that is ready: here, who is at the other end of the channel is its init."""
        return OciBox(agent, spec.image, peer_pid, storage)

    def _spawn(self, spec: InstanceSpec, errors: IO[bytes], marks: Marks) -> Process:
        bundle = str(spec.directory)
        argv = self._call("run", "--detach", *self.run_flags(spec), "--bundle", bundle, spec.name)
        marks.stamp(Mark.REQUEST)
        return spawn(argv, stderr=errors.fileno())

    def _delete(self, name: str) -> None:
        """A container that ended by itself is deleted; one that did not is killed."""
        gone = run(self._call("delete", name), check=False, timeout_s=_CALL_TIMEOUT_S)
        if gone.returncode != 0:
            force = self._call("delete", "--force", name)
            run(force, check=False, timeout_s=_CALL_TIMEOUT_S)

    def _forget(self, name: str) -> None:
        group = self._group(name)
        group.kill()
        group.remove()
        self._context.inventory.removed("container", name)

    def launch_files(self, image: Image, inside: Sequence[str]) -> Sequence[Path]:
        return [Path(self._binary), *in_directory_form(image, inside)]

    def close(self) -> None:
        """State of containers lies in the run's own folder, which the run removes."""


class Containers:
    """Cleans containers of dead runs, by the state that the OCI runtime keeps of them."""

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        return any(Path(details["state"]).glob(f"{name}*"))  # a folder, or runsc's files

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        """Raises CommandFailed when it stays; some complain of what they wait for and then go."""
        argv = [details["program"], "--root", details["state"], "delete", "--force", name]
        with PrivateMounts() as mounts:
            hide_unified(mounts)
            try:
                mounts.call(lambda: run(argv, timeout_s=_CALL_TIMEOUT_S))
            except CommandFailed:
                if self.exists(name, details):
                    raise


containers = Containers()


class Runc(Oci):
    """runc, the reference implementation."""

    program = "runc"


class Crun(Oci):
    """crun, the implementation in C."""

    program = "crun"
    examples = ("seccomp=on",)


class AnyOci(Oci):
    """`oci,path=/usr/bin/youki`: a binary of the user's choice."""

    parameters: Mapping[str, Parameter] = {
        **Oci.parameters, "path": Parameter("", description="the OCI runtime's program")
    }  # fmt: skip
    variants = ()
    examples = ("path=/usr/bin/crun",)

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        self.program = parameters.get("path", "")
        super().__init__(name, parameters, context)
        self._state = context.state / f"oci-{Path(self.program).name}"

    def probe(self) -> RuntimeFacts:
        if not self.program:
            raise RuntimeUnavailable("no OCI runtime was named", "write oci,path=/usr/bin/youki")
        if find_program(self.program) is None:
            raise RuntimeUnavailable(
                f"there is no program {self.program}", "name an OCI runtime's program"
            )
        return super().probe()


def finish(process: Process, errors: IO[bytes]) -> None:
    """Wait for the launcher; raises LaunchFailed with what it said."""
    try:
        status = process.wait(_CALL_TIMEOUT_S)
    except TimeoutError:
        process.end()
        raise LaunchFailed(f"{process.argv[0]} did not return") from None
    if status != 0:
        raise LaunchFailed(f"{process.argv[0]} run: exit status {status}: {last_words(errors)}")


def bundle_config(
    spec: InstanceSpec,
    root: Path,
    cgroup: str,
    volume: Path | None = None,
    *,
    seccomp: bool = False,
    command: Sequence[str] = (),
) -> dict[str, Any]:
    """The bundle's config.json: a pure function of the instance (golden file in the tests).

    It runs the agent, or another `command` of the image.
    """
    filtered = {"seccomp": _seccomp_profile()} if seccomp else {}
    return {
        "ociVersion": "1.0.2",
        "hostname": "tarebench",
        "root": {"path": str(root), "readonly": False},
        "process": {
            "terminal": False,
            "cwd": "/",
            "user": {"uid": 0, "gid": 0},
            "args": list(command) or [AGENT_PATH, f"unix:{CHANNEL_DIRECTORY}/{SOCKET}"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "capabilities": {
                kind: list(CAPABILITIES) for kind in ("bounding", "effective", "permitted")
            },
            "noNewPrivileges": True,
        },
        "mounts": mounts(spec, volume),
        "linux": {
            "cgroupsPath": cgroup,
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "resources": _resources(spec),
            "maskedPaths": list(MASKED),
            "readonlyPaths": list(READ_ONLY),
            **filtered,
        },
    }


def mounts(spec: InstanceSpec, volume: Path | None = None) -> list[dict[str, Any]]:
    """What is mounted below the root, as the OCI runtime specification writes it."""
    mount_options = ["nosuid", "noexec", "nodev"]
    bind = ["bind", "rw"]
    volumes = [] if volume is None else [_mount(VOLUME_PATH, "bind", str(volume), bind)]
    return [
        _mount("/proc", "proc", "proc", mount_options),
        _mount("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        _mount("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance"]),
        _mount("/dev/shm", "tmpfs", "shm", [*mount_options, "mode=1777", "size=65536k"]),
        _mount("/sys", "sysfs", "sysfs", [*mount_options, "ro"]),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", [*mount_options, "relatime", "ro"]),
        _mount("/run", "tmpfs", "tmpfs", ["nosuid", "nodev", "mode=755"]),
        _mount("/tmp", "tmpfs", "tmpfs", ["nosuid", "nodev", "mode=1777"]),
        _mount(CHANNEL_DIRECTORY, "bind", str(spec.sockets), bind),
        *volumes,
    ]


def _seccomp_profile() -> dict[str, Any]:
    """All system calls but those of DENIED_CALLS; the filter is compiled by libseccomp."""
    refused = {"names": list(DENIED_CALLS), "action": "SCMP_ACT_ERRNO", "errnoRet": 1}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [refused],
    }


def _mount(destination: str, kind: str, source: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": options}


def _resources(spec: InstanceSpec) -> dict[str, Any]:
    limits, resources = spec.limits, dict[str, Any](devices=_devices())
    if limits.memory_bytes is not None:
        resources["memory"] = {"limit": limits.memory_bytes}
    if limits.cpus is not None:
        resources["cpu"] = {"quota": int(limits.cpus * _PERIOD_US), "period": _PERIOD_US}
    if limits.pids is not None:
        resources["pids"] = {"limit": limits.pids}
    return resources


def _devices() -> list[dict[str, Any]]:
    """No device, then those of every box, as the specification orders rules."""
    allowed = [
        {"allow": True, "type": "c", "major": major, "access": "rwm"}
        | ({} if minor is None else {"minor": minor})
        for major, minor in DEVICES
    ]
    return [{"allow": False, "access": "rwm"}, *allowed]
