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

from harness.errors import DeadlineExceeded, LaunchFailed
from runtimes.domain_xml import Domain
from runtimes.libvirt_connection import Connection

_LOG_CHARACTERS = 800


def ask_accelerator(handle: Any) -> str:
    """`kvm` or `tcg`, as the QEMU of a running domain answers `query-kvm`."""
    monitor = importlib.import_module("libvirt_qemu")
    told = json.loads(monitor.qemuMonitorCommand(handle, '{"execute":"query-kvm"}', 0))
    return "kvm" if told["return"]["enabled"] else "tcg"


@contextlib.contextmanager
def explained(connection: Connection, domain: Domain) -> Iterator[None]:
    """Failures of a start as our own errors, with the end of what QEMU said."""
    try:
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
