"""Opening libvirt URIs: nothing hangs, nobody is asked, and the reason is told."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.clock import now_ns
from harness.errors import RuntimeUnavailable
from runtimes.libvirt_open import open_uri, require_reachable

libvirt = pytest.importorskip("libvirt", reason="libvirt-python is not installed")


@contextmanager
def silent_server() -> Iterator[int]:
    """Accepts connections, as its backlog does, and never says a word; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def refusal(uri: str, timeout_s: float = 5.0) -> RuntimeUnavailable:
    libvirt.registerErrorHandler(lambda context, error: None, None)
    with pytest.raises(RuntimeUnavailable) as caught:
        open_uri(libvirt, uri, "the hint", timeout_s)
    return caught.value


def free_port() -> int:
    with silent_server() as port:
        return port


def test_what_opens_is_returned() -> None:
    handle = open_uri(libvirt, "test:///default", "")
    assert handle.getType() == "TEST"
    handle.close()


@pytest.mark.parametrize("scheme", ["qemu+tcp", "esx"])
def test_a_server_that_says_nothing_is_given_up(scheme: str) -> None:
    with silent_server() as port:
        start = now_ns()
        error = refusal(f"{scheme}://root@127.0.0.1:{port}/system", timeout_s=0.5)
        assert now_ns() - start < 10e9
    asks = "authentication failed" in error.message
    assert asks or "did not answer within 0.5 s" in error.message


@pytest.mark.parametrize("scheme", ["qemu+tcp", "qemu+tls", "esx", "vpx"])
def test_nobody_there_is_told_at_once(scheme: str) -> None:
    port = free_port()
    error = refusal(f"{scheme}://127.0.0.1:{port}/system")
    assert error.message == f"nothing answers at 127.0.0.1 port {port}: Connection refused"
    assert error.hint == "the hint"


def test_a_password_is_not_asked_for() -> None:
    with silent_server() as port:
        error = refusal(f"esx://root@127.0.0.1:{port}/?no_verify=1")
    assert "authentication failed" in error.message
    assert "auth.conf" in error.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="root alone can become another")
def test_a_user_whom_a_daemon_of_the_system_does_not_let_in_is_told_which_group(
    tmp_path: Path,
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        path = tmp_path / "libvirt-sock"
        listener.bind(str(path))
        path.chmod(0o660)
        listener.listen()
        os.setresuid(65534, 65534, 0)  # libvirt's thread is nobody then, too
        try:
            error = refusal(f"qemu:///system?socket={path}")
        finally:
            os.setresuid(0, 0, 0)
    assert "Permission denied" in error.message
    assert error.hint == "sudo usermod -aG libvirt $USER, then log in again"


def test_a_driver_that_is_missing_is_told() -> None:
    error = refusal("hyperv+nosuch:///")
    assert "libvirt cannot open hyperv+nosuch:///" in error.message
    assert error.hint == "the hint"


def test_ssh_finds_its_hosts_itself() -> None:
    require_reachable("qemu+ssh://no-such-host.invalid/system", "")
    require_reachable("qemu:///system", "")
