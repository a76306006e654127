"""Docker Engine: one container an instance, created and started over the engine's own API.

What is timed is the two calls that every client makes, create and start, on a connection that
is warm; the client path (the Docker SDK here, the docker command with `client=cli`) is part of
this runtime's identity. READY comes over a bind-mounted socket, so that neither attach nor a
log driver is in the way.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.channel import Agent, Listener
from harness.errors import DeadlineExceeded, HarnessError, LaunchFailed, RuntimeUnavailable
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
    Storage,
    Support,
)
from harness.process import find_program, run
from runtimes.box import SOCKET, AgentBox, Ending, check_parameters, listen
from runtimes.daemon_parts import parent_of
from runtimes.docker_api import CALL_TIMEOUT_S, Api, NotThere, asking, connect, find, versions
from runtimes.docker_cli import command_version, run_by_command
from runtimes.docker_engine import PrivateEngine, require_startable
from runtimes.grouped import ALL_LIMITS
from runtimes.storage import STORAGE, VOLUME_PATH, bound_folder, make_storage

KIND = "docker-container"
REPOSITORY = "tarebench"
DIGEST_LABEL, RUN_LABEL, INSTANCE_LABEL = (
    "tarebench.digest", "tarebench.run", "tarebench.instance",
)  # fmt: skip
_IMPORT_TIMEOUT_S = 900.0
_TAG_CHARACTERS = 16
_NANO = 1_000_000_000


class DockerBox(AgentBox):
    """A container of an engine, which alone knows where its writable layer lies."""

    def __init__(
        self,
        agent: Agent,
        image: Image,
        pid: int,
        storage: Storage,
        extra: Sequence[int],
        container: tuple[Api, str],
    ) -> None:
        super().__init__(agent, image, pid, storage, extra)
        self._container = container

    def storage(self) -> Storage:
        known = super().storage()
        return known if known.host else replace(known, host=_upper_layer(*self._container))


class Docker:
    """See the module. `shared_daemon` says whether others may use the engine too."""

    runtime_class = RuntimeClass.CONTAINER
    parameters: Mapping[str, Parameter] = {
        "network": Parameter("bridge", ("bridge", "none", "host"), "the container's network"),
        "client": Parameter("api", ("api", "cli"), "who asks: the SDK, or the docker command"),
        "storage": STORAGE,
    }
    variants = ("", "network=host", "network=none")
    examples = ("client=cli",)

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        given = check_parameters("docker", parameters, self.parameters)
        self._network, self._by_command = given["network"], given["client"] == "cli"
        self._storage = given["storage"]
        self.name = name
        self._context = context
        self._private = PrivateEngine(context)
        self._holds_private = False
        self._api: Api | None = None
        self._host = ""
        self._image_id = ""

    def probe(self) -> RuntimeFacts:
        """Facts of the engine that runs, or of the one that `prepare` would start."""
        client = {"docker-cli": command_version()} if self._by_command else {}
        host = self._private.host if self._private.running else find()
        if host is None:
            require_startable()
            return RuntimeFacts(
                versions=_installed() | client, limits=ALL_LIMITS,
                notes=["private engine started for this run", "storage driver overlay2",
                       "cgroup driver cgroupfs", *self._notes()],
            )  # fmt: skip
        api = connect(host)
        try:
            return self._facts(api, client, private=host == self._private.host)
        finally:
            api.close()

    def _notes(self) -> list[str]:
        client = "the docker command" if self._by_command else "the API"
        return [f"network {self._network}", f"asked by {client}"]

    def _facts(self, api: Api, client: dict[str, str], *, private: bool) -> RuntimeFacts:
        known = versions(api)
        with asking("docker info", RuntimeUnavailable):
            said = api.info()
        if said.get("OSType") != "linux":
            raise RuntimeUnavailable(f"the Docker Engine makes {said.get('OSType')} containers")
        return RuntimeFacts(
            versions=known | client,
            limits=LimitSupport(
                cpus=_support(said.get("CpuCfsQuota")), memory=_support(said.get("MemoryLimit")),
                pids=_support(said.get("PidsLimit")),
            ),
            notes=[
                "private engine started for this run" if private else "shared engine",
                f"storage driver {said.get('Driver')}",
                f"cgroup driver {said.get('CgroupDriver')}",
                *self._notes(),
            ],
        )  # fmt: skip

    @property
    def shared_daemon(self) -> bool:
        return not self._holds_private

    def daemon_processes(self) -> Sequence[int]:
        return self._private.processes() if self._holds_private else ()

    def prepare(self, image: Image) -> None:
        """Have an engine and the image in it; the label proves which image a tag holds."""
        api = self._connected()
        tag = image.digest.removeprefix("sha256:")[:_TAG_CHARACTERS]
        name = f"{REPOSITORY}:{tag}"
        if _digest_of(api, name) != image.digest:
            _import(self._host, image, tag)
            if self._holds_private:
                _drop_others(api, name)
        with asking(f"docker inspect {name}", LaunchFailed):
            self._image_id = str(api.inspect_image(name)["Id"])

    def _connected(self) -> Api:
        if self._api is None:
            host = None if self._private.running else find()
            if host is None:
                self._private.acquire()
                self._holds_private = True
                host = self._private.host
            self._host = host
            self._api = connect(host)
            versions(self._api)
        return self._api

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[AgentBox]:
        api = self._connected()
        storage = make_storage(self._storage, spec, None)
        config = container_config(spec, self._image_id, self._network, bound_folder(storage))
        with ExitStack() as stack:
            listener = stack.enter_context(listen(spec))
            self._context.inventory.will_make(
                KIND, spec.name, host=self._host, run=spec.run_id,
                private="yes" if self._holds_private else "no",
            )  # fmt: skip
            stack.callback(self._forget, api, spec.name)
            if self._by_command:
                settings = self._context.state / "docker-cli"
                run_by_command(self._host, settings, config, spec.name, marks)
            else:
                with asking("the Docker Engine", LaunchFailed):
                    api.ping()  # the timed calls find the connection warm
                _create_and_start(api, config, spec.name, marks)
            marks.at(Mark.READY, _wait_ready(api, listener, spec))
            agent = Agent(listener, shares_clock=True)
            pid = listener.peer_pid
            if not pid:
                raise LaunchFailed("the container's process is not visible from here")
            ending = stack.enter_context(Ending(pid))
            yield DockerBox(agent, spec.image, pid, storage, _shim(pid), (api, spec.name))
            ending.exit(agent, marks)
            with asking("docker wait", LaunchFailed):
                api.wait(spec.name, timeout=CALL_TIMEOUT_S)
            stack.close()
            marks.stamp(Mark.REMOVED)

    def _forget(self, api: Api, name: str) -> None:
        _remove(api, name)
        self._context.inventory.removed(KIND, name)

    def launch_files(self, image: Image, inside: Sequence[str]) -> Sequence[Path]:
        """The shim, runc and the command, and the image's files in the engine's own layer."""
        with asking("docker inspect", LaunchFailed):
            driver = self._connected().inspect_image(self._image_id).get("GraphDriver") or {}
        layer = (driver.get("Data") or {}).get("UpperDir")
        if layer is None:
            raise LaunchFailed("the engine does not tell where it keeps the image's layer")
        programs = ["containerd-shim-runc-v2", "runc", *(["docker"] if self._by_command else [])]
        found = [Path(path) for name in programs if (path := find_program(name))]
        return [*found, *(Path(layer) / path.lstrip("/") for path in inside)]

    def close(self) -> None:
        if self._api is not None:
            self._api.close()
            self._api = None
        if self._holds_private:
            self._holds_private = False
            self._private.release()


def _create_and_start(api: Api, config: Mapping[str, Any], name: str, marks: Marks) -> None:
    with asking("docker create and start", LaunchFailed):
        marks.stamp(Mark.REQUEST)
        created = api.create_container_from_config(config, name)
        marks.stamp(Mark.CREATED)
        api.start(created["Id"])
        marks.stamp(Mark.STARTED)


def _wait_ready(api: Api, listener: Listener, spec: InstanceSpec) -> int:
    """The stamp of READY; a container that died says why in the engine's words."""

    def state() -> Mapping[str, Any]:
        with asking("docker inspect", LaunchFailed):
            said: Mapping[str, Any] = api.inspect_container(spec.name)["State"]
            return said

    try:
        return listener.wait_ready(spec.ready_timeout_s, lambda: bool(state()["Running"]))
    except LaunchFailed as error:
        said = state()
        told = f"status {said['Status']}, exit code {said['ExitCode']}"
        told += ", out of memory" if said.get("OOMKilled") else ""
        told += f", {said['Error']}" if said.get("Error") else ""
        raise LaunchFailed(f"{error.message}: {told}") from error


def _remove(api: Api, name: str) -> None:
    """Remove a container whatever its state; that there is none is fine."""
    with contextlib.suppress(NotThere), asking(f"docker rm {name}", HarnessError):
        api.remove_container(name, v=True, force=True)


def _upper_layer(api: Api, name: str) -> Path | None:
    """The folder of the container's writable layer, where its storage driver has one."""
    with asking(f"docker inspect {name}", HarnessError):
        driver = api.inspect_container(name).get("GraphDriver") or {}
    folder = (driver.get("Data") or {}).get("UpperDir")
    return Path(folder) if folder and Path(folder).is_dir() else None


def _shim(pid: int) -> Sequence[int]:
    """The shim: it stays for as long as the container does, and is a cost of it."""
    parent = parent_of(pid)
    return (parent,) if parent > 1 else ()


def _digest_of(api: Api, name: str) -> str | None:
    try:
        with asking(f"docker inspect {name}", LaunchFailed):
            labels = api.inspect_image(name)["Config"].get("Labels") or {}
    except NotThere:
        return None
    return str(labels.get(DIGEST_LABEL))


def _drop_others(api: Api, name: str) -> None:
    """Earlier images leave a private engine's data, which would else grow with every build."""
    for known in api.images(REPOSITORY):
        for tag in known.get("RepoTags") or ():
            if tag != name:
                with asking(f"docker rmi {tag}", LaunchFailed):
                    api.remove_image(tag)


def _import(host: str, image: Image, tag: str) -> None:
    """`docker import` of the image's tar; raises LaunchFailed with the engine's message."""
    changes = [f"LABEL {DIGEST_LABEL}={image.digest}"]
    api = connect(host, _IMPORT_TIMEOUT_S)
    try:
        with (
            (image.directory / "rootfs.tar").open("rb") as tar,
            asking("docker import", LaunchFailed),
        ):
            said = api.import_image(tar, repository=REPOSITORY, tag=tag, changes=changes)
    finally:
        api.close()
    for line in said.splitlines():
        if (answer := json.loads(line)).get("error"):
            raise LaunchFailed(f"docker import: {answer['error']}")


def container_config(
    spec: InstanceSpec, image_id: str, network: str, volume: Path | None = None
) -> dict[str, Any]:
    """The body of the create call: a pure function of the instance (golden file in the tests).

    The cgroup's parent is the engine's to choose: a private one has the run's as its default.
    Mounts, privileges and swap are those of the native OCI runtimes, so that rows differ in
    the engine. Its default seccomp profile stays: it is part of what Docker is.
    """
    binds = [(spec.sockets, CHANNEL_DIRECTORY)]
    binds += [] if volume is None else [(volume, VOLUME_PATH)]
    host: dict[str, Any] = {
        "NetworkMode": network,
        "Binds": [f"{source}:{target}:rw" for source, target in binds],
        "Tmpfs": {
            "/run": "rw,exec,nosuid,nodev,mode=755", "/tmp": "rw,exec,nosuid,nodev,mode=1777",
        },
        "LogConfig": {"Type": "none", "Config": {}},
        "SecurityOpt": ["no-new-privileges"],
        "AutoRemove": False,
        "Init": False,
    }  # fmt: skip
    limits = spec.limits
    if limits.memory_bytes is not None:
        host |= {"Memory": limits.memory_bytes, "MemorySwap": -1}
    if limits.cpus is not None:
        host["NanoCpus"] = int(limits.cpus * _NANO)
    if limits.pids is not None:
        host["PidsLimit"] = limits.pids
    return {
        "Image": image_id,
        "Hostname": "tarebench",
        "User": "0:0",
        "WorkingDir": "/",
        "Entrypoint": [AGENT_PATH, f"unix:{CHANNEL_DIRECTORY}/{SOCKET}"],
        "Labels": {RUN_LABEL: spec.run_id, INSTANCE_LABEL: spec.name},
        "NetworkDisabled": False,
        "HostConfig": host,
    }


def _support(said: object) -> Support:
    return Support.SUPPORTED if said else Support.UNSUPPORTED


def _installed() -> dict[str, str]:
    """Versions of what `prepare` would start, by asking the programs."""
    found: dict[str, str] = {}
    for program, place in (("dockerd", 2), ("containerd", 2), ("runc", 2)):
        if path := find_program(program):
            words = run([path, "--version"]).stdout.decode().split()
            name = "docker" if program == "dockerd" else program
            found[name] = words[place].rstrip(",") if len(words) > place else "unknown"
    return found


class ContainerCleaner:
    """Removes a container by its inventory entry, if the label says that it is that run's."""

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        """A container of an engine that does not answer may exist, unless its engine was ours:
        what that one left is removed with it, or when it next starts."""
        try:
            api = connect(details.get("host", ""))
        except (RuntimeUnavailable, DeadlineExceeded):
            return details.get("private") != "yes"
        try:
            return _is_of_run(api, name, details.get("run", ""))
        finally:
            api.close()

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        """Raises RuntimeUnavailable when its engine does not answer now."""
        try:
            api = connect(details.get("host", ""))
        except (RuntimeUnavailable, DeadlineExceeded):
            if details.get("private") == "yes":
                return
            raise
        try:
            if _is_of_run(api, name, details.get("run", "")):
                _remove(api, name)
        finally:
            api.close()


def _is_of_run(api: Api, name: str, run_id: str) -> bool:
    try:
        with asking(f"docker inspect {name}", HarnessError):
            labels = api.inspect_container(name)["Config"].get("Labels") or {}
    except NotThere:
        return False
    return bool(labels.get(RUN_LABEL) == run_id)


containers = ContainerCleaner()
"""What the group `tarebench.cleaners` names for the kind `docker-container`."""
