"""A network bridge of our own for a private engine, by ioctl, so that no program is needed.

An engine would make `docker0`, and whoever cleaned up after a killed run could not tell it
from the one of the user's own engine, started since. A bridge whose name belongs to one run
can be removed at any time.
"""

from __future__ import annotations

import fcntl
import hashlib
import ipaddress
import socket
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_SIOCSIFADDR, _SIOCSIFNETMASK = 0x8916, 0x891C
_SIOCBRADDBR, _SIOCBRDELBR = 0x89A0, 0x89A1
_IFF_UP = 1
_NAME_BYTES = 16
_PREFIX = 20
"""4,094 addresses: more than the 1,023 ports that a bridge can have."""


def name_of(run_id: str) -> str:
    """The bridge's name of a run; an interface's name may have 15 characters."""
    return f"tb-{hashlib.sha256(run_id.encode()).hexdigest()[:10]}"


def exists(name: str) -> bool:
    """Whether there is a bridge of that name; another kind of interface is none."""
    return Path("/sys/class/net", name, "bridge").is_dir()


def create(name: str, routes: str | None = None) -> None:
    """Make the bridge, give it a free private network and set it up. Raises OSError."""
    network = free_network(Path("/proc/net/route").read_text() if routes is None else routes)
    packed = name.encode().ljust(_NAME_BYTES, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCBRADDBR, packed)
        fcntl.ioctl(control, _SIOCSIFADDR, packed + _address(network[1]))
        fcntl.ioctl(control, _SIOCSIFNETMASK, packed + _address(network.netmask))
        _set_up(control, packed, up=True)


def delete(name: str) -> None:
    """Remove the bridge if there is one. Raises OSError."""
    if not exists(name):
        return
    packed = name.encode().ljust(_NAME_BYTES, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        _set_up(control, packed, up=False)
        fcntl.ioctl(control, _SIOCBRDELBR, packed)


def _address(address: ipaddress.IPv4Address) -> bytes:
    return struct.pack("=HH4s8x", socket.AF_INET, 0, address.packed)


def _set_up(control: socket.socket, packed: bytes, *, up: bool) -> None:
    answer = fcntl.ioctl(control, _SIOCGIFFLAGS, packed + bytes(_NAME_BYTES))
    (flags,) = struct.unpack_from("=h", answer, _NAME_BYTES)
    flags = flags | _IFF_UP if up else flags & ~_IFF_UP
    fcntl.ioctl(control, _SIOCSIFFLAGS, packed + struct.pack("=h14x", flags))


def free_network(routes: str) -> ipaddress.IPv4Network:
    """The first of the usual private networks that no route of this host touches.

    `routes` is the text of /proc/net/route. Raises OSError when all are taken.
    """
    taken = list(_routed(routes))
    for network in _candidates():
        if not any(network.overlaps(other) for other in taken):
            return network
    raise OSError("every private network that a bridge could have is routed elsewhere")


def _candidates() -> Iterator[ipaddress.IPv4Network]:
    for block in ("172.16.0.0/12", "192.168.0.0/16", "10.0.0.0/8"):
        subnets: Sequence[ipaddress.IPv4Network] = list(
            ipaddress.IPv4Network(block).subnets(new_prefix=_PREFIX)
        )
        yield from reversed(subnets)


def _routed(routes: str) -> Iterator[ipaddress.IPv4Network]:
    """Networks with a route of their own: the default route touches everything, and nothing."""
    for line in routes.splitlines()[1:]:
        columns = line.split()
        destination, mask = (
            ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(columns[index]), "little"))
            for index in (1, 7)
        )
        if int(mask):
            yield ipaddress.IPv4Network(f"{destination}/{mask}", strict=False)
