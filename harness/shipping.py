"""Images on their way to a registry and back: what runtimes of an engine can be asked for.

Two images are shipped: one of which neither end has anything (`COLD`), and one over the first,
of which the other end then lacks a single layer (`SHARED`).
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.model import Image


class State(StrEnum):
    """What the receiving end has of an image before."""

    COLD = "cold"
    SHARED = "shared"


@dataclass(frozen=True)
class Moved:
    """One way: how long the engine took, and the bytes of images that were sent for it."""

    took_ns: int
    bytes: int


class Shipment(Protocol):
    """Both images in an engine, and an empty registry beside it."""

    def push(self, state: State) -> Moved: ...
    def forget(self) -> None:
        """Have the engine drop both images, so that it has no layer of them."""
        ...

    def pull(self, state: State) -> Moved:
        """Raises HarnessError where what comes is not what was pushed."""
        ...


@runtime_checkable
class Ships(Protocol):
    """Runtimes whose engine pushes images and pulls them, where `ships`."""

    @property
    def ships(self) -> bool: ...
    def shipment(
        self, image: Image, directory: Path, added_bytes: int
    ) -> AbstractContextManager[Shipment]:
        """An image of these files, and one with `added_bytes` more; the registry keeps what it
        is given in the folder, which is there."""
        ...
