"""What is measured in every run to judge the run itself: canary, floor, and idleness.

The *canary* is a fixed piece of work that involves no runtime: when it moves, the host moved.
The *floor* is the agent started by fork and exec with no runtime at all, by the same channel:
no startup figure can be below it, and it is printed beside them.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack

from harness.channel import Agent, Listener
from harness.clock import Marks, now_ns
from harness.experiments import startup
from harness.experiments.bench import Bench, Measurement
from harness.experiments.ledger import idle_variation
from harness.metrics import METRICS
from harness.model import AGENT_PATH, Mark, Sample
from harness.probes import cpu
from harness.process import spawn
from harness.settings import Startup

_WORK = b"tarebench" * 1024
_WORK_ROUNDS = 2000
_IDLE_S = 0.1
_TIMEOUT_S = 20.0


def canary(bench: Bench) -> Measurement:
    """A fixed piece of arithmetic, and a moment of idleness."""
    begin = now_ns()
    for _ in range(_WORK_ROUNDS):
        hashlib.sha256(_WORK).digest()
    work_s = (now_ns() - begin) / 1e9
    busy, since = cpu.busy_s(), now_ns()
    time.sleep(_IDLE_S)  # an idle control period: there is no event to wait for
    busy_share = (cpu.busy_s() - busy) / ((now_ns() - since) / 1e9) / cpu.count()
    return Measurement(
        samples=(
            _sample("canary.work", work_s),
            _sample("canary.busy", busy_share),
            _sample("canary.memory_variation", idle_variation()),
        )
    )


@contextlib.contextmanager
def agent_alone(bench: Bench, marks: Marks) -> Iterator[None]:
    """The agent by fork and exec, with nothing in between: from `request` to `exited`."""
    program = str(bench.image.root / AGENT_PATH.lstrip("/"))
    path = bench.state / f"floor-{next(bench.numbers)}"
    with ExitStack() as stack:
        listener = stack.enter_context(Listener(path))
        marks.stamp(Mark.REQUEST)
        process = stack.enter_context(spawn([program, f"unix:{path}"]))
        marks.at(Mark.READY, listener.wait_ready(_TIMEOUT_S, process.is_running))
        yield
        marks.stamp(Mark.STOP)
        Agent(listener, shares_clock=True).ask_to_exit()
        process.wait(_TIMEOUT_S)
        marks.stamp(Mark.EXITED)


def floor(bench: Bench) -> Measurement:
    """Fork, exec and READY of the agent, and its end."""
    marks = Marks()
    with agent_alone(bench, marks):
        pass
    frozen = marks.freeze()
    held_ns = frozen[Mark.STOP] - frozen[Mark.READY]
    return Measurement(
        frozen,
        (
            _sample("floor.ready", (frozen[Mark.READY] - frozen[Mark.REQUEST]) / 1e9),
            _sample("floor.exited", (frozen[Mark.EXITED] - frozen[Mark.REQUEST] - held_ns) / 1e9),
        ),
    )


def repeat(bench: Bench, settings: Startup) -> Measurement:
    """The first measured trial once more, at the very end: an order effect would show."""
    again = startup.measure(bench, settings)
    ready = next(sample for sample in again.samples if sample.metric == "startup.ready")
    last = _sample("repeat.ready", ready.value, ready.dimensions)
    return Measurement(again.marks, (last,), again.identity, again.conditions)


def _sample(metric: str, value: float, dimensions: Mapping[str, str] | None = None) -> Sample:
    return Sample(
        metric=metric, value=value, unit=METRICS[metric].unit, dimensions=dict(dimensions or {})
    )
