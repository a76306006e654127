"""Opening a libvirt URI in bounded time, and saying why it cannot be opened and what to do.

libvirt waits for whatever answers a connection, however long that takes, and asks for a user
and a password at the terminal. Here a thread of its own opens, and is left behind when the
time is over: it ends when its connection does, or with the process. Nobody is asked: what a
server wants to know stands in libvirt's own file of credentials, or the reason says so.
"""

from __future__ import annotations

import errno
import queue
import socket
import threading
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from harness.cpuid import patience
from harness.errors import RuntimeUnavailable

OPEN_TIMEOUT_S = 20.0
"""How long a server may take until it has let us in."""

_REACH_TIMEOUT_S = 5.0
_PORTS = {"tcp": 16509, "tls": 16514, "": 16514, "esx": 443, "vpx": 443}
"""libvirt's default ports by transport, and those of schemes that are a transport themselves."""

_GROUP_HINT = "sudo usermod -aG libvirt $USER, then log in again"
_AUTH_HINT = (
    "write user and password for this host into ~/.config/libvirt/auth.conf (libvirt.org/auth.html)"
)


def open_uri(libvirt: ModuleType, uri: str, hint: str, timeout_s: float | None = None) -> Any:
    """The open connection. Raises RuntimeUnavailable with `hint`, or with a better one."""
    timeout_s = (OPEN_TIMEOUT_S if timeout_s is None else timeout_s) * patience()
    require_reachable(uri, hint)
    answers: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def attempt() -> None:
        try:
            answers.put(libvirt.openAuth(uri, [list(_CREDENTIALS), _refuse, None], 0))
        except libvirt.libvirtError as error:
            answers.put(error)

    threading.Thread(target=attempt, name="libvirt-open", daemon=True).start()
    try:
        answer = answers.get(timeout=timeout_s)
    except queue.Empty:
        raise RuntimeUnavailable(
            f"{uri} did not answer within {timeout_s:g} s", f"virsh -c '{uri}' version; {hint}"
        ) from None
    if isinstance(answer, libvirt.libvirtError):
        raise RuntimeUnavailable(
            f"libvirt cannot open {uri}: {answer}", _remedy(libvirt, uri, answer) or hint
        ) from answer
    return answer


def _remedy(libvirt: ModuleType, uri: str, error: Any) -> str:
    """What to do where a server does not let us in; empty for other failures.

    A system's daemon lets in those in its group, and asks others for what nobody here can answer.
    """
    code, parts = error.get_error_code(), urlsplit(uri)
    asks = code in (
        libvirt.VIR_ERR_AUTH_FAILED, libvirt.VIR_ERR_AUTH_CANCELLED,
        libvirt.VIR_ERR_AUTH_UNAVAILABLE,
    )  # fmt: skip
    shut = code == libvirt.VIR_ERR_SYSTEM_ERROR and error.get_int1() == errno.EACCES
    if (asks or shut) and parts.hostname is None and parts.path == "/system":
        return _GROUP_HINT
    return _AUTH_HINT if asks else ""


_CREDENTIALS = (2, 5, 6, 7)
"""User name, password, and two kinds of prompts, as libvirt.h numbers what may be asked for."""


def _refuse(credentials: object, data: object) -> int:
    del credentials, data
    return -1


def require_reachable(uri: str, hint: str) -> None:
    """Raise RuntimeUnavailable where nothing listens at the far end of a URI over TCP.

    Over ssh it is for ssh to find the host: its configuration may give it another name.
    """
    parts = urlsplit(uri)
    scheme, _, transport = parts.scheme.partition("+")
    if parts.hostname is None or transport in ("ssh", "libssh", "libssh2", "ext", "unix"):
        return
    port = parts.port or _PORTS.get(scheme, _PORTS.get(transport, 0))
    try:
        socket.create_connection((parts.hostname, port), _REACH_TIMEOUT_S).close()
    except OSError as error:
        why = error.strerror or str(error)
        raise RuntimeUnavailable(
            f"nothing answers at {parts.hostname} port {port}: {why}", hint
        ) from error
