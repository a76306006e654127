"""What else can be done with a box: stop it, let it stand still, save it and bring it back.

One trial is one instance. It is paused and let go on, where its runtime can do that; a request
that was sent to it meanwhile must stay without an answer until then, which proves the pause. A
machine is saved to a file with so much memory in use, and brought back: from asking until the
agent's first answer, which is what starting from a saved machine costs, beside the boot of the
same trial. That the agent still holds its memory proves that it is the same guest. Last, it is
asked to end.

Containers have no such save but CRIU's checkpoint, which cannot carry an open connection to
another process of the host, as the channel is one. So a second container of the same image is
checkpointed and brought back, with as much memory in use, whose program has no such connection
(runtimes/checkpoint.py); the same metrics tell of it. Where CRIU or the runtime takes none, its
reason is recorded, and nothing else is missing from the trial.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.clock import Marks, now_ns
from harness.errors import DeadlineExceeded, HarnessError
from harness.experiments.bench import Bench, Conditions, Measurement
from harness.experiments.identity import combined
from harness.image.cache import disk_bytes
from harness.lifecycle import Checkpoints, Kept, KeptContainer, NotCheckpointed, Pauses
from harness.metrics import METRICS
from harness.model import Answers, Instance, Mark, RuntimeClass, Sample
from harness.settings import Lifecycle
from harness.sizes import size_bytes

_NOT_ASKED = "the programs of the OCI runtimes alone are asked for one"

Values = Mapping[str, float]
"""By the metric's name after `lifecycle.`."""


class WrongState(HarnessError):
    """A box that should stand still answered, or one that came back is another."""


def measure(bench: Bench, settings: Lifecycle) -> Measurement:
    """One trial. Raises HarnessError when anything is not as it must be."""
    marks, values = Marks(), dict[str, float]()
    conditions: Conditions = {"checkpoint": None}
    with bench.instance(marks, settings.ready_timeout_s) as box:
        if isinstance(box, Pauses):
            bench.tell("pausing it, and letting it go on")
            values |= _paused(box, settings)
        if isinstance(box, Kept):
            bench.tell("saving it, and bringing it back")
            values |= (found := _kept(bench, box, settings)).values
            conditions = {**conditions, "touched_bytes": found.touched}
        proofs = [bench.prove(box)]
    if bench.runtime.runtime_class is RuntimeClass.CONTAINER:
        try:
            with _checkpointable(bench, settings) as container:
                bench.tell("checkpointing a container, and bringing it back")
                values |= (found := _kept(bench, container, settings)).values
                proofs.append(bench.prove(container, *container.programs))
            conditions = {**conditions, "touched_bytes": found.touched}
        except NotCheckpointed as error:
            conditions = {**conditions, "checkpoint": error.message}
    frozen = marks.freeze()
    values["ready"] = (frozen[Mark.READY] - frozen[Mark.REQUEST]) / 1e9
    values["stop"] = (frozen[Mark.EXITED] - frozen[Mark.STOP]) / 1e9
    samples = tuple(_sample(name, value) for name, value in values.items())
    return Measurement(frozen, samples, combined(proofs), conditions)


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


@contextlib.contextmanager
def _checkpointable(bench: Bench, settings: Lifecycle) -> Iterator[KeptContainer]:
    if not isinstance(bench.runtime, Checkpoints):
        raise NotCheckpointed(_NOT_ASKED)
    with (
        bench.spec(settings.ready_timeout_s) as spec,
        bench.runtime.checkpointable(spec) as container,
    ):
        yield container


@dataclass(frozen=True)
class _Found:
    """What there is to tell of a box that came back, and what it held."""

    values: Values
    touched: int


def _kept(bench: Bench, box: Kept, settings: Lifecycle) -> _Found:
    """Saved to files of this trial's, and brought back."""
    file = bench.scratch / f"saved-{next(bench.numbers)}"
    try:
        touched = box.touch(size_bytes(settings.touched))
        return _Found(_saved(box, file, touched, settings), touched)
    finally:
        if file.is_dir():
            shutil.rmtree(file)
        else:
            file.unlink(missing_ok=True)


def _saved(box: Kept, file: Path, touched: int, settings: Lifecycle) -> Values:
    """Until it is in files and gone, and from asking for it until its first answer."""
    begin = now_ns()
    box.save(file)
    saved_ns = now_ns() - begin
    size = disk_bytes(file)  # pages of zeros are holes
    begin = now_ns()
    box.restore(file)
    box.send_ping(now_ns())
    restored_ns = _answer(box, settings) - begin
    held = box.touch(1)
    if not touched < held <= 2 * touched:
        raise WrongState(f"what came back holds {held} bytes, and held {touched}")
    return {"save": saved_ns / 1e9, "save_bytes": float(size), "restore": restored_ns / 1e9}


def _answer(box: Answers, settings: Lifecycle) -> int:
    """When its answer arrived. Raises DeadlineExceeded."""
    found = box.take_pong(settings.ready_timeout_s)
    if found is None:
        raise DeadlineExceeded(f"no answer after {settings.ready_timeout_s:g} s")
    return found[1]


def _sample(name: str, value: float) -> Sample:
    metric = METRICS[f"lifecycle.{name}"]
    return Sample(metric.name, value, metric.unit)
