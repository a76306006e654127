"""The few calls of the Docker Engine API that we make, through the Docker SDK.

The SDK is imported when an engine is asked for, never sooner, and is not typed: what we use of
it is written down here once, with its failures turned into ours.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Protocol, cast

from harness.cpuid import patience
from harness.errors import DeadlineExceeded, HarnessError, RuntimeUnavailable

CALL_TIMEOUT_S = 60.0
ANY_VERSION = "auto"
_PROBE_TIMEOUT_S = 15.0
_INSTALL = "pip install docker"


class Api(Protocol):
    """The part of `docker.APIClient` that we call; answers are the engine's JSON."""

    def ping(self) -> bool: ...
    def version(self) -> Mapping[str, Any]: ...
    def info(self) -> Mapping[str, Any]: ...
    def containers(self, *, all: bool) -> Sequence[Mapping[str, Any]]: ...
    def create_container_from_config(
        self, config: Mapping[str, Any], name: str
    ) -> Mapping[str, Any]: ...
    def start(self, container: str) -> None: ...
    def pause(self, container: str) -> None: ...
    def unpause(self, container: str) -> None: ...
    def wait(self, container: str, timeout: float) -> Mapping[str, Any]: ...
    def inspect_container(self, container: str) -> Mapping[str, Any]: ...
    def remove_container(self, container: str, *, v: bool, force: bool) -> None: ...
    def images(self, name: str) -> Sequence[Mapping[str, Any]]: ...
    def remove_image(self, image: str) -> object: ...
    def inspect_image(self, image: str) -> Mapping[str, Any]: ...
    def import_image(
        self, src: IO[bytes] | Iterator[bytes], *, repository: str, tag: str, changes: Sequence[str]
    ) -> str: ...
    def commit(
        self, container: str, repository: str, tag: str, *, pause: bool, changes: Sequence[str]
    ) -> Mapping[str, Any]: ...
    def put_archive(self, container: str, path: str, data: bytes) -> bool: ...
    def push(
        self, repository: str, *, tag: str, stream: bool, decode: bool,
        auth_config: Mapping[str, str],
    ) -> Iterator[Mapping[str, Any]]: ...  # fmt: skip
    def pull(
        self, repository: str, *, tag: str, stream: bool, decode: bool,
        auth_config: Mapping[str, str],
    ) -> Iterator[Mapping[str, Any]]: ...  # fmt: skip
    def tag(self, image: str, repository: str, tag: str) -> bool: ...
    def close(self) -> None: ...


class NobodyListens(RuntimeUnavailable):
    """There is a socket's name, but no engine behind it."""


class NotThere(HarnessError):
    """The engine has no such container or image."""


def connect(host: str, timeout_s: float = CALL_TIMEOUT_S, version: str = ANY_VERSION) -> Api:
    """A connection that has had one answer. Raises RuntimeUnavailable.

    `version` is the API's, for an engine that answers slowly when it is asked for its own.
    """
    try:
        docker = importlib.import_module("docker")
    except ImportError:
        raise RuntimeUnavailable("the Docker SDK for Python is not installed", _INSTALL) from None
    timeout_s *= patience()
    _knock(host)
    try:
        with asking(f"the Docker Engine at {host}", RuntimeUnavailable):
            client = docker.APIClient(base_url=host, version=version, timeout=timeout_s)
    except DeadlineExceeded:
        raise RuntimeUnavailable(
            f"the Docker Engine at {host} accepts calls and did not answer within {timeout_s:g} s",
            "restart it (systemctl restart docker), or unset DOCKER_HOST",
        ) from None
    client.trust_env = False  # else every call looks for proxies, which no socket has
    _share_connections(client, host, timeout_s)
    return cast("Api", client)


def _share_connections(client: Any, host: str, timeout_s: float) -> None:
    """Let all calls of a client use the same connections, so that they find one that is warm.

    The SDK keeps a pool of them for each URL, which has the container's name in it: so every call
    would make one, and the last 25 would stay open.
    """
    adapter: Any = importlib.import_module("docker.transport").UnixHTTPAdapter

    class OnePool(adapter):  # type: ignore[misc]
        """The SDK's own adapter, for which all URLs are one: they lead to one socket."""

        def get_connection(self, url: str, proxies: object = None) -> Any:
            del url
            return super().get_connection(client.base_url, proxies)

    client.get_adapter(client.base_url).close()
    client.mount(client.base_url, OnePool(host.removeprefix("unix://"), timeout_s))


def _knock(host: str) -> None:
    """Whether anybody listens; the SDK's own failure here is wordy and leaks its socket."""
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.connect(host.removeprefix("unix://"))
        except PermissionError:
            raise RuntimeUnavailable(
                f"this user may not use the Docker Engine at {host}",
                "sudo usermod -aG docker $USER, then log in again",
            ) from None
        except OSError as error:
            raise NobodyListens(
                f"the Docker Engine at {host}: {error.strerror}",
                "start it (systemctl start docker), or unset DOCKER_HOST",
            ) from error


@contextlib.contextmanager
def asking(what: str, failure: type[HarnessError]) -> Iterator[None]:
    """Turns the SDK's exceptions into ours, with the engine's own message."""
    errors = importlib.import_module("docker.errors")
    requests = importlib.import_module("requests.exceptions")
    try:
        yield
    except errors.NotFound as error:
        raise NotThere(f"{what}: {error.explanation}") from error
    except errors.APIError as error:
        raise failure(f"{what}: {error.explanation or error}") from error
    except requests.Timeout as error:
        raise DeadlineExceeded(f"{what}: no answer in time") from error
    except (errors.DockerException, requests.RequestException) as error:
        cause = _cause(error)
        if isinstance(cause, TimeoutError):
            raise DeadlineExceeded(f"{what}: no answer in time") from error
        said = cause.strerror if isinstance(cause, OSError) else None
        raise failure(f"{what}: {said or cause}") from error


def _cause(error: BaseException) -> BaseException:
    """The innermost reason: the SDK wraps an OSError three times."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return error


def find() -> str | None:
    """The address of an engine that runs on this host, or None.

    Raises RuntimeUnavailable when one was named by the user and cannot be used, or when one
    runs that this user may not use.
    """
    if named := os.environ.get("DOCKER_HOST") or _context_host():
        require_local(named)
        connect(named, _PROBE_TIMEOUT_S).close()
        return named
    for path in _default_sockets():
        if path.is_socket():
            with contextlib.suppress(NobodyListens):
                connect(f"unix://{path}", _PROBE_TIMEOUT_S).close()
                return f"unix://{path}"
    return None


def require_local(host: str) -> None:
    """Raises RuntimeUnavailable for an engine of another host: it cannot reach our channel."""
    if not host.startswith("unix://"):
        raise RuntimeUnavailable(
            f"the Docker Engine at {host} is remote, and its boxes cannot reach our channel, "
            "which is a Unix socket on this host",
            "unset DOCKER_HOST (and docker context use default) to use this host's engine",
        )


def _context_host() -> str | None:
    """The address in the `docker context` that the user has chosen, unless it is the default."""
    try:
        chosen = importlib.import_module("docker.context").ContextAPI.get_current_context()
    except Exception:  # no SDK, or a context file that nobody can read: the default holds
        return None
    if chosen is None or chosen.Name == "default":
        return None
    return str(chosen.Host).replace("http+unix://", "unix://")


def _default_sockets() -> Sequence[Path]:
    found = [Path("/var/run/docker.sock")]
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        found.append(Path(runtime) / "docker.sock")
    return found


def versions(api: Api) -> dict[str, str]:
    """Versions of the engine and its parts; refuses other programs that speak its language."""
    with asking("docker version", RuntimeUnavailable):
        said = api.version()
    parts = {part["Name"]: part["Version"] for part in said.get("Components", ())}
    if "Podman Engine" in parts:
        raise RuntimeUnavailable(
            "what answers at Docker's socket is Podman, and would be measured as Docker",
            "stop podman.socket or set DOCKER_HOST to a Docker Engine",
        )
    named = {"Engine": "docker", "containerd": "containerd", "runc": "runc"}
    return {ours: parts[theirs] for theirs, ours in named.items() if theirs in parts}
