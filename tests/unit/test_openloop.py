"""Requests go out at their intended times, and a slow instance cannot hide its slowness."""

from __future__ import annotations

import random
from collections import deque

import pytest

from harness.clock import now_ns
from harness.errors import ChannelError
from harness.experiments.openloop import Heard, ask

MS = 1_000_000


class Scripted:
    """Answers after `delay_ns`, but nothing is finished before the instant `stalled_until_ns`."""

    def __init__(self, delay_ns: int, stalled_s: float = 0.0, mute: bool = False) -> None:
        self._delay_ns, self._mute = delay_ns, mute
        self._free_ns = now_ns() + int(stalled_s * 1e9)
        self._answers: deque[tuple[int, int]] = deque()
        self.asked = 0

    def send_ping(self, stamp_ns: int) -> None:
        self.asked += 1
        self._free_ns = max(self._free_ns, now_ns()) + self._delay_ns
        if not self._mute:
            self._answers.append((stamp_ns, self._free_ns))

    def take_pong(self, wait_s: float) -> tuple[int, int] | None:
        return self._answers.popleft() if self._answers else None


def test_a_stall_is_seen_by_every_request_that_was_due_in_it() -> None:
    """A client that waits for answers would have sent one request and told of one slow answer."""
    box = Scripted(delay_ns=1000, stalled_s=0.4)
    heard = ask([box], 200, 1000.0, random.Random(1))
    assert box.asked == len(heard.latencies_ns) == 200
    slow = [ns for ns in heard.latencies_ns if ns > 100 * MS]
    assert len(slow) > 100


def test_every_instance_is_asked_and_those_without_answer_are_counted() -> None:
    boxes = [Scripted(1000), Scripted(1000), Scripted(1000, mute=True)]
    heard = ask(boxes, 300, 20_000.0, random.Random(1))
    assert all(box.asked > 50 for box in boxes)
    assert heard.unanswered == boxes[2].asked
    assert len(heard.latencies_ns) == boxes[0].asked + boxes[1].asked
    assert len(heard.late_ns) == 300


def test_a_guard_ends_it() -> None:
    box = Scripted(1000)
    allowed = iter([True] * 10 + [False])
    assert len(ask([box], 100, 20_000.0, random.Random(1), lambda: next(allowed)).late_ns) == 10


def test_an_instance_that_has_gone_is_raised() -> None:
    class Gone(Scripted):
        def send_ping(self, stamp_ns: int) -> None:
            raise ChannelError("the box is gone")

    with pytest.raises(ChannelError, match="gone"):
        ask([Gone(1)], 1, 1000.0, random.Random(1))


def test_quantiles_count_what_was_never_answered_and_want_enough() -> None:
    ten = list(range(1, 1001))
    assert Heard(ten, 0, []).quantile_s(0.99) == 990 / 1e9
    assert Heard(ten[:-1], 0, []).quantile_s(0.99) is None
    assert Heard(ten[:20], 0, []).quantile_s(0.5) == 10 / 1e9
    assert Heard(ten[:10], 10, []).quantile_s(0.5) == 10 / 1e9
    assert Heard(ten[:9], 11, []).quantile_s(0.5) is None
    assert Heard([], 0, []).quantile_s(0.5) is None
