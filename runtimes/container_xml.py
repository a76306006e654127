"""What libvirt's LXC driver is told of a container: domain XML, as a pure function.

It is the container that the native OCI runtimes make too, as far as the driver can: the same
root and mounts, capabilities and limits, a network namespace with a loopback and nothing else.
The driver insists on a console, to which nobody connects, and on a memory limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from harness.model import AGENT_PATH, CHANNEL_DIRECTORY
from runtimes.privileges import CAPABILITIES
from runtimes.xml_parts import begin, document, ends, text, tune

EMULATOR = Path("/usr/lib/libvirt/libvirt_lxc")
_TMPFS_KIB = 65536


@dataclass(frozen=True)
class Bind:
    """A folder of the host and where the container finds it."""

    source: Path
    target: str


@dataclass(frozen=True)
class Container:
    """One container. `partition` is the control group, which must exist, that it lies in.

    `word` is what its agent is told of the channel.
    """

    name: str
    uuid: str
    partition: str
    memory_bytes: int
    cpu_quota: float | None
    root: Path
    sockets: Path
    word: str
    emulator: Path = EMULATOR
    volumes: Sequence[Bind] = ()


def container_xml(container: Container) -> str:
    """The XML of a transient domain whose init is the agent."""
    root = begin("lxc", container.name, container.uuid, container.memory_bytes)
    tune(root, container.cpu_quota)
    text(SubElement(root, "resource"), "partition", container.partition)
    system = SubElement(root, "os")
    text(system, "type", "exe")
    text(system, "init", AGENT_PATH)
    text(system, "initarg", container.word)
    features = SubElement(root, "features")
    SubElement(features, "privnet")
    kept = SubElement(features, "capabilities", policy="deny")
    for name in CAPABILITIES:
        SubElement(kept, name.removeprefix("CAP_").lower(), state="on")
    ends(root)
    _devices(SubElement(root, "devices"), container)
    return document(root)


def _devices(devices: Element, container: Container) -> None:
    text(devices, "emulator", str(container.emulator))
    _bind(devices, Bind(container.root, "/"))
    for target in ("/run", "/tmp"):
        ram = SubElement(devices, "filesystem", type="ram")
        SubElement(ram, "source", usage=str(_TMPFS_KIB), units="KiB")
        SubElement(ram, "target", dir=target)
    for bind in (Bind(container.sockets, CHANNEL_DIRECTORY), *container.volumes):
        _bind(devices, bind)
    console = SubElement(devices, "console", type="pty")
    SubElement(console, "target", type="lxc", port="0")


def _bind(devices: Element, bind: Bind) -> None:
    mount = SubElement(devices, "filesystem", type="mount")
    SubElement(mount, "source", dir=str(bind.source))
    SubElement(mount, "target", dir=bind.target)
