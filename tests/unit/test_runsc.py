"""What a gVisor of some version is told: its flags were renamed, and its platforms changed."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from runtimes.runsc import collect, default_platform, parse_flags, platforms, socket_flags

OLDEST = """  -fsgofer-host-uds
    \tallow the gofer to mount Unix Domain Sockets.
  -platform string
    \tspecifies which platform to use: ptrace (default), kvm. (default "ptrace")
"""
MIDDLE = """  -fsgofer-host-uds
    \tDEPRECATED: use host-uds=all
  -host-uds value
    \tcontrols permission to access host Unix-domain sockets. Values: none|open (default none)
  -platform string
    \tspecifies which platform to use: ptrace (default), kvm. (default "ptrace")
  -platform_device_path string
    \tpath to a platform-specific device file (e.g. /dev/kvm for KVM platform).
"""
NEWEST = """  -host-uds value
    \tcontrols permission to access host Unix-domain sockets.
  -platform string
    \tspecifies which platform to use: systrap (default), ptrace, kvm. (default "systrap")
"""


@pytest.mark.parametrize(
    ("text", "sockets", "known", "own"),
    [
        (OLDEST, ["--fsgofer-host-uds"], ["ptrace", "kvm"], "ptrace"),
        (MIDDLE, ["--host-uds=open"], ["ptrace", "kvm"], "ptrace"),
        (NEWEST, ["--host-uds=open"], ["ptrace", "systrap", "kvm"], "systrap"),
        ("usage: runsc <flags>", [], [], "its own"),
    ],
)
def test_flags_are_those_that_this_version_has(
    text: str, sockets: list[str], known: list[str], own: str
) -> None:
    flags = parse_flags(text)
    assert socket_flags(flags) == sockets
    assert platforms(flags) == known
    assert default_platform(flags) == own


def test_two_that_collect_the_same_processes_do_not_stumble() -> None:
    """Boxes are torn down in threads, and each waits for every child that it may have caused."""
    for _ in range(20):
        children = {os.posix_spawn("/bin/true", ["true"], {}) for _ in range(8)}
        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(collect, children) for _ in range(4)]:
                done.result()
        for child in children:
            with pytest.raises(ChildProcessError):
                os.waitpid(child, os.WNOHANG)
