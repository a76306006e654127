"""The signs of an instrumented boot: who gave which, whatever comes in one piece or in two."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.clock import Marks
from harness.model import Mark
from runtimes.domain_parts import INIT_SIGN, KERNEL_SIGN, LOADER_SIGN, SignPort, mark_signs


def boot(tmp_path: Path, serial: Sequence[bytes], debug: Sequence[bytes]) -> list[str]:
    """The marks of a machine that writes this to its ports, in their order."""
    marks = Marks()
    with ExitStack() as stack:
        ports = [
            stack.enter_context(SignPort(tmp_path / "debug", LOADER_SIGN, INIT_SIGN)),
            stack.enter_context(SignPort(tmp_path / "serial", KERNEL_SIGN)),
        ]
        for port, parts in zip(ports, (debug, serial), strict=True):
            with socket.socket(socket.AF_UNIX) as guest:
                guest.connect(str(port.path))
                for part in parts:
                    guest.sendall(part)
            port.wait()
        mark_signs(marks, ports[1], ports[0])
    return list(marks.freeze())


@pytest.mark.parametrize(
    ("serial", "debug", "expected"),
    [
        (b"Linux version 6", [b"SeaBIOS", b"\1"], {Mark.FIRMWARE, Mark.KERNEL, Mark.INIT}),
        (b"Linux version 6", [b"\1"], {Mark.KERNEL, Mark.INIT}),
        (b"\x1b[2JBdsDxe: loading", [b"\2"], {Mark.LOADER}),
        (b"", [], set()),
    ],
)
def test_a_mark_is_made_of_its_own_sign(
    tmp_path: Path, serial: bytes, debug: list[bytes], expected: set[Mark]
) -> None:
    assert set(boot(tmp_path, [serial], debug)) == expected


def test_a_sign_in_two_parts_is_one(tmp_path: Path) -> None:
    assert boot(tmp_path, [b"\x1b[2J[ 0.0] Linux ver", b"sion 6.1"], []) == [Mark.KERNEL]
