"""The rungs of the cost ladder: one tree of runtimes, each of which adds something to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from msgspec import Meta

from harness.model import Frozen


class Rung(Frozen, frozen=True):
    """One rung of the cost ladder: a runtime, and the rung that it adds to.

    Rungs that share an `over` are branches of each other. A rung with `without` leaves that
    rung's mechanism out of the whole set, which is its `over`.
    """

    name: Annotated[str, Meta(min_length=1, max_length=40)]
    runtime: str
    over: str | None = None
    without: str | None = None


def check(rungs: Sequence[Rung]) -> None:
    """Raises ValueError unless the rungs are one tree, with mechanisms left out of its paths."""
    by_name = {rung.name: rung for rung in rungs}
    for kind in ("name", "runtime"):
        values = [getattr(rung, kind) for rung in rungs]
        twice = [value for value in dict.fromkeys(values) if values.count(value) > 1]
        if twice:
            raise ValueError(f"two rungs have the {kind} {twice[0]!r}")
    for rung in rungs:
        if rung.over is not None and rung.over not in by_name:
            raise ValueError(f"rung {rung.name!r} stands over {rung.over!r}, which is no rung")
    roots = [rung.name for rung in rungs if rung.over is None]
    if rungs and len(roots) != 1:
        told = " and ".join(map(repr, roots)) or "none"
        raise ValueError(f"one rung alone stands over nothing, but here it is {told}")
    for rung in rungs:
        below = _below(rung, by_name)
        if rung.without is not None and rung.without not in below:
            raise ValueError(
                f"rung {rung.name!r} is without {rung.without!r}, which is no rung below it"
            )
        if any(by_name[name].without is not None for name in below):
            raise ValueError(f"rung {rung.name!r} stands over one that leaves something out")


def _below(rung: Rung, by_name: Mapping[str, Rung]) -> Sequence[str]:
    """The rungs under one, nearest first. Raises ValueError for a circle."""
    below: list[str] = []
    while rung.over is not None:
        if rung.over in below:
            raise ValueError(f"rung {rung.over!r} stands over itself")
        below.append(rung.over)
        rung = by_name[rung.over]
    return below
