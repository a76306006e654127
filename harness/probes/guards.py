"""Placeholder being extended."""

from __future__ import annotations

from collections.abc import Sequence

from harness.model import Frozen


class Guard(Frozen):
    """A recorded condition that can make a comparison unfair."""

    name: str
    value: str
    severity: str
    text: str


def read() -> Sequence[Guard]:
    """Every guard of this host."""
    return []
