"""An engine's push and pull, by its API, to a registry that is there for that alone.

What is shipped is the image's own archive with a small file more, else the engine would know the
layer and nothing would be pulled; and that with one layer more over it, of bytes that cannot be
compressed. After a pull the engine must hold the very image that it pushed, told by its id.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.clock import now_ns
from harness.errors import HarnessError, LaunchFailed
from harness.model import Image
from harness.shipping import Moved, State
from runtimes.docker_api import Api, NotThere, asking
from runtimes.engine_store import RUN_LABEL, forget, imported
from runtimes.registry_server import RegistryServer

_CHUNK_BYTES = 1 << 20
_NO_CREDENTIALS: Mapping[str, str] = {}
"""Else the client looks for those of whoever runs it."""


class EngineShipment:
    """See harness/shipping.py. Every image has a name by the registry's address."""

    def __init__(self, api: Api, server: RegistryServer) -> None:
        self._api = api
        self._server = server
        self.repository = f"{server.address}/tarebench"
        self._ids: dict[State, str] = {}

    def name(self, state: State) -> str:
        return f"{self.repository}:{state}"

    def make(self, image: Image, run_id: str, helper: str, added_bytes: int) -> None:
        """Both images in the engine; the helper is a container that its caller removes."""
        labels = [f"LABEL {RUN_LABEL}={run_id}"]
        archive = _with_a_file_more(image.directory / "rootfs.tar")
        imported(self._api, archive, self.repository, State.COLD, labels)
        config = {"Image": self.name(State.COLD), "Cmd": ["/none"], "Labels": {RUN_LABEL: run_id}}
        with asking("making a second image", LaunchFailed):
            made = self._api.create_container_from_config(config, helper)["Id"]
            self._api.put_archive(made, "/", _file(secrets.token_hex(8), added_bytes))
            self._api.commit(made, self.repository, State.SHARED, pause=False, changes=labels)
        self._ids = {state: self._id(state) for state in State}

    def _id(self, state: State) -> str:
        with asking(f"inspecting {self.name(state)}", HarnessError):
            return str(self._api.inspect_image(self.name(state))["Id"])

    def push(self, state: State) -> Moved:
        return self._moved(
            lambda: self._api.push(
                self.repository, tag=state, stream=True, decode=True, auth_config=_NO_CREDENTIALS
            ),
            self._server.held_bytes,
        )

    def pull(self, state: State) -> Moved:
        moved = self._moved(
            lambda: self._api.pull(
                self.repository, tag=state, stream=True, decode=True, auth_config=_NO_CREDENTIALS
            ),
            self._server.sent_bytes,
        )
        if self._id(state) != self._ids[state]:
            raise HarnessError(f"{self.name(state)} is another image than the one that was pushed")
        return moved

    def _moved(
        self, ask: Callable[[], Iterator[Mapping[str, Any]]], counted: Callable[[], int]
    ) -> Moved:
        """The call until its answer ends, which is a stream of progress."""
        before = counted()
        with asking(f"the registry at {self._server.address}", HarnessError):
            self._api.ping()
            begin = now_ns()
            said = list(ask())
            took = now_ns() - begin
        failed = next((line["error"] for line in said if line.get("error")), None)
        if failed is not None:
            raise HarnessError(f"the registry at {self._server.address}: {failed}")
        return Moved(took, counted() - before)

    def forget(self) -> None:
        for state in (State.SHARED, State.COLD):
            forget(self._api, self.name(state))
        for state, known in self._ids.items():
            with contextlib.suppress(NotThere), asking(f"inspecting {known}", HarnessError):
                self._api.inspect_image(known)
                raise HarnessError(f"the engine has not dropped the image {self.name(state)}")


def _with_a_file_more(archive: Path) -> Iterator[bytes]:
    """A tar whose first member is new, and whose others are those of another: a layer by itself."""
    yield _member(secrets.token_hex(8), b"")
    with archive.open("rb") as file:
        while block := file.read(_CHUNK_BYTES):
            yield block


def _member(name: str, content: bytes) -> bytes:
    """One file as a tar holds it, without the end of an archive."""
    told = tarfile.TarInfo(f"tarebench-{name}")
    told.size = len(content)
    padding = bytes(-len(content) % tarfile.BLOCKSIZE)
    return told.tobuf() + content + padding


def _file(name: str, size: int) -> bytes:
    """An archive of one file of random bytes."""
    return _member(name, os.urandom(size)) + bytes(2 * tarfile.BLOCKSIZE)
