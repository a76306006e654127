"""The guard of a ramp: a thread of its own that watches the host and says when to stop.

A density ramp goes towards the edge on purpose. Whoever adds instances asks before each step;
the guard looks by itself, ten times a second, and also ahead: what one instance has taken so
far is expected of the next ones. So the host is never driven into swap or to the OOM killer.
When memory falls far below the reserve all the same (somebody else may take it), the guard
does not wait to be asked: it calls for the emergency, which ends every instance.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.clock import now_ns
from harness.model import MIB
from harness.probes.room import Room, look

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.1
_WINDOW_S = 5.0
_SHORTEST_WINDOW_S = 2.0
_SWAPPED_PAGES = 256
_EMERGENCY = 0.5
"""The share of the reserve below which everything is ended at once."""

_PIDS = 1000
_DESCRIPTORS = 200
_HASTE = 1.25
"""The next instance may take that many times what the ones before it took."""


@dataclass(frozen=True)
class Stop:
    """Why a ramp ended: the rule's name, and what held, in words."""

    rule: str
    text: str


@dataclass(frozen=True)
class Bounds:
    """What must stay: `reserve_bytes` of memory; pressures are shares of time, None for any."""

    reserve_bytes: int
    memory_pressure: float | None = None
    cpu_pressure: float | None = None

    def pressures(self) -> Mapping[str, float]:
        """The highest share of time by resource, where there is a bound."""
        given = {"memory": self.memory_pressure, "cpu": self.cpu_pressure}
        return {name: share for name, share in given.items() if share is not None}


class Watch:
    """A context manager; `stop` is set once a bound does not hold, `emergency` when it is late."""

    def __init__(
        self, folders: Sequence[Path], bounds: Bounds, end_all: Callable[[], object]
    ) -> None:
        self._folders = folders
        self._bounds = bounds
        self._end_all = end_all
        self._looks: deque[tuple[int, Room]] = deque()
        self._over = threading.Event()
        self.stop: Stop | None = None
        self.emergency: Stop | None = None
        self.begin = look(folders)
        self._thread = threading.Thread(target=self._watch, name="guard", daemon=True)

    def ahead(self, held: int, more: int, first_bytes: int) -> Stop | None:
        """Whether `more` instances beside those `held` may be added: None, or why not.

        Before any is held, one is expected to take `first_bytes` of memory.
        """
        if self.stop is not None:
            return self.stop
        room = look(self._folders)
        kinds = [
            ("reserve", self.begin.available_bytes, room.available_bytes,
             self._bounds.reserve_bytes, first_bytes),
            ("disk", self.begin.disk_free_bytes, room.disk_free_bytes,
             room.disk_stays_bytes, 0),
            ("descriptors", self.begin.descriptors_free, room.descriptors_free, _DESCRIPTORS, 0),
        ]  # fmt: skip
        if room.pids_free is not None and self.begin.pids_free is not None:
            kinds.append(("pids", self.begin.pids_free, room.pids_free, _PIDS, 0))
        for rule, before, now, floor, first in kinds:
            each = _HASTE * max(0, before - now) / held if held else first
            if now - more * each < floor:
                return Stop(rule, _text(rule, now, floor, more, each))
        return None

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_EVERY_S):
            try:
                room = look(self._folders)
            except OSError as error:  # a guard that sees nothing lets nobody stay
                self._end("unseen", f"the host could not be looked at: {error}")
                return
            self._looks.append((now_ns(), room))
            while now_ns() - self._looks[0][0] > _WINDOW_S * 1e9:
                self._looks.popleft()
            self.stop = self.stop or self._broken(room)
            late = room.available_bytes < _EMERGENCY * self._bounds.reserve_bytes
            if late:
                self._end("reserve", _now(room.available_bytes, self._bounds))

    def _end(self, rule: str, why: str) -> None:
        """End every instance at once, the first time that there is reason to."""
        if self.emergency is None:
            self.emergency = Stop(rule, why)
            try:
                self._end_all()
            except Exception:  # the guard goes on, and whoever holds the rest ends it
                log.exception("ending every instance")

    def _broken(self, room: Room) -> Stop | None:
        """The first bound that does not hold now."""
        if room.available_bytes < self._bounds.reserve_bytes:
            return Stop("reserve", _now(room.available_bytes, self._bounds))
        if room.swapped_out is not None and self.begin.swapped_out is not None:
            pages = room.swapped_out - self.begin.swapped_out
            if pages > _SWAPPED_PAGES:
                return Stop("swap", f"the host swapped {pages} pages out")
        for name, bound in self._bounds.pressures().items():
            share = self._share(name)
            if share is not None and share > bound:
                return Stop(
                    f"{name}_pressure",
                    f"tasks waited for {name} during {share:.0%} of the time, "
                    f"and {bound:.0%} is the bound",
                )
        return None

    def _share(self, resource: str) -> float | None:
        """The share of the last seconds in which some task waited for a resource."""
        (begin_ns, first), (end_ns, last) = self._looks[0], self._looks[-1]
        span_s = (end_ns - begin_ns) / 1e9
        if span_s < _SHORTEST_WINDOW_S or resource not in first.stalled_s:
            return None
        return (last.stalled_s[resource] - first.stalled_s[resource]) / span_s

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()


def _now(available_bytes: int, bounds: Bounds) -> str:
    return (
        f"{available_bytes / MIB:.0f} MiB of memory were available, "
        f"and {bounds.reserve_bytes / MIB:.0f} MiB are to stay"
    )


def _text(rule: str, now: float, floor: float, more: int, each: float) -> str:
    """What the next step would have done."""
    if rule in ("reserve", "disk"):
        what = "memory" if rule == "reserve" else "disk"
        return (
            f"{now / MIB:.0f} MiB of {what} were available, {more} more would take about "
            f"{more * each / MIB:.0f} MiB, and {floor / MIB:.0f} MiB are to stay"
        )
    what = "process numbers" if rule == "pids" else "file descriptors of the harness"
    return f"{now:.0f} {what} were left, and {floor:.0f} are to stay"
