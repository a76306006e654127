"""A registry of a run's own: Debian's docker-registry, by itself on the loopback.

It is empty when it starts, on a port that the kernel chooses, keeps what it is given in one
folder, and is ended with its context. Nothing of the host's configuration is read. Its log, a
JSON object a line, tells where it listens and what it has sent; a thread reads that as it comes.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import os
import shutil
import signal
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from harness.clock import Deadline
from harness.errors import CommandFailed
from harness.model import Ledger
from harness.process import Process, find_program, spawn
from runtimes.daemon_parts import all_pids, argv_of, end_process

KIND = "image-registry"
PROGRAM = "docker-registry"
INSTALL = f"apt-get install --no-install-recommends {PROGRAM}"
_LISTENING = "listening on "
_TIMEOUT_S = 30.0
_OK = 200
_PARTS = "/blobs/", "/manifests/"
"""What an image is made of, in the addresses of a registry; all else is talk."""


class RegistryServer:
    """A context manager: the registry runs inside."""

    def __init__(self, inventory: Ledger, folder: Path) -> None:
        self._inventory = inventory
        self._folder = folder
        self._changed = threading.Condition()
        self._ended = False
        self._reader: threading.Thread | None = None
        self._process: Process | None = None
        self._said: list[Mapping[str, Any]] = []
        self._told = ""
        self.address = ""
        """HOST:PORT."""

    def __enter__(self) -> RegistryServer:
        program = find_program(PROGRAM)
        if program is None:
            raise CommandFailed(f"{PROGRAM} is not installed", INSTALL)
        self._inventory.will_make(KIND, str(self._folder))
        try:
            self._folder.mkdir(mode=0o700)
            config = self._folder / "config.json"
            config.write_text(json.dumps(configuration(self._folder / "data"), indent=1))
            reader, writer = os.pipe2(os.O_CLOEXEC)
            self._reader = threading.Thread(
                target=self._read, args=(os.fdopen(reader, "rb"),), daemon=True
            )
            self._reader.start()
            try:
                self._process = spawn(
                    [program, "serve", str(config)], stdout=writer, stderr=writer, env={}
                )
            finally:
                os.close(writer)
            self._wait(lambda: bool(self.address))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # a cleaner's doing
                self._process.end()
        if self._reader is not None:
            self._reader.join()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._inventory.removed(KIND, str(self._folder))

    def held_bytes(self) -> int:
        """What it holds of images, each blob once."""
        blobs = (self._folder / "data").glob("docker/registry/v2/blobs/*/*/*/data")
        return sum(path.stat().st_size for path in blobs)

    def sent_bytes(self) -> int:
        """What it has sent of images, since it runs.

        It is asked for something else first: when that is in the log, all before it is.
        """
        marker = f"/v2/?{len(self._said)}"
        host, port = self.address.split(":")
        connection = http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT_S)
        try:
            connection.request("GET", marker)
            connection.getresponse().read()
        finally:
            connection.close()
        self._wait(lambda: any(line["http.request.uri"] == marker for line in self._said))
        return sum(
            int(line["http.response.written"])
            for line in self._said
            if line["http.request.method"] == "GET"
            and line["http.response.status"] == _OK
            and any(part in line["http.request.uri"] for part in _PARTS)
        )

    def _wait(self, until: Any) -> None:
        """For something that the log tells. Raises CommandFailed with its last words."""
        deadline = Deadline(_TIMEOUT_S)
        with self._changed:
            done = self._changed.wait_for(lambda: until() or self._ended, deadline.left_s())
        if not done or not until():
            raise CommandFailed(f"{PROGRAM} did not do as it should; its last words: {self._told}")

    def _read(self, log: IO[bytes]) -> None:
        with log:
            for line in log:
                try:
                    said = json.loads(line)
                except ValueError:
                    said = {"msg": line.decode(errors="replace")}
                self._note(said)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _note(self, said: Mapping[str, Any]) -> None:
        with self._changed:
            self._told = str(said.get("msg", ""))
            if self._told.startswith(_LISTENING):
                self.address = self._told.removeprefix(_LISTENING)
            if "http.response.written" in said:
                self._said.append(said)
            self._changed.notify_all()


def configuration(data: Path) -> Mapping[str, Any]:
    """The registry's configuration; JSON is YAML. The answers' log is its own, for it has all."""
    return {
        "version": 0.1,
        "log": {"level": "info", "formatter": "json", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(data)}},
        "http": {"addr": "127.0.0.1:0"},
    }


class RegistryCleaner:
    """Ends a registry and removes what it held, by its inventory entry; the name is its folder."""

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        del details
        return Path(name).exists() or bool(_processes(name))

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        del details
        for pid in _processes(name):
            end_process(pid, functools.partial(_is_ours, pid, name), signal.SIGKILL)
        shutil.rmtree(name, ignore_errors=True)


def _processes(folder: str) -> Sequence[int]:
    return [pid for pid in all_pids() if _is_ours(pid, folder)]


def _is_ours(pid: int, folder: str) -> bool:
    argv = argv_of(pid)
    return len(argv) > 2 and Path(argv[0]).name == PROGRAM and argv[2].startswith(f"{folder}/")


cleaner = RegistryCleaner()
"""What the group `tarebench.cleaners` names for the kind `image-registry`."""
