"""What ssh is told of a far host, and how one that cannot be reached is told of."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from harness.clock import now_ns
from harness.errors import RuntimeUnavailable
from harness.process import find_program
from runtimes.far_host import Address, FarHost, is_far
from runtimes.guest_kernel_options import mitigations_by


@pytest.mark.parametrize(
    ("uri", "far"),
    [
        ("qemu+ssh://far/system", True),
        ("qemu+ssh:///system", False),
        ("qemu:///system", False),
        ("embed", False),
    ],
)
def test_only_ssh_leads_away(uri: str, far: bool) -> None:
    assert is_far(uri) == far


def test_ssh_is_told_what_the_uri_says() -> None:
    plain = Address.of("qemu+ssh://far/system")
    assert (plain.program, plain.host) == ("ssh", "far")
    assert plain.options == ("-o", "BatchMode=yes")
    full = Address.of("qemu+ssh://a%40b@far:2222/system?keyfile=/k&no_verify=1&command=/bin/my-ssh")
    assert full.program == "/bin/my-ssh"
    assert " ".join(full.options[2:]) == "-p 2222 -l a@b -i /k -o StrictHostKeyChecking=no"


def test_an_option_cannot_hide_in_a_host_s_name() -> None:
    with pytest.raises(RuntimeUnavailable, match="is no host"):
        Address.of("qemu+ssh://-oProxyCommand=x/system")


def test_a_host_where_nobody_answers_is_told_at_once(tmp_path: Path) -> None:
    if find_program("ssh") is None:
        pytest.skip("ssh is not installed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    start = now_ns()
    with pytest.raises(RuntimeUnavailable, match=r"cannot be reached by ssh: .*refused") as caught:
        FarHost(f"qemu+ssh://127.0.0.1:{port}/system", tmp_path)
    assert now_ns() - start < 20e9
    assert f"-p {port} 127.0.0.1 true" in caught.value.hint


def test_a_host_that_takes_the_connection_and_says_nothing(tmp_path: Path) -> None:
    if find_program("ssh") is None:
        pytest.skip("ssh is not installed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        start = now_ns()
        with pytest.raises(RuntimeUnavailable, match="cannot be reached by ssh"):
            FarHost(f"qemu+ssh://127.0.0.1:{server.getsockname()[1]}/system", tmp_path)
        assert now_ns() - start < 40e9


def test_a_far_kernel_s_mitigations() -> None:
    assert mitigations_by("quiet", ["Vulnerable", "Not affected"]) == "off"
    assert mitigations_by("quiet", ["Mitigation: PTI"]) == "auto"
    assert mitigations_by("mitigations=off", ["Mitigation: PTI"]) == "off"
