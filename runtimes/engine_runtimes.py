"""OCI runtimes below an engine: `docker,runtime=crun`, `podman,runtime=runsc`.

An engine knows some by name. One of ours is told of those that are installed; an engine of the
host's knows what its administrator has registered, and asking it for another is refused with
the list. What kind of box comes out is the OCI runtime's doing, not the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import RuntimeUnavailable
from harness.model import Parameter, RuntimeClass
from harness.process import find_program, run
from runtimes.runsc import socket_flags
from runtimes.runsc import told_flags as flags_of_runsc

ITS_OWN = ""
RUNTIME = Parameter(ITS_OWN, description="an OCI runtime that the engine knows, as in runtime=crun")
_RUNSC, _KATA = "runsc", "kata"
_PROGRAMS = ("crun", "runc", _RUNSC, "youki")
_VERSION_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Registered:
    """An OCI runtime as an engine knows it: its program, and what that is always told."""

    path: str
    arguments: Sequence[str] = ()


def installed() -> Mapping[str, Registered]:
    """What an engine of ours is told of: the programs that are here."""
    found = {name: path for name in _PROGRAMS if (path := find_program(name))}
    return {name: Registered(path, arguments(path)) for name, path in found.items()}


def arguments(path: str) -> Sequence[str]:
    """What a runtime must be told so that its boxes reach our channel."""
    return socket_flags(flags_of_runsc(path)) if _RUNSC in Path(path).name else ()


def of_docker(said: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Registered]:
    """The runtimes in the answer of `docker info`."""
    return {
        name: Registered(str(told.get("path") or name), tuple(told.get("runtimeArgs") or ()))
        for name, told in said.items()
    }


def class_of(name: str) -> RuntimeClass:
    """What kind of box an OCI runtime of this name makes."""
    return RuntimeClass.SANDBOX if _RUNSC in name else RuntimeClass.CONTAINER


def require(name: str, known: Mapping[str, Registered], engine: str) -> None:
    """Raises RuntimeUnavailable for one that the engine does not know, or that cannot serve."""
    if name == ITS_OWN:
        return
    if _KATA in name:
        raise RuntimeUnavailable(
            f"{name} puts containers into virtual machines, whose accelerator {engine} does not "
            "tell, and into which our channel, a Unix socket of this host, does not lead",
            "measure a virtual machine by kvm or qemu",
        )
    if name not in known:
        raise RuntimeUnavailable(
            f"{engine} knows no OCI runtime {name}",
            f"it knows {', '.join(sorted(known)) or 'none'}; install or register it, or take "
            "one of these",
        )
    if _RUNSC in name and not any("uds" in word for word in known[name].arguments):
        raise RuntimeUnavailable(
            f"{engine} has registered {name} without --host-uds=open, and so its boxes do not "
            "reach our channel",
            f"add --host-uds=open to the runtimeArgs of {name}",
        )


def version(name: str, known: Mapping[str, Registered]) -> Mapping[str, str]:
    """The version of a runtime's program, as it tells it; empty where it does not."""
    path = known[name].path if name in known else None
    if path is None or find_program(path) is None:
        return {}
    words = run([path, "--version"], check=False, timeout_s=_VERSION_TIMEOUT_S).stdout.split()
    return {name: words[2].decode(errors="replace")} if len(words) > 2 else {}
