"""Requests to running instances at times that were fixed before, whatever the answers do.

A client that waits for each answer sends less when the boxes are slow, and so hides their
slowness (coordinated omission). Here the times are those of a Poisson process, each request
goes to an instance chosen at random, and a latency counts from the *intended* time: what the
sender itself is late by is in it, and is told beside it.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.clock import Deadline, now_ns
from harness.model import Answers
from harness.serving import Serves, Service

PATIENCE_S = 5.0
"""How long after the last request an answer may still come."""


class Customer:
    """The requests to one instance, where they are for the service that runs in it."""

    def __init__(self, box: Serves, service: Service) -> None:
        self._box, self._service = box, service

    def send_ping(self, stamp_ns: int) -> None:
        self._box.send_request(self._service, stamp_ns)

    def take_pong(self, wait_s: float) -> tuple[int, int] | None:
        return self._box.take_pong(wait_s)


@dataclass(frozen=True)
class Heard:
    """Latencies of the answered requests in nanoseconds, sorted; how many never were answered;
    and by how much the sender was late, sorted too."""

    latencies_ns: Sequence[int]
    unanswered: int
    late_ns: Sequence[int]

    def quantile_s(self, q: float) -> float | None:
        """The latency that a share q of all requests does not exceed, in seconds.

        A request without an answer took longer than any other. None where the quantile is
        such a one, and with fewer than 10 / (1 - q) requests (METHOD, small samples).
        """
        asked = len(self.latencies_ns) + self.unanswered
        place = math.ceil(q * asked) - 1
        if asked < 10 / (1 - q) - 1e-9 or place >= len(self.latencies_ns):
            return None
        return self.latencies_ns[place] / 1e9


def ask(
    boxes: Sequence[Answers],
    requests: int,
    per_second: float,
    chance: random.Random,
    go_on: Callable[[], bool] = lambda: True,
) -> Heard:
    """Send so many requests at this mean rate, and collect the answers.

    `go_on` is asked before each; when it says no, no more are sent. Raises ChannelError when
    an instance has gone.
    """
    latencies: list[int] = []
    late: list[int] = []
    waiting: Counter[int] = Counter()

    def collect(number: int, wait_s: float) -> bool:
        answer = boxes[number].take_pong(wait_s)
        if answer is None:
            return False
        intended_ns, arrived_ns = answer
        if intended_ns > begin_ns:  # else one to an earlier request, that was given up
            latencies.append(arrived_ns - intended_ns)
            waiting[number] -= 1
        return True

    intended_ns = begin_ns = now_ns()
    for _ in range(requests):
        intended_ns += int(chance.expovariate(per_second) * 1e9)
        number = chance.randrange(len(boxes))
        while waiting[number] and collect(number, 0.0):
            pass  # answers are taken as they come, so that none waits in the channel
        time.sleep(max(0, intended_ns - now_ns()) / 1e9)  # the time is the event
        if not go_on():
            break
        boxes[number].send_ping(intended_ns)
        late.append(now_ns() - intended_ns)
        waiting[number] += 1
    deadline = Deadline(PATIENCE_S)
    for number in list(waiting):
        while waiting[number] and collect(number, deadline.left_s()):
            pass
    return Heard(sorted(latencies), waiting.total(), sorted(late))
