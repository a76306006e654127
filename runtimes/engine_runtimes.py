"""OCI runtimes below an engine: `docker,runtime=crun`, `podman,runtime=runsc`.

An engine knows some by name. One of ours is told of those that are installed; an engine of the
host's knows what its administrator has registered, and asking it for another is refused with
the list. What kind of box comes out is the OCI runtime's doing, not the engine's.

gVisor does not see by itself that a box is to have no network, or the host's: it must be told
where it is registered. So an engine may know it by further names, `runsc-none` and `runsc-host`,
which are taken where they are there. And one of before August 2024 takes every network namespace
of a kernel from 6.11 on for the host's, and refuses it (google/gvisor issue 10704).
"""

from __future__ import annotations

import os
import re
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
_TOLD_NETWORKS = ("none", "host")
_LOOKS_ELSEWHERE, _SHOWN_EVERYWHERE = 20240801, (6, 11)


@dataclass(frozen=True)
class Registered:
    """An OCI runtime as an engine knows it: its program, and what that is always told."""

    path: str
    arguments: Sequence[str] = ()


def installed() -> Mapping[str, Registered]:
    """What an engine of ours is told of: the programs that are here."""
    found = {name: path for name in _PROGRAMS if (path := find_program(name))}
    known = {name: Registered(path, arguments(path)) for name, path in found.items()}
    if gvisor := known.get(_RUNSC):
        for network in _TOLD_NETWORKS:
            told = [*gvisor.arguments, f"--network={network}"]
            known[f"{_RUNSC}-{network}"] = Registered(gvisor.path, told)
    return known


def arguments(path: str) -> Sequence[str]:
    """What a runtime must be told so that its boxes reach our channel."""
    return socket_flags(flags_of_runsc(path)) if _RUNSC in Path(path).name else ()


def for_network(name: str, network: str, known: Mapping[str, Registered]) -> str:
    """The name by which an engine knows a runtime for boxes with such a network."""
    own = f"{name}-{network}"
    return own if name and own in known else name


def of_docker(said: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Registered]:
    """The runtimes in the answer of `docker info`."""
    return {
        name: Registered(str(told.get("path") or name), tuple(told.get("runtimeArgs") or ()))
        for name, told in said.items()
    }


def class_of(name: str) -> RuntimeClass:
    """What kind of box an OCI runtime of this name makes."""
    return RuntimeClass.SANDBOX if _RUNSC in name else RuntimeClass.CONTAINER


def require(
    name: str, known: Mapping[str, Registered], engine: str, network: str, kernel: str = ""
) -> None:
    """Raises RuntimeUnavailable for one that the engine does not know, or that cannot serve.

    `kernel` is the host's release.
    """
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
    if _RUNSC in name:
        _require_gvisor(name, known, engine, network, kernel or os.uname().release)


def _require_gvisor(
    name: str, known: Mapping[str, Registered], engine: str, network: str, kernel: str
) -> None:
    taken = for_network(name, network, known)
    told = known[taken].arguments
    if not any("uds" in word for word in told):
        raise RuntimeUnavailable(
            f"{engine} has registered {taken} without --host-uds=open, and so its boxes do not "
            "reach our channel",
            f"add --host-uds=open to the runtimeArgs of {taken}",
        )
    if any(word.endswith(f"network={each}") for word in told for each in _TOLD_NETWORKS):
        return
    again = f"register it once more as {name}-{network}, with --network={network} there"
    if network == "host":
        raise RuntimeUnavailable(
            f"{engine} has registered {name} without --network=host, and so it refuses the "
            "host's network",
            again,
        )
    found = version(name, known).get(name, "")
    if not tells_networks_apart(found, kernel):
        other = again if network in _TOLD_NETWORKS else "take network=none"
        raise RuntimeUnavailable(
            f"{name} {found} takes every network namespace of Linux {kernel} for the host's, and "
            "refuses it",
            f"install gVisor of August 2024 or later, or {other}",
        )


def tells_networks_apart(version: str, kernel: str) -> bool:
    """Whether gVisor of this version knows a box's network from the host's, on this kernel.

    It looked for a file that newer kernels show everywhere. A version that tells no date is
    taken to be new.
    """
    date = re.search(r"\b(20\d{6})\b", version)
    numbers = re.match(r"(\d+)\.(\d+)", kernel)
    is_old = date is not None and int(date[1]) < _LOOKS_ELSEWHERE
    return not (is_old and numbers and (int(numbers[1]), int(numbers[2])) >= _SHOWN_EVERYWHERE)


def version(name: str, known: Mapping[str, Registered]) -> Mapping[str, str]:
    """The version of a runtime's program, as it tells it; empty where it does not."""
    path = known[name].path if name in known else None
    if path is None or find_program(path) is None:
        return {}
    words = run([path, "--version"], check=False, timeout_s=_VERSION_TIMEOUT_S).stdout.split()
    return {name: words[2].decode(errors="replace")} if len(words) > 2 else {}
