"""What a libvirt driver says that it can run: its capabilities document, read.

The document has a guest element for each kind of operating system and architecture, with the
domain types, the emulator and the machines of each. An adapter offers what it finds there,
and refuses the rest with what is there instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree


@dataclass(frozen=True)
class GuestKind:
    """One kind of guest. `os_type` is libvirt's word: `hvm`, `exe`, `xen`, `xenpvh`, `linux`."""

    os_type: str
    arch: str
    domain_types: tuple[str, ...]
    emulator: str
    machines: tuple[str, ...]


def guest_kinds(document: str) -> Sequence[GuestKind]:
    """Every kind of guest of a capabilities document, a domain type's own emulator first."""
    found = []
    for guest in ElementTree.fromstring(document).iterfind("guest"):
        os_type = guest.findtext("os_type", "")
        for arch in guest.iterfind("arch"):
            types = [domain.get("type", "") for domain in arch.iterfind("domain")]
            machines = [machine.text or "" for machine in arch.iter("machine")]
            emulator = arch.findtext("domain/emulator") or arch.findtext("emulator") or ""
            name = arch.get("name", "")
            found.append(GuestKind(os_type, name, tuple(types), emulator, tuple(machines)))
    return found


def find_kind(document: str, os_type: str, arch: str, domain_type: str) -> GuestKind | None:
    """The kind that is asked for, or None where the driver does not offer it."""
    for kind in guest_kinds(document):
        if (kind.os_type, kind.arch) == (os_type, arch) and domain_type in kind.domain_types:
            return kind
    return None
