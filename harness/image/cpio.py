"""Write an initramfs without being root: the kernel's cpio format ("newc") in a few lines.

The tool `cpio` can archive a device node only if one exists, which takes root. The format is
simple (Documentation/driver-api/early-userspace/buffer-format.rst in the kernel's source), so
it is written directly: sorted, dated 0, owned by root, the same bytes each time. It is not
compressed: unpacking a few hundred kB under emulation costs more than reading them.
"""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

_TRAILER = "TRAILER!!!"


@dataclass(frozen=True)
class Node:
    """One entry: `name` without a leading slash; `device` is (major, minor) of a device."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(name: str, permissions: int = 0o755) -> Node:
    """An empty directory."""
    return Node(name, stat.S_IFDIR | permissions)


def file(name: str, data: bytes, permissions: int = 0o644) -> Node:
    """A regular file."""
    return Node(name, stat.S_IFREG | permissions, data)


def character_device(name: str, major: int, minor: int, permissions: int = 0o600) -> Node:
    """A device node of the character kind."""
    return Node(name, stat.S_IFCHR | permissions, device=(major, minor))


def archive(nodes: Iterable[Node]) -> bytes:
    """The archive of the nodes, sorted by name, so that a folder comes before what it holds."""
    ordered = sorted(nodes, key=lambda node: node.name.split("/"))
    parts = [_entry(number, node) for number, node in enumerate(ordered, 1)]
    return b"".join((*parts, _entry(0, Node(_TRAILER, 0))))


def _entry(number: int, node: Node) -> bytes:
    name = node.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(node.mode) else 1
    fields = (
        number, node.mode, 0, 0, links, 0, len(node.data), 0, 0, *node.device, len(name), 0,
    )  # fmt: skip
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + name) + _padded(node.data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
