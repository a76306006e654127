"""How a box comes by its root: as a layer over what all boxes share, or as a copy of the whole.

That is a question of its own beside how long a box takes to start, which every runtime answers
with roots that were made before. So a runtime can be asked for a root without a box, and for a
box on a root of another form.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.model import Image, Instance, InstanceSpec


class Form(StrEnum):
    """A form of root. `COPY` is what a spec asks for that is `whole`."""

    OVERLAY = "overlay"
    COPY = "copy"
    QCOW2 = "qcow2"


@dataclass(frozen=True)
class MadeRoot:
    """A root without a box: how long it took, and where what it adds lies on this host."""

    took_ns: int
    files: tuple[Path, ...]


@runtime_checkable
class MakesRoots(Protocol):
    """Runtimes that can make the root of a box by itself.

    `forms` are those that their boxes can have, none where this host does not see them.
    """

    @property
    def forms(self) -> Sequence[Form]: ...
    def make_root(self, spec: InstanceSpec) -> AbstractContextManager[MadeRoot]:
        """A root as a box of this spec would get it, for as long as the context lasts."""
        ...

    def shared_files(self, image: Image) -> Sequence[Path]:
        """What lies on this host once, however many boxes stand over it."""
        ...


@runtime_checkable
class Commits(Protocol):
    """Runtimes with a store of images, in which a box can be kept as a further image."""

    def committed(self, instance: Instance) -> AbstractContextManager[Sequence[Path]]:
        """The layers of such an image, those of the first one included, until the end."""
        ...
