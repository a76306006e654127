"""A gate before many launches: everything is prepared, and then they go, so many at a time.

Each launch has a thread of its own, in which its instance is prepared, untimed, up to the mark
`request` (see `harness.clock.Marks`); there it waits. Once all are there, as many as there are
launchers pass together, and each one that has ended lets the next one pass. So any runtime
can be launched in parallel without knowing it, and between the end of one launch and the
request of the next lies nothing but the waking of a thread.

The instances live until the last launch has ended; then they are looked at, and end.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from harness.clock import Marks, now_ns
from harness.errors import HarnessError
from harness.model import Mark

B = TypeVar("B")
R = TypeVar("R")


@dataclass(frozen=True)
class Launched(Generic[R]):
    """One launch: its marks until its end, when its call had returned and READY was there.

    `failure` is None for a good one, whose `result` is what the visit of the instance gave.
    """

    marks: Marks
    ended_ns: int
    failure: HarnessError | None
    result: R | None

    @property
    def ready_s(self) -> float | None:
        """Seconds from its own request to READY."""
        request, ready = self.marks.get(Mark.REQUEST), self.marks.get(Mark.READY)
        if self.failure is not None or request is None or ready is None:
            return None
        return (ready - request) / 1e9


@dataclass(frozen=True)
class Together(Generic[R]):
    """All launches of one opening of the gate. `opened_ns` is just before the first passed."""

    opened_ns: int
    launches: Sequence[Launched[R]]

    @property
    def span_s(self) -> float:
        """Seconds from the opening to the end of the last launch, good or bad."""
        return (max(launch.ended_ns for launch in self.launches) - self.opened_ns) / 1e9

    @property
    def good(self) -> Sequence[Launched[R]]:
        return [launch for launch in self.launches if launch.failure is None]


class _Closed(Exception):
    """The gate will not open: unwind the launch that waits."""


class _Gate:
    """Lets waiting launches pass one by one; each waits on a lock of its own."""

    def __init__(self) -> None:
        self._waiting: deque[threading.Lock] = deque()
        self._settled = threading.Semaphore(0)
        self._closed = False

    def wait(self) -> None:
        """Called just before the mark `request`, in whichever thread asks for the instance."""
        turn = threading.Lock()
        turn.acquire()
        self._waiting.append(turn)
        self._settled.release()
        if self._closed:  # who was turned away is gone, and this one came after that
            self.pass_one()
        turn.acquire()
        if self._closed:
            raise _Closed

    def pass_one(self) -> None:
        """Let the next one pass, if any is left."""
        try:
            self._waiting.popleft().release()
        except IndexError:
            return

    def close(self) -> None:
        """Turn everybody away who still waits."""
        self._closed = True
        while self._waiting:
            self.pass_one()

    def settled(self) -> None:
        """Say that a launch ended before it came to the gate."""
        self._settled.release()

    def wait_until_settled(self) -> None:
        """Wait for one more launch to be at the gate, or over."""
        self._settled.acquire()


class _Runner(Generic[B, R]):
    """One launch in its thread: prepare, wait, launch, wait for the others, visit, end."""

    def __init__(
        self, launch: Callable[[Marks], AbstractContextManager[B]], visit: Callable[[B], R],
        gate: _Gate, over: threading.Event, ending: threading.Semaphore,
        check: Callable[[], None],
    ) -> None:  # fmt: skip
        self._launch, self._visit, self._check = launch, visit, check
        self._gate, self._over, self._ending = gate, over, ending
        self._came = False
        self.marks = Marks(before_request=self._at_gate)
        self.ended = threading.Lock()
        self.ended.acquire()
        self.ended_ns = 0
        self.failure: HarnessError | None = None
        self.fault: BaseException | None = None
        self.result: R | None = None
        self.thread = threading.Thread(target=self._run, name="launcher", daemon=True)

    def _at_gate(self) -> None:
        self._came = True
        self._gate.wait()
        self._check()

    def _run(self) -> None:
        try:
            with self._launch(self.marks) as box:
                self._has_ended()
                self._over.wait()
                with self._ending:
                    self.result = self._visit(box)
        except _Closed:
            pass
        except HarnessError as error:
            if self.ended_ns:
                self.fault = error
            self.failure = error
        except BaseException as error:
            self.fault = error
        finally:
            if not self.ended_ns:
                self._has_ended()

    def _has_ended(self) -> None:
        self.ended_ns = now_ns()
        if self._came:
            self._gate.pass_one()
        else:
            self._gate.settled()
        self.ended.release()


def launch_together(
    launches: Sequence[Callable[[Marks], AbstractContextManager[B]]],
    launchers: int,
    visit: Callable[[B], R],
    before_opening: Callable[[], None] = lambda: None,
    when_over: Callable[[], None] = lambda: None,
    check: Callable[[], None] = lambda: None,
) -> Together[R]:
    """Launch all, `launchers` at a time, visit each good instance and end them all.

    Each item of `launches` gives, for the marks of one instance, a context that launches it.
    A launch that raises HarnessError is a failed one; an instance that fails later, and any
    other exception, is raised here. `before_opening` and `when_over` are called at once
    before the first launch and after the last. `check` is called by each launch that has passed
    the gate; where it raises HarnessError, that launch has failed before anything was asked for.
    """
    gate, over, ending = _Gate(), threading.Event(), threading.Semaphore(launchers)
    runners = [_Runner(launch, visit, gate, over, ending, check) for launch in launches]
    try:
        for runner in runners:  # one after another: nobody is in a hurry before the gate
            runner.thread.start()
            gate.wait_until_settled()
        before_opening()
        opened_ns = now_ns()
        for _ in range(launchers):
            gate.pass_one()
        for runner in runners:
            runner.ended.acquire()
        when_over()
    finally:
        gate.close()
        over.set()
        for runner in runners:
            if runner.thread.ident is not None:
                runner.thread.join()
    for runner in runners:
        if runner.fault is not None:
            raise runner.fault
    return Together(
        opened_ns, [Launched(r.marks, r.ended_ns, r.failure, r.result) for r in runners]
    )
