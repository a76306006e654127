"""What is asked of QEMU around a guest's start: what it runs under, and why it failed.

A start fails in three ways: libvirt refuses it, QEMU ends, or the guest stays silent. In each
the reason is in another place, and a failed record must hold it.
"""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator
from typing import Any

from harness.cpuid import patience
from harness.errors import DeadlineExceeded, LaunchFailed, RuntimeUnavailable
from harness.process import find_program
from runtimes.domain_parts import bounded
from runtimes.domain_xml import Domain
from runtimes.libvirt_connection import Connection

_LOG_CHARACTERS = 800
_ANSWER_LIMIT_S = 30.0
"""Longer than a QEMU takes to answer that is not stuck, on a host that is busy."""


def require_tools(emulator: str) -> None:
    """Raises RuntimeUnavailable where QEMU or its tool for disks is not installed."""
    if find_program(emulator) is None:
        raise RuntimeUnavailable(f"{emulator} is not installed", "apt-get install qemu-system-x86")
    if find_program("qemu-img") is None:
        raise RuntimeUnavailable("qemu-img is not installed", "apt-get install qemu-utils")


def ask_accelerator(handle: Any) -> str:
    """`kvm` or `tcg`, as the QEMU of a running domain answers `query-kvm`."""
    monitor = importlib.import_module("libvirt_qemu")
    with bounded(handle.UUIDString(), _ANSWER_LIMIT_S * patience()):
        told = json.loads(monitor.qemuMonitorCommand(handle, '{"execute":"query-kvm"}', 0))
    return "kvm" if told["return"]["enabled"] else "tcg"


@contextlib.contextmanager
def explained(connection: Connection, domain: Domain, limit_s: float) -> Iterator[None]:
    """Failures of a start as our own errors, with the end of what QEMU said.

    A start that takes longer than `limit_s`, and some more for libvirt, is given up.
    """
    try:
        with bounded(domain.uuid, limit_s + _ANSWER_LIMIT_S * patience()):
            yield
    except connection.libvirt.libvirtError as error:
        raise LaunchFailed(f"libvirt could not start the guest: {error}") from error
    except (DeadlineExceeded, LaunchFailed) as error:
        said = _qemu_said(connection, domain)
        raise type(error)(f"{error.message}{said}", error.hint) from error


def _qemu_said(connection: Connection, domain: Domain) -> str:
    """The end of QEMU's log after the command line that libvirt wrote there."""
    if connection.root is None:
        return ""
    try:
        text = connection.root.log_of(domain.name).read_text(errors="replace")
    except OSError:
        return ""
    lines = text.rpartition("-msg timestamp=on")[2].splitlines()
    said = "\n".join(line for line in lines if "is tainted" not in line).strip()
    said = said[-_LOG_CHARACTERS:]
    return f"; QEMU said: {said}" if said else "; QEMU said nothing"
