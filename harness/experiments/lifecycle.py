"""What else can be done with a box: stop it, let it stand still, save it and bring it back.

One trial is one instance. It is paused and let go on, where its runtime can do that; a request
that was sent to it meanwhile must stay without an answer until then, which proves the pause. A
machine is saved to a file with so much memory in use, and brought back: from asking until the
agent's first answer, which is what starting from a saved machine costs, beside the boot of the
same trial. That the agent still holds its memory proves that it is the same guest. Last, it is
asked to end.

Containers have no such save but CRIU's checkpoint. It cannot carry an open connection to
another process of the host, as the channel is one, so no checkpoint is taken; what CRIU itself
says of this host is recorded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.clock import Marks, now_ns
from harness.errors import DeadlineExceeded, HarnessError
from harness.experiments.bench import Bench, Conditions, Measurement
from harness.lifecycle import Pauses, Saves
from harness.metrics import METRICS
from harness.model import Answers, Instance, Mark, Sample
from harness.probes import criu
from harness.settings import Lifecycle
from harness.sizes import size_bytes

_CARRIES_NO_CHANNEL = "not taken: CRIU does not carry the channel's connection to the host"

Values = Mapping[str, float]
"""By the metric's name after `lifecycle.`."""


class WrongState(HarnessError):
    """A box that should stand still answered, or one that came back is another."""


def measure(bench: Bench, settings: Lifecycle) -> Measurement:
    """One trial. Raises HarnessError when anything is not as it must be."""
    marks, values = Marks(), dict[str, float]()
    conditions: Conditions = {"checkpoint": _checkpoint(bench)}
    with bench.instance(marks, settings.ready_timeout_s) as box:
        if isinstance(box, Pauses):
            bench.tell("pausing it, and letting it go on")
            values |= _paused(box, settings)
        if isinstance(box, Saves):
            bench.tell("saving it, and bringing it back")
            file = bench.scratch / f"saved-{next(bench.numbers)}"
            try:
                touched = box.touch(size_bytes(settings.touched))
                values |= _saved(box, file, touched, settings)
            finally:
                file.unlink(missing_ok=True)
            conditions = {**conditions, "touched_bytes": touched}
        proof = bench.prove(box)
    frozen = marks.freeze()
    values["ready"] = (frozen[Mark.READY] - frozen[Mark.REQUEST]) / 1e9
    values["stop"] = (frozen[Mark.EXITED] - frozen[Mark.STOP]) / 1e9
    samples = tuple(_sample(name, value) for name, value in values.items())
    return Measurement(frozen, samples, proof, conditions)


def _paused(box: Instance, settings: Lifecycle) -> Values:
    """Until the runtime says that it stands still, and from asking to go on until it answers."""
    assert isinstance(box, Pauses)
    assert isinstance(box, Answers)
    begin = now_ns()
    box.pause()
    paused_ns = now_ns() - begin
    box.send_ping(now_ns())
    if box.take_pong(settings.silence_s) is not None:
        raise WrongState("the box answered while it was paused")
    begin = now_ns()
    box.resume()
    return {"pause": paused_ns / 1e9, "resume": (_answer(box, settings) - begin) / 1e9}


def _saved(box: Instance, file: Path, touched: int, settings: Lifecycle) -> Values:
    assert isinstance(box, Saves)
    assert isinstance(box, Answers)
    begin = now_ns()
    box.save(file)
    saved_ns = now_ns() - begin
    size = file.stat().st_blocks * 512  # pages of zeros are holes
    begin = now_ns()
    box.restore(file)
    box.send_ping(now_ns())
    restored_ns = _answer(box, settings) - begin
    held = box.touch(1)
    if not touched < held <= 2 * touched:
        raise WrongState(f"the guest that came back holds {held} bytes, and held {touched}")
    return {"save": saved_ns / 1e9, "save_bytes": float(size), "restore": restored_ns / 1e9}


def _answer(box: Answers, settings: Lifecycle) -> int:
    """When its answer arrived. Raises DeadlineExceeded."""
    found = box.take_pong(settings.ready_timeout_s)
    if found is None:
        raise DeadlineExceeded(f"no answer after {settings.ready_timeout_s:g} s")
    return found[1]


def _checkpoint(bench: Bench) -> str | None:
    """Why no checkpoint was taken; None for boxes that are no containers."""
    kind = bench.runtime.runtime_class
    if kind.is_machine or not kind.shares_kernel or kind == kind.BARE or kind == kind.JAIL:
        return None
    return criu.obstacle() or _CARRIES_NO_CHANNEL


def _sample(name: str, value: float) -> Sample:
    metric = METRICS[f"lifecycle.{name}"]
    return Sample(metric.name, value, metric.unit)
