"""Marks and deadlines, all on the host's CLOCK_MONOTONIC, which begins anew with each boot."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.model import Mark

now_ns = time.monotonic_ns


def boot_id(file: Path = Path("/proc/sys/kernel/random/boot_id")) -> str:
    """Tells one start of this host from the next; empty where the kernel does not say."""
    try:
        return file.read_text().strip()
    except OSError:
        return ""


class Marks:
    """Collects the marks of one instance; each mark is set once.

    `before_request` is called just before the mark `request`: the place to read counters
    whose growth during the launch is wanted, outside what is timed.
    """

    def __init__(self, before_request: Callable[[], None] | None = None) -> None:
        self._ns: dict[Mark, int] = {}
        self._before_request = before_request

    def stamp(self, mark: Mark) -> int:
        """Set a mark to this instant and return it."""
        if mark is Mark.REQUEST and self._before_request is not None:
            self._before_request()
        ns = now_ns()
        self.at(mark, ns)
        return ns

    def at(self, mark: Mark, ns: int) -> None:
        """Set a mark to an instant that was stamped elsewhere."""
        if mark in self._ns:
            raise ValueError(f"the mark {mark} is set already")
        self._ns[mark] = ns

    def get(self, mark: Mark) -> int | None:
        return self._ns.get(mark)

    def freeze(self) -> Mapping[str, int]:
        """The marks so far, by name, in the order of time."""
        return {str(mark): ns for mark, ns in sorted(self._ns.items(), key=lambda item: item[1])}


class Deadline:
    """A point in time after which waiting ends."""

    def __init__(self, seconds: float) -> None:
        self._end_ns = now_ns() + int(seconds * 1e9)

    def left_s(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, (self._end_ns - now_ns()) / 1e9)

    @property
    def over(self) -> bool:
        return now_ns() >= self._end_ns


HEARS_EVERY_S = 0.5
"""The longest wait for another thread at a time: a signal that comes just before Python begins to
wait is heard when it wakes, and not sooner."""


def duration_text(seconds: float) -> str:
    """A span for people, who need no more digits: `40 s`, `3 min`, `1 h 20 min`, `2 days`."""
    if seconds < 100:
        return f"{max(0.0, seconds):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // (24 * 60)} days"
