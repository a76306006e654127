"""Docker Engine spoken to by hand: two HTTP requests over its socket, and nothing else."""

from __future__ import annotations

import http.client
import itertools
import json
import shutil
import socket
from collections.abc import Iterator

from harness.clock import now_ns
from harness.model import InstanceSpec, Limits, Runtime
from runtimes.box import listen
from runtimes.docker import Docker
from runtimes.engine import container_config
from tests.lab import Lab


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class EngineByHand:
    """Creates and starts containers as `runtimes.docker` does, on a warm connection of its own."""

    def __init__(self, runtime: Runtime, lab: Lab) -> None:
        assert isinstance(runtime, Docker)
        self._lab = lab
        self._image_id = runtime._image_id
        self._connection = _UnixConnection(runtime._host.removeprefix("unix://"))
        self._numbers: Iterator[int] = itertools.count()

    def _call(self, method: str, path: str, body: object = None) -> None:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        self._connection.request(method, path, data, headers)
        answer = self._connection.getresponse()
        said = answer.read()
        assert answer.status < 300, said

    def request_to_ready_s(self) -> float:
        """Seconds from the create call to READY."""
        name = f"tb-hand-{next(self._numbers)}"
        sockets = self._lab.place.state / name
        sockets.mkdir()
        place = self._lab.place
        spec = InstanceSpec(name, place.run_id, self._lab.image, Limits(), place.scratch, sockets)
        config = container_config(spec, self._image_id, "host")
        try:
            with listen(spec) as listener:
                begin = now_ns()
                self._call("POST", f"/containers/create?name={name}", config)
                self._call("POST", f"/containers/{name}/start")
                ready_ns = listener.wait_ready(60)
            return (ready_ns - begin) / 1e9
        finally:
            self._call("DELETE", f"/containers/{name}?force=1")
            shutil.rmtree(sockets)

    def __enter__(self) -> EngineByHand:
        self._call("GET", "/_ping")
        return self

    def __exit__(self, *exc: object) -> None:
        self._connection.close()
