"""Podman: one container an instance, over the API of its service; rootful.

The calls are Docker's, which Podman's service understands, by the same client as for Docker
Engine: so the two rows differ in the engine and not in who asks, and nothing more is to be
installed; Podman's own client library sends requests of the same kind over the same socket.
Podman takes no OCI runtime by these calls: the service is told one when it starts, and one that
runs already has its own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, RuntimeUnavailable
from harness.model import Context, InstanceSpec, Parameter, RuntimeFacts
from harness.probes.cgroups import Group, Layout
from harness.process import run
from runtimes import engine_runtimes
from runtimes.box import check_parameters
from runtimes.docker_api import Api, NobodyListens, asking, connect, require_local
from runtimes.engine import ContainerCleaner, Engine, EngineBox, container_config
from runtimes.engine_runtimes import RUNTIME
from runtimes.grouped import ALL_LIMITS
from runtimes.podman_service import API_VERSION, PROGRAMS, PrivatePodman, chosen, require_startable
from runtimes.storage import STORAGE

KIND = "podman-container"
_SOCKET = Path("/run/podman/podman.sock")
_PROBE_TIMEOUT_S = 15.0


class Podman(Engine):
    """See the module."""

    kind = KIND
    title = "the Podman service"
    repository = "localhost/tarebench"
    api_version = API_VERSION
    parameters: Mapping[str, Parameter] = {
        "network": Parameter("bridge", ("bridge", "none", "host"), "the container's network"),
        "runtime": RUNTIME,
        "storage": STORAGE,
    }
    variants = ("", "network=host", "network=none")
    examples = ("network=none,runtime=crun",)

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        given = check_parameters("podman", parameters, self.parameters)
        private = PrivatePodman(context, given["runtime"], given["network"])
        super().__init__(name, given, context, private)

    def find(self) -> str | None:
        """A service that runs and has the OCI runtime that was asked for."""
        host = named_or_default()
        if host is None or not self._runtime:
            return host
        api = connect(host, _PROBE_TIMEOUT_S, API_VERSION)
        try:
            return host if self._default_runtime(api) == self._runtime else None
        finally:
            api.close()

    @property
    def ships(self) -> bool:
        """A service of ours is on the host's loopback where its boxes are to be on the host's
        network; else it has a network namespace of its own."""
        return self._network == "host" or not self._holds_private

    def recognise(self, api: Api) -> None:
        if not self._holds_private:
            versions(api)

    def _default_runtime(self, api: Api) -> str:
        with asking("podman info", RuntimeUnavailable):
            return str(api.info().get("DefaultRuntime"))

    def probe(self) -> RuntimeFacts:
        """Facts of the service that runs, or of the one that `prepare` would start."""
        host = self._private.host if self._private.running else self.find()
        if host is None:
            require_startable(self._runtime, self._network)
            return self._facts(_installed(self._runtime), "private service started for this run")
        api = connect(host, _PROBE_TIMEOUT_S, API_VERSION)
        try:
            private = host == self._private.host
            where = "private service started for this run" if private else "shared service"
            return self._facts(versions(api), where)
        finally:
            api.close()

    def _facts(self, known: Mapping[str, str], where: str) -> RuntimeFacts:
        notes = [where, f"network {self._network}", "asked by Docker's API", "rootful"]
        return RuntimeFacts(versions=dict(known), limits=ALL_LIMITS, notes=notes)

    def config(self, spec: InstanceSpec, volume: Path | None) -> dict[str, Any]:
        """A service of ours is told where its control groups go; one of the host's knows."""
        body = container_config(spec, self._image_id, self._network, volume)
        if self._holds_private:
            body["HostConfig"]["CgroupParent"] = f"/{self._context.cgroup}"
        return body

    def clearing(self, box: EngineBox) -> Sequence[int]:
        """The monitor, which calls a Podman that clears up, and then ends. While it does, Podman's
        answer to "wait" (4.3) asks itself without a pause, and keeps from its work who is at it."""
        return box.monitors

    def group_left(self, api: Api, name: str) -> Group | None:
        """Podman cleans up behind a box when its monitor says so, and a monitor may be killed."""
        if not self._holds_private:
            return None
        try:
            with asking(f"inspecting {name}", HarnessError):
                identity = api.inspect_container(name)["Id"]
        except HarnessError:  # there is none, and so no group; or removing it will say why
            return None
        return Group(Layout.detect(), f"{self._context.cgroup}/libpod-{identity}")

    def programs(self) -> Sequence[str]:
        """The monitor, the OCI runtime, and Podman itself, which cleans up behind a box."""
        return [*PROGRAMS, chosen(self._runtime)]


def named_or_default() -> str | None:
    """The address of a service that runs on this host, or None.

    Raises RuntimeUnavailable when the user has named one that cannot be used.
    """
    if named := os.environ.get("CONTAINER_HOST"):
        require_local(named)
        connect(named, _PROBE_TIMEOUT_S, API_VERSION).close()
        return named
    if os.geteuid() == 0 and _SOCKET.is_socket():
        with contextlib.suppress(NobodyListens):
            connect(f"unix://{_SOCKET}", _PROBE_TIMEOUT_S, API_VERSION).close()
            return f"unix://{_SOCKET}"
    return None


def versions(api: Api) -> dict[str, str]:
    """Versions of Podman and its parts; refuses other programs that speak its language."""
    with asking("podman version", RuntimeUnavailable):
        parts = {part["Name"]: str(part["Version"]) for part in api.version().get("Components", ())}
    if "Podman Engine" not in parts:
        raise RuntimeUnavailable(
            "what answers at Podman's socket is not Podman", "unset CONTAINER_HOST"
        )
    found = {"podman": parts["Podman Engine"]}
    for name, said in parts.items():
        words = said.split()
        if (name == "Conmon" or name.startswith("OCI Runtime")) and len(words) > 2:
            found[words[0]] = words[2].rstrip(",")
    return found


def _installed(runtime: str) -> dict[str, str]:
    """Versions of what `prepare` would start, by asking the programs."""
    found: dict[str, str] = {}
    for program in PROGRAMS:
        words = run([program, "--version"]).stdout.decode().split()
        found[program] = words[2].rstrip(",") if len(words) > 2 else "unknown"
    return {**found, **engine_runtimes.version(chosen(runtime), engine_runtimes.installed())}


containers = ContainerCleaner()
"""What the group `tarebench.cleaners` names for the kind `podman-container`."""
