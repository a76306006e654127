"""Many instances of one runtime at once: launched some at a time, torn down side by side.

Instances that are launched together are prepared first, each in a thread of its own, and wait
at a gate: the last one to be prepared opens it, so that all requests fall into one instant and
what is untimed stays out of what is timed. Whatever a fleet holds at its end it tears down, a
bounded number at a time, also after a failure or an interruption, and then without asking.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TypeVar

from harness.clock import Marks, now_ns
from harness.model import Instance

log = logging.getLogger(__name__)

T = TypeVar("T")

TEARDOWN_AT_ONCE = 16
"""Ends under way at a time: most of an end is waiting, for a box, an engine or the kernel."""

Launch = Callable[[Marks], AbstractContextManager[Instance]]
"""Makes a fresh instance, as `Bench.instance` does."""


class Abandoned(Exception):
    """Thrown into an instance that is to end at once, without being asked."""


class Gate:
    """Opens when each of `count` threads has arrived at it, or has given up on the way."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._changed = threading.Condition()

    def arrive(self) -> None:
        """Wait here for the others."""
        with self._changed:
            self._missing -= 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._missing <= 0)

    def give_up(self) -> None:
        """Nobody shall wait for this one."""
        with self._changed:
            self._missing -= 1
            self._changed.notify_all()


@dataclass(frozen=True)
class Member:
    """One instance of a fleet, and how it came up. `held` ends it."""

    box: Instance
    marks: Marks
    held: AbstractContextManager[Instance]


class Fleet:
    """A context manager that ends all its members; the newest is the last of them."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._members: list[Member] = []
        self._lock = threading.Lock()

    @property
    def members(self) -> Sequence[Member]:
        return tuple(self._members)

    @property
    def boxes(self) -> Sequence[Instance]:
        return [member.box for member in self._members]

    def __len__(self) -> int:
        return len(self._members)

    def launch(self, count: int = 1) -> Sequence[Member]:
        """Launch so many at once and return them.

        When some fail the others stay, and the first failure is raised after all have ended.
        """
        if count == 1:
            return [self._one(Marks())]
        gate = Gate(count)
        return [each.result() for each in _side_by_side(count, lambda: self._gated(gate))]

    def _gated(self, gate: Gate) -> Member:
        arrived = threading.Event()

        def arrive() -> None:
            arrived.set()
            gate.arrive()

        try:
            return self._one(Marks(before_request=arrive))
        finally:
            if not arrived.is_set():
                gate.give_up()

    def _one(self, marks: Marks) -> Member:
        held = self._launch(marks)
        member = Member(held.__enter__(), marks, held)
        with self._lock:
            self._members.append(member)
        return member

    def end(self, abruptly: bool = False) -> float:
        """End all members and return the seconds that it took.

        `abruptly` does not ask them first. Raises the first failure after all have been tried.
        """
        begin = now_ns()
        failures: list[BaseException] = []
        threads = min(len(self._members), TEARDOWN_AT_ONCE)
        if threads:
            _side_by_side(threads, lambda: self._drain(abruptly, failures))
        if failures:
            raise failures[0]
        return (now_ns() - begin) / 1e9

    def _drain(self, abruptly: bool, failures: list[BaseException]) -> None:
        """End one member after another until none is left; several threads may do so."""
        while True:
            with self._lock:
                if not self._members:
                    return
                held = self._members.pop().held
            try:
                if abruptly:
                    held.__exit__(Abandoned, Abandoned(), None)
                else:
                    held.__exit__(None, None, None)
            except Exception as error:
                log.exception("ending an instance")
                failures.append(error)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            self.end(abruptly=kind is not None)
        except Exception:
            if kind is None:
                raise


def _side_by_side(count: int, task: Callable[[], T]) -> Sequence[Future[T]]:
    """The task `count` times at once, each to its end; an interruption is raised only then.

    An interruption in an unlucky instant may start the task more often.
    """
    interruption: KeyboardInterrupt | None = None
    futures: list[Future[T]] = []
    with ThreadPoolExecutor(count, "fleet") as pool:
        while True:
            try:
                futures += [pool.submit(task) for _ in range(count - len(futures))]
                wait(futures)
                break
            except KeyboardInterrupt as error:  # there is but one: harness/runner.py
                interruption = error
    if interruption is not None:
        raise interruption
    return futures
