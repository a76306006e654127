"""What some boxes can be asked while they live: to stand still, to be saved and come back."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, runtime_checkable


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
    """Instances whose whole state can be written to a file, and brought back from it."""

    def save(self, file: Path) -> None:
        """Write it; the box is gone when this returns. Raises HarnessError."""
        ...

    def restore(self, file: Path) -> None:
        """Bring back the box that was saved; ask it something to know that it runs. Raises
        HarnessError."""
        ...
