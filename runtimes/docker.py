"""Docker Engine: one container an instance, created and started over the engine's own API.

The client path (the Docker SDK here, the docker command with `client=cli`) is part of this
runtime's identity, and so is the OCI runtime below the engine, with `runtime=crun`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.errors import RuntimeUnavailable
from harness.model import (
    Context,
    LimitSupport,
    Marks,
    Parameter,
    RuntimeFacts,
    Support,
)
from harness.process import find_program, run
from runtimes import engine_runtimes
from runtimes.box import check_parameters
from runtimes.docker_api import Api, asking, connect, find, versions
from runtimes.docker_cli import command_version, run_by_command
from runtimes.docker_engine import PrivateEngine, require_startable
from runtimes.engine import ContainerCleaner, Engine
from runtimes.engine_runtimes import RUNTIME, Registered
from runtimes.grouped import ALL_LIMITS
from runtimes.storage import STORAGE

KIND = "docker-container"


class Docker(Engine):
    """See the module."""

    kind = KIND
    title = "the Docker Engine"
    parameters: Mapping[str, Parameter] = {
        "network": Parameter("bridge", ("bridge", "none", "host"), "the container's network"),
        "client": Parameter("api", ("api", "cli"), "who asks: the SDK, or the docker command"),
        "runtime": RUNTIME,
        "storage": STORAGE,
    }
    variants = ("", "network=host", "network=none")
    examples = ("client=cli", "network=none,runtime=crun")

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        given = check_parameters("docker", parameters, self.parameters)
        super().__init__(name, given, context, PrivateEngine(context))
        self._by_command = given["client"] == "cli"

    def find(self) -> str | None:
        return find()

    @property
    def ships(self) -> bool:
        """The docker command is no other way to ship: it asks, and the engine does."""
        return not self._by_command

    def recognise(self, api: Api) -> None:
        versions(api)
        known = self._registered(api)
        engine_runtimes.require(self._runtime, known, self.title, self._network)
        self._taken = engine_runtimes.for_network(self._runtime, self._network, known)

    def _registered(self, api: Api) -> Mapping[str, Registered]:
        with asking("docker info", RuntimeUnavailable):
            return engine_runtimes.of_docker(api.info().get("Runtimes") or {})

    def probe(self) -> RuntimeFacts:
        """Facts of the engine that runs, or of the one that `prepare` would start."""
        client = {"docker-cli": command_version()} if self._by_command else {}
        host = self._private.host if self._private.running else find()
        if host is None:
            require_startable()
            known = engine_runtimes.installed()
            own = "an engine of this run's own"
            engine_runtimes.require(self._runtime, known, own, self._network)
            return RuntimeFacts(
                versions={**_installed(), **client, **self._version(known)}, limits=ALL_LIMITS,
                notes=["private engine started for this run", "storage driver overlay2",
                       "cgroup driver cgroupfs", *self._notes()],
            )  # fmt: skip
        api = connect(host)
        try:
            self.recognise(api)
            return self._facts(api, client, private=host == self._private.host)
        finally:
            api.close()

    def _version(self, known: Mapping[str, Registered]) -> Mapping[str, str]:
        """The version of the OCI runtime that was asked for by name."""
        return engine_runtimes.version(self._runtime, known)

    def _notes(self) -> list[str]:
        client = "the docker command" if self._by_command else "the API"
        below = [f"OCI runtime {self._runtime}"] if self._runtime else []
        return [f"network {self._network}", *below, f"asked by {client}"]

    def _facts(self, api: Api, client: dict[str, str], *, private: bool) -> RuntimeFacts:
        known = versions(api)
        with asking("docker info", RuntimeUnavailable):
            said = api.info()
        if said.get("OSType") != "linux":
            raise RuntimeUnavailable(f"the Docker Engine makes {said.get('OSType')} containers")
        return RuntimeFacts(
            versions={**known, **client, **self._version(self._registered(api))},
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

    def ask(self, api: Api, config: Mapping[str, Any], name: str, marks: Marks) -> None:
        if not self._by_command:
            super().ask(api, config, name, marks)
            return
        run_by_command(self._host, self._context.state / "docker-cli", config, name, marks)

    def programs(self) -> Sequence[str]:
        """The shim, the OCI runtime and the command."""
        command = ["docker"] if self._by_command else []
        return ["containerd-shim-runc-v2", self._runtime or "runc", *command]


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


containers = ContainerCleaner()
"""What the group `tarebench.cleaners` names for the kind `docker-container`."""
