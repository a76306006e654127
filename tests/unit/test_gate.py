"""The gate before parallel launches: who passes when, who fails, and that nobody is left."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from harness.clock import Marks
from harness.errors import LaunchFailed
from harness.experiments import gate
from harness.experiments.gate import launch_together
from harness.model import Mark

Launch = Callable[[Marks], AbstractContextManager[int]]


class Boxes:
    """Instances that only count: how many are being launched, how many live."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.launching = 0
        self.most = 0
        self.living = 0
        self.prepared = 0

    def _add(self, name: str, change: int) -> None:
        with self._lock:
            setattr(self, name, getattr(self, name) + change)
            self.most = max(self.most, self.launching)

    def launch(self, number: int, together: threading.Barrier | None = None) -> Launch:
        @contextmanager
        def one(marks: Marks) -> Iterator[int]:
            self._add("prepared", 1)
            marks.stamp(Mark.REQUEST)
            self._add("launching", 1)
            if together is not None:
                together.wait(10)
            marks.stamp(Mark.READY)
            self._add("launching", -1)
            self._add("living", 1)
            yield number
            self._add("living", -1)

        return one


def failing(where: str) -> Launch:
    @contextmanager
    def one(marks: Marks) -> Iterator[int]:
        if where == "before":
            raise LaunchFailed("it could not be prepared")
        marks.stamp(Mark.REQUEST)
        if where == "launch":
            raise LaunchFailed("it never was ready")
        if where == "fault":
            raise ZeroDivisionError
        marks.stamp(Mark.READY)
        yield 0
        raise LaunchFailed("it would not end")

    return one


def test_all_are_prepared_before_the_first_is_asked_for() -> None:
    boxes, seen = Boxes(), list[int]()
    found = launch_together(
        [boxes.launch(n) for n in range(6)], 2, lambda n: n,
        before_opening=lambda: seen.append(boxes.prepared),
    )  # fmt: skip
    assert seen == [6]
    assert [launch.result for launch in found.launches] == list(range(6))
    requests = [launch.marks.get(Mark.REQUEST) for launch in found.launches]
    assert all(ns is not None and ns >= found.opened_ns for ns in requests)


def test_so_many_at_a_time_and_all_live_together() -> None:
    boxes, lived = Boxes(), list[int]()
    together = threading.Barrier(3)  # passes only if three are launched at once
    found = launch_together(
        [boxes.launch(n, together) for n in range(9)], 3, lambda n: None,
        when_over=lambda: lived.append(boxes.living),
    )  # fmt: skip
    assert boxes.most == 3
    assert lived == [9]
    assert boxes.living == 0
    assert len(found.good) == 9
    assert found.span_s >= max(launch.ready_s or 0.0 for launch in found.launches)


@pytest.mark.parametrize("where", ["before", "launch"])
def test_a_failed_launch_is_counted_and_lets_the_next_one_pass(where: str) -> None:
    boxes = Boxes()
    launches = [failing(where), boxes.launch(1), boxes.launch(2)]
    found = launch_together(launches, 1, lambda n: n)
    failed, *good = found.launches
    assert isinstance(failed.failure, LaunchFailed)
    assert failed.ready_s is None
    assert [launch.result for launch in good] == [1, 2]
    assert len(found.good) == 2


def test_a_launch_that_is_not_let_through_asks_for_nothing_and_the_rest_goes_on() -> None:
    boxes, asked = Boxes(), list[int]()

    def check() -> None:
        asked.append(boxes.living)
        if len(asked) > 2:
            raise LaunchFailed("no room")

    found = launch_together([boxes.launch(n) for n in range(5)], 1, lambda n: n, check=check)
    assert asked == [0, 1, 2, 2, 2]
    assert len(found.good) == 2
    refused = [launch for launch in found.launches if launch.failure is not None]
    assert [launch.marks.get(Mark.REQUEST) for launch in refused] == [None] * 3
    assert boxes.living == 0


@pytest.mark.parametrize(("where", "error"), [("fault", ZeroDivisionError), ("end", LaunchFailed)])
def test_what_is_no_failed_launch_is_raised_when_all_are_gone(
    where: str, error: type[Exception]
) -> None:
    boxes = Boxes()
    with pytest.raises(error):
        launch_together([boxes.launch(0), failing(where), boxes.launch(2)], 2, lambda n: n)
    assert boxes.living == 0


def test_an_interruption_does_not_wait_for_one_that_is_being_prepared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The gate has closed by the time at which that one comes to it."""
    boxes, closed, close = Boxes(), threading.Event(), gate._Gate.close

    def noted(self: gate._Gate) -> None:
        close(self)
        closed.set()

    @contextmanager
    def slow(marks: Marks) -> Iterator[int]:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
        assert closed.wait(20)
        marks.stamp(Mark.REQUEST)
        yield 0

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(gate._Gate, "close", noted)
    handler = signal.signal(signal.SIGUSR1, interrupt)
    before = threading.active_count()
    try:
        with pytest.raises(KeyboardInterrupt):
            launch_together([boxes.launch(0), slow, boxes.launch(2)], 2, lambda n: n)
    finally:
        signal.signal(signal.SIGUSR1, handler)
    assert (boxes.prepared, boxes.most, boxes.living) == (1, 0, 0)
    assert threading.active_count() == before


def test_an_interruption_before_the_opening_unwinds_every_launch() -> None:
    boxes = Boxes()

    def interrupt() -> None:
        raise KeyboardInterrupt

    before = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        launch_together([boxes.launch(n) for n in range(4)], 2, lambda n: n, interrupt)
    assert (boxes.prepared, boxes.most, boxes.living) == (4, 0, 0)
    assert threading.active_count() == before
