"""A fleet launches together, keeps what came up, and ends all that it holds, come what may."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import cast

import pytest

from harness.clock import Marks
from harness.errors import LaunchFailed
from harness.experiments import fleet as fleets
from harness.experiments.fleet import TEARDOWN_AT_ONCE, Fleet
from harness.model import Instance, Mark


class Yard:
    """Launches nothing, and notes what is asked of it."""

    def __init__(self, bad: frozenset[int] = frozenset(), stubborn: int | None = None) -> None:
        self.bad, self.stubborn = bad, stubborn
        self.asked = self.ended = self.abandoned = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def launch(self, marks: Marks) -> Iterator[Instance]:
        with self._lock:
            self.asked += 1
            number = self.asked
        if number in self.bad:
            raise LaunchFailed("told to fail")
        marks.stamp(Mark.REQUEST)
        try:
            yield cast("Instance", number)
            if number == self.stubborn:
                raise LaunchFailed("it does not end")
        except fleets.Abandoned:
            with self._lock:
                self.abandoned += 1
            raise
        finally:
            with self._lock:
                self.ended += 1


def test_all_that_are_launched_together_are_prepared_before_the_first_request() -> None:
    order: list[str] = []

    @contextlib.contextmanager
    def launch(marks: Marks) -> Iterator[Instance]:
        order.append("prepared")
        marks.stamp(Mark.REQUEST)
        order.append("requested")
        yield cast("Instance", object())

    with Fleet(launch) as fleet:
        members = fleet.launch(5)
        assert len(fleet) == len(members) == 5
    assert order == ["prepared"] * 5 + ["requested"] * 5


def test_a_failed_launch_is_raised_and_the_others_stay_and_end() -> None:
    yard = Yard(bad=frozenset({2}))
    with Fleet(yard.launch) as fleet:
        with pytest.raises(LaunchFailed, match="told to fail"):
            fleet.launch(4)
        assert len(fleet) == 3
    assert yard.ended == 3
    assert yard.abandoned == 0


def test_one_that_does_not_end_is_told_after_all_the_others_have() -> None:
    yard = Yard(stubborn=3)
    fleet = Fleet(yard.launch)
    fleet.launch(5)
    with pytest.raises(LaunchFailed, match="does not end"):
        fleet.end()
    assert yard.ended == 5


def test_after_an_interruption_nothing_is_asked_and_everything_ends() -> None:
    yard = Yard(stubborn=1)

    def interrupted() -> None:
        with Fleet(yard.launch) as fleet:
            fleet.launch(30)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (yard.ended, yard.abandoned) == (30, 30)


def test_ends_side_by_side_and_bounded() -> None:
    ending = threading.Barrier(TEARDOWN_AT_ONCE, timeout=20)
    lock, now, most = threading.Lock(), 0, 0

    @contextlib.contextmanager
    def launch(marks: Marks) -> Iterator[Instance]:
        nonlocal now, most
        yield cast("Instance", object())
        with lock:
            now, most = now + 1, max(most, now + 1)
        ending.wait()  # passes only where so many are under way at once
        with lock:
            now -= 1

    with Fleet(launch) as fleet:
        fleet.launch(2 * TEARDOWN_AT_ONCE)
    assert most == TEARDOWN_AT_ONCE
