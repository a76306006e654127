"""What some boxes can be asked while they live: to stand still, to be saved and come back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.errors import HarnessError
from harness.model import Answers, InstanceSpec


@runtime_checkable
class Pauses(Protocol):
    """Instances whose processes, or whose processors, can be stopped where they are."""

    def pause(self) -> None:
        """Return when the runtime says that nothing in it runs. Raises HarnessError."""
        ...

    def resume(self) -> None:
        """Let it go on. Raises HarnessError."""
        ...


@runtime_checkable
class Saves(Protocol):
    """Instances whose whole state can be written to a file or a folder, and brought back."""

    def save(self, file: Path) -> None:
        """Write it to what has this name then; the box is gone when this returns. Raises
        HarnessError."""
        ...

    def restore(self, file: Path) -> None:
        """Bring back the box that was saved; ask it something to know that it runs. Raises
        HarnessError."""
        ...


@runtime_checkable
class Kept(Saves, Answers, Protocol):
    """What is saved answers before and afterwards, and holds memory meanwhile."""

    def touch(self, size_bytes: int, seed: int | None = None) -> int:
        """Hold so many bytes more; returns the bytes held in all, as they are counted then."""
        ...


class NotCheckpointed(HarnessError):
    """No checkpoint of a container can be taken here, or none comes back: the message says why."""


class KeptContainer(Kept, Protocol):
    """A container that can be saved."""

    @property
    def programs(self) -> Sequence[str]:
        """Those of the image that run in it."""
        ...

    def hash_files(self, paths: Sequence[str]) -> Mapping[str, str]:
        """SHA-256 of files by their path inside; what is not there is left out."""
        ...


@runtime_checkable
class Checkpoints(Protocol):
    """Runtimes that can write a container of theirs to files while it lives."""

    def checkpointable(self, spec: InstanceSpec) -> AbstractContextManager[KeptContainer]:
        """A container that lives and has answered. Raises NotCheckpointed, here or when it is
        saved or brought back."""
        ...
