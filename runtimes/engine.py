"""A container of an engine that speaks Docker's API: Docker Engine, and Podman's service.

What is timed is the two calls that every client makes, create and start, on a connection that
is warm. READY comes over a bind-mounted socket, so that neither attach nor a log driver is in
the way. An engine that runs already is used as it is; else the run starts one of its own.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from harness.channel import Agent, Listener
from harness.clock import now_ns
from harness.errors import DeadlineExceeded, HarnessError, LaunchFailed, RuntimeUnavailable
from harness.model import (
    AGENT_PATH,
    CHANNEL_DIRECTORY,
    Context,
    Image,
    Instance,
    InstanceSpec,
    Mark,
    Marks,
    RuntimeClass,
    Storage,
)
from harness.probes.cgroups import Group
from harness.process import find_program, wait_pidfd
from harness.roots import Form, MadeRoot
from harness.shipping import State
from runtimes.box import SOCKET, AgentBox, Ending, listen
from runtimes.daemon_parts import parent_of
from runtimes.docker_api import ANY_VERSION, CALL_TIMEOUT_S, Api, NotThere, asking, connect
from runtimes.engine_runtimes import class_of
from runtimes.engine_store import (
    RUN_LABEL,
    announced,
    image_layers,
    imported,
    own_layers,
    upper_layer,
)
from runtimes.registry_server import RegistryServer
from runtimes.shipping import EngineShipment
from runtimes.storage import VOLUME_PATH, bound_folder, make_storage

DIGEST_LABEL, INSTANCE_LABEL = "tarebench.digest", "tarebench.instance"
_LONG_TIMEOUT_S = 600.0
_TAG_CHARACTERS = 16
_NANO = 1_000_000_000


class Private(Protocol):
    """An engine of the run's own."""

    host: str

    @property
    def running(self) -> bool: ...
    def acquire(self) -> None: ...
    def release(self) -> None: ...
    def processes(self) -> Sequence[int]: ...


class EngineBox(AgentBox):
    """A container of an engine, which alone knows where its writable layer lies."""

    def __init__(
        self,
        agent: Agent,
        image: Image,
        pid: int,
        storage: Storage,
        extra: Sequence[int],
        container: tuple[Api, str],
        *,
        sandbox: bool,
    ) -> None:
        super().__init__(agent, image, pid, storage, extra, sandbox=sandbox)
        self.container = container

    @property
    def monitors(self) -> Sequence[int]:
        """What stands beside the box for as long as it runs."""
        return self._extra

    def pause(self) -> None:
        api, name = self.container
        with asking(f"pausing {name}", HarnessError):
            api.pause(name)

    def resume(self) -> None:
        api, name = self.container
        with asking(f"resuming {name}", HarnessError):
            api.unpause(name)

    def storage(self) -> Storage:
        known = super().storage()
        return known if known.host else replace(known, host=upper_layer(*self.container))


class Engine:
    """What runtimes of an engine share; one of them tells which engine, and how it is found."""

    runtime_class = RuntimeClass.CONTAINER
    kind = ""
    """The inventory's word for a container of this engine."""
    title = ""
    repository = "tarebench"
    """What our images are called in this engine, before the tag."""
    api_version = ANY_VERSION

    def __init__(
        self, name: str, given: Mapping[str, str], context: Context, private: Private
    ) -> None:
        self.name = name
        self.runtime_class = class_of(given["runtime"])
        self._network, self._storage = given["network"], given["storage"]
        self._runtime = self._taken = given["runtime"]
        self._context = context
        self._private = private
        self._holds_private = False
        self._api: Api | None = None
        self._host = ""
        self._image_id = ""

    def find(self) -> str | None:
        """The address of an engine that runs and that this runtime may use, or None."""
        raise NotImplementedError

    def recognise(self, api: Api) -> None:
        """Raises RuntimeUnavailable where this is another engine, or lacks what is asked of it."""
        raise NotImplementedError

    def programs(self) -> Sequence[str]:
        """What runs on the host at a launch, by name."""
        raise NotImplementedError

    @property
    def shared_daemon(self) -> bool:
        """Whether others may use the engine too."""
        return not self._holds_private

    def daemon_processes(self) -> Sequence[int]:
        return self._private.processes() if self._holds_private else ()

    def prepare(self, image: Image) -> None:
        """Have an engine and the image in it; the label proves which image a tag holds."""
        api = self._connected()
        tag = image.digest.removeprefix("sha256:")[:_TAG_CHARACTERS]
        name = f"{self.repository}:{tag}"
        if _digest_of(api, name) != image.digest:
            _import(self._host, image, self.repository, tag)
            if self._holds_private:
                _drop_others(api, self.repository, name)
        with asking(f"inspecting {name}", LaunchFailed):
            self._image_id = str(api.inspect_image(name)["Id"])

    def _connected(self) -> Api:
        if self._api is None:
            host = None if self._private.running else self.find()
            if host is None:
                self._private.acquire()
                self._holds_private = True
                host = self._private.host
            self._host = host
            self._api = connect(host, version=self.api_version)
            self.recognise(self._api)
        return self._api

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[AgentBox]:
        api = self._connected()
        storage = make_storage(self._storage, spec, None)
        config = self.config(spec, bound_folder(storage))
        with ExitStack() as stack:
            listener = stack.enter_context(listen(spec))
            stack.enter_context(self._announced(api, spec.name, spec.run_id))
            self.ask(api, config, spec.name, marks)
            marks.at(Mark.READY, _wait_ready(api, listener, spec))
            box = self._box(api, listener, spec, storage)
            ending = stack.enter_context(Ending(box.pid))
            monitors = stack.enter_context(_watched(self.clearing(box)))
            yield box
            ending.exit(box.agent, marks)
            for monitor in monitors:
                wait_pidfd(monitor, CALL_TIMEOUT_S)
            with asking("waiting for the container's end", LaunchFailed):
                api.wait(spec.name, timeout=CALL_TIMEOUT_S)
            stack.close()
            marks.stamp(Mark.REMOVED)

    @contextlib.contextmanager
    def _announced(self, api: Api, name: str, run_id: str) -> Iterator[None]:
        """A container that is about to be made, and is gone at the end."""
        self._context.inventory.will_make(
            self.kind, name, host=self._host, run=run_id,
            private="yes" if self._holds_private else "no",
        )  # fmt: skip
        try:
            yield
        finally:
            self._forget(api, name)

    @property
    def forms(self) -> Sequence[Form]:
        """An engine copies nothing, and not each tells where its layers are."""
        return (Form.OVERLAY,) if self.shared_files() else ()

    @contextlib.contextmanager
    def make_root(self, spec: InstanceSpec) -> Iterator[MadeRoot]:
        """A container that is created and not started: the call, and what the engine keeps."""
        api = self._connected()
        config = self.config(spec, None)
        with self._announced(api, spec.name, spec.run_id):
            with asking("creating a container", LaunchFailed):
                api.ping()
                begin = now_ns()
                api.create_container_from_config(config, spec.name)
                took = now_ns() - begin
            yield MadeRoot(took, tuple(own_layers(api, spec.name)))

    def shared_files(self, image: Image | None = None) -> Sequence[Path]:
        """The folders of the layers of the image that was prepared."""
        del image
        return image_layers(self._connected(), self._image_id)

    @contextlib.contextmanager
    def committed(self, instance: Instance) -> Iterator[Sequence[Path]]:
        assert isinstance(instance, EngineBox)
        api, container = instance.container
        name = f"{self.repository}:{container}"
        with self._image_announced(name):
            with asking(f"keeping {container} as an image", LaunchFailed):
                label = f"LABEL {RUN_LABEL}={self._context.run_id}"
                api.commit(container, self.repository, container, pause=False, changes=[label])
            yield image_layers(api, name)

    @property
    def ships(self) -> bool:
        """Whether it reaches a registry on this host's loopback, asked as it is here."""
        return True

    @contextlib.contextmanager
    def shipment(self, image: Image, directory: Path, added_bytes: int) -> Iterator[EngineShipment]:
        inventory, run_id = self._context.inventory, self._context.run_id
        self._connected()
        with ExitStack() as stack:
            server = stack.enter_context(RegistryServer(inventory, directory / "registry"))
            api = connect(self._host, _LONG_TIMEOUT_S, self.api_version)
            stack.callback(api.close)
            shipment = EngineShipment(api, server)
            for state in State:
                stack.enter_context(self._image_announced(shipment.name(state)))
            helper = f"tarebench-{secrets.token_hex(8)}"
            with self._announced(api, helper, run_id):
                shipment.make(image, run_id, helper, added_bytes)
            yield shipment

    def _image_announced(self, name: str) -> AbstractContextManager[None]:
        return announced(
            self._context.inventory, name, self._host, self._context.run_id,
            private=self._holds_private,
        )  # fmt: skip

    def config(self, spec: InstanceSpec, volume: Path | None) -> dict[str, Any]:
        """What is asked for: the body of the create call."""
        return container_config(spec, self._image_id, self._network, volume, self._taken)

    def ask(self, api: Api, config: Mapping[str, Any], name: str, marks: Marks) -> None:
        """Ask for a container and its start, and stamp that. Raises LaunchFailed."""
        with asking(self.title, LaunchFailed):
            api.ping()  # the timed calls find the connection warm
        with asking("creating and starting the container", LaunchFailed):
            marks.stamp(Mark.REQUEST)
            created = api.create_container_from_config(config, name)
            marks.stamp(Mark.CREATED)
            api.start(created["Id"])
            marks.stamp(Mark.STARTED)

    def _box(self, api: Api, listener: Listener, spec: InstanceSpec, storage: Storage) -> EngineBox:
        """The peer is the container's init; of a sandbox it is a helper, and the engine knows."""
        agent = Agent(listener, shares_clock=self.runtime_class.shares_kernel)
        sandbox = self.runtime_class is RuntimeClass.SANDBOX
        pid = _state(api, spec.name)["Pid"] if sandbox else listener.peer_pid
        if not pid:
            raise LaunchFailed("the container's process is not visible from here")
        return EngineBox(
            agent, spec.image, pid, storage, _shim(pid), (api, spec.name), sandbox=sandbox
        )

    def clearing(self, box: EngineBox) -> Sequence[int]:
        """The processes that clear up behind a box, where they are to be awaited before the
        engine is asked for its end."""
        del box
        return ()

    def group_left(self, api: Api, name: str) -> Group | None:
        """A control group of a container that the engine may leave behind, or None."""
        del api, name
        return None

    def _forget(self, api: Api, name: str) -> None:
        group = self.group_left(api, name)
        _remove(api, name)
        if group is not None:
            group.kill()
            group.remove()
        self._context.inventory.removed(self.kind, name)

    def launch_files(self, image: Image, inside: Sequence[str]) -> Sequence[Path]:
        """What runs on the host at a launch, and the image's files in the engine's own layer."""
        layers = self.shared_files()
        if not layers:
            raise LaunchFailed("the engine does not tell where it keeps the image's layer")
        found = [Path(path) for name in self.programs() if (path := find_program(name))]
        return [*found, *(layers[0] / path.lstrip("/") for path in inside)]

    def close(self) -> None:
        if self._api is not None:
            self._api.close()
            self._api = None
        if self._holds_private:
            self._holds_private = False
            self._private.release()


def _state(api: Api, name: str) -> Mapping[str, Any]:
    with asking("inspecting the container", LaunchFailed):
        said: Mapping[str, Any] = api.inspect_container(name)["State"]
        return said


def _wait_ready(api: Api, listener: Listener, spec: InstanceSpec) -> int:
    """The stamp of READY; a container that died says why in the engine's words."""
    try:
        return listener.wait_ready(
            spec.ready_timeout_s, lambda: bool(_state(api, spec.name)["Running"])
        )
    except LaunchFailed as error:
        said = _state(api, spec.name)
        told = f"status {said['Status']}, exit code {said['ExitCode']}"
        told += ", out of memory" if said.get("OOMKilled") else ""
        told += f", {said['Error']}" if said.get("Error") else ""
        raise LaunchFailed(f"{error.message}: {told}") from error


def _remove(api: Api, name: str) -> None:
    """Remove a container whatever its state; that there is none is fine.

    An engine may refuse one that is dying just then: its end is awaited, and it is asked again.
    """

    def remove() -> None:
        with contextlib.suppress(NotThere), asking(f"removing {name}", HarnessError):
            api.remove_container(name, v=True, force=True)

    try:
        remove()
    except DeadlineExceeded:  # an engine that hangs is not asked again: that would take as long
        raise
    except HarnessError:
        with contextlib.suppress(NotThere), asking(f"waiting for the end of {name}", HarnessError):
            api.wait(name, timeout=CALL_TIMEOUT_S)
        remove()


@contextlib.contextmanager
def _watched(pids: Sequence[int]) -> Iterator[Sequence[int]]:
    """Descriptors of processes, by which their ends are awaited."""
    with ExitStack() as stack:
        found = list[int]()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                found.append(os.pidfd_open(pid))
                stack.callback(os.close, found[-1])
        yield found


def _shim(pid: int) -> Sequence[int]:
    """The shim: it stays for as long as the container does, and is a cost of it."""
    parent = parent_of(pid)
    return (parent,) if parent > 1 else ()


def _digest_of(api: Api, name: str) -> str | None:
    try:
        with asking(f"inspecting {name}", LaunchFailed):
            labels = api.inspect_image(name)["Config"].get("Labels") or {}
    except NotThere:
        return None
    return str(labels.get(DIGEST_LABEL))


def _drop_others(api: Api, repository: str, name: str) -> None:
    """Earlier images leave a private engine's data, which would else grow with every build."""
    for known in api.images(repository):
        for tag in known.get("RepoTags") or ():
            if tag != name:
                with asking(f"removing the image {tag}", LaunchFailed):
                    api.remove_image(tag)


def _import(host: str, image: Image, repository: str, tag: str) -> None:
    """Import the image's tar; raises LaunchFailed with the engine's message."""
    api = connect(host, _LONG_TIMEOUT_S)
    try:
        with (image.directory / "rootfs.tar").open("rb") as tar:
            imported(api, tar, repository, tag, [f"LABEL {DIGEST_LABEL}={image.digest}"])
    finally:
        api.close()


def container_config(
    spec: InstanceSpec, image_id: str, network: str, volume: Path | None = None, runtime: str = ""
) -> dict[str, Any]:
    """The body of the create call: a pure function of the instance (golden file in the tests).

    The cgroup's parent is the engine's to choose: a private one has the run's as its default.
    Mounts, privileges and swap are those of the native OCI runtimes, so that rows differ in
    the engine. Its default seccomp profile stays: it is part of what the engine is.
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
    if runtime:
        host["Runtime"] = runtime
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
        with asking(f"inspecting {name}", HarnessError):
            labels = api.inspect_container(name)["Config"].get("Labels") or {}
    except NotThere:
        return False
    return bool(labels.get(RUN_LABEL) == run_id)
