"""What an encoder gives back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Encoded:
    """A file's bytes; `notes` are sentences on what of the run it does not hold."""

    data: bytes
    notes: tuple[str, ...] = ()
