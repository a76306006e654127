"""What every domain's XML has, whatever the driver."""

from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

PERIOD_US = 100_000
"""The period of a CPU quota; the quota is written for the whole of it."""


def begin(kind: str, name: str, uuid: str, memory_bytes: int, vcpus: int = 1) -> Element:
    """A domain with its identity and its size."""
    root = Element("domain", type=kind)
    text(root, "name", name)
    text(root, "uuid", uuid)
    text(root, "memory", str(memory_bytes), unit="b")
    text(root, "vcpu", str(vcpus))
    return root


def tune(root: Element, cpus: float | None, prefix: str = "") -> None:
    """A quota of CPU time; the prefix `global_` is for all of a machine, not a vCPU each."""
    if cpus is not None:
        element = SubElement(root, "cputune")
        text(element, f"{prefix}period", str(PERIOD_US))
        text(element, f"{prefix}quota", str(int(cpus * PERIOD_US)))


def ends(root: Element) -> None:
    """A transient domain is gone, however it ends."""
    for event in ("on_poweroff", "on_reboot", "on_crash"):
        text(root, event, "destroy")


def text(parent: Element, tag: str, content: str, **attributes: str) -> Element:
    """A new element that holds text."""
    element = SubElement(parent, tag, attributes)
    element.text = content
    return element


def document(root: Element) -> str:
    """The whole, indented."""
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
