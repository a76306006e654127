"""QEMU's monitor protocol (docs/interop/qmp-spec), as far as the lab needs it.

We listen and QEMU connects, so that there is nothing to poll for.
"""

from __future__ import annotations

import json
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.clock import Deadline
from harness.errors import CommandFailed, DeadlineExceeded

_CHUNK = 65536


class Monitor:
    """One monitor; commands are answered in their order, events are kept until awaited."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        """Greets it; the connection stays its maker's. Raises CommandFailed, DeadlineExceeded."""
        self._socket = connection
        self._held = b""
        self._events: list[dict[str, Any]] = []
        self._next(deadline)  # the greeting
        self.ask("qmp_capabilities", deadline)

    def ask(
        self,
        command: str,
        deadline: Deadline,
        arguments: Mapping[str, object] | None = None,
        file: int | None = None,
    ) -> Any:
        """What a command returns; `file` is a descriptor that goes with it."""
        line = json.dumps({"execute": command, "arguments": dict(arguments or {})}).encode() + b"\n"
        try:
            if file is None:
                self._socket.sendall(line)
            else:
                socket.send_fds(self._socket, [line], [file])
        except OSError as error:
            raise CommandFailed(f"QEMU's monitor is gone: {error.strerror}") from error
        while True:
            told = self._next(deadline)
            if "event" in told:
                self._events.append(told)
            elif "error" in told:
                raise CommandFailed(f"QEMU refuses {command}: {told['error']['desc']}")
            else:
                return told["return"]

    def wait(
        self, event: str, holds: Callable[[dict[str, Any]], bool], deadline: Deadline
    ) -> dict[str, Any]:
        """The data of the first event of a name for which `holds` is true."""
        while True:
            for told in self._events:
                data: dict[str, Any] = told.get("data", {})
                if told["event"] == event and holds(data):
                    self._events.clear()
                    return data
            self._events = [self._next(deadline)]

    def fileno(self) -> int:
        """For who waits until it has more to tell."""
        return self._socket.fileno()

    def told(self, event: str, deadline: Deadline) -> Sequence[dict[str, Any]]:
        """The data of the events of a name that have come by now; they stay."""
        while b"\n" in self._held or select.select([self._socket], [], [], 0)[0]:
            self._events.append(self._next(deadline))
        return [each.get("data", {}) for each in self._events if each["event"] == event]

    def _next(self, deadline: Deadline) -> dict[str, Any]:
        while b"\n" not in self._held:
            self._socket.settimeout(max(deadline.left_s(), 0.001))
            try:
                chunk = self._socket.recv(_CHUNK)
            except TimeoutError:
                raise DeadlineExceeded("QEMU's monitor does not answer") from None
            except OSError as error:
                raise CommandFailed(f"QEMU's monitor is gone: {error.strerror}") from error
            if not chunk:
                raise CommandFailed("QEMU has ended")
            self._held += chunk
        line, _, self._held = self._held.partition(b"\n")
        told: dict[str, Any] = json.loads(line)
        return told


def listener(path: Path) -> socket.socket:
    """A Unix socket on which QEMU is awaited."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(str(path))
        listening.listen(1)
    except BaseException:
        listening.close()
        raise
    return listening
