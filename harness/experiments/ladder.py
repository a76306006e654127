"""The cost ladder: one launch on one rung, so that the difference of two rungs has a price.

A rung is a runtime, and the ladder says which rung it adds a mechanism to. Each trial launches
one box and takes READY. What a rung adds is not measured but derived when the run is read: its
READY less that of the rung below in the same block (harness/analysis/ladder.py).

Each launch is *on its own*. The kernel keeps a lock in a costlier mode for one RCU grace
period after a process has joined a control group, and a launch that comes within it is spared
the wait (docs/grace-period.md): then a rung's cost would depend on which rung went before. So
grace periods are waited for, untimed, just before the request.
"""

from __future__ import annotations

from harness.clock import Marks
from harness.errors import HarnessError
from harness.experiments import limits
from harness.experiments.bench import Bench, Measurement
from harness.model import Mark, Sample
from harness.probes import grace
from harness.settings import Ladder


def measure(bench: Bench, settings: Ladder) -> Measurement:
    """One launch on one rung. Raises HarnessError when the box is not as it must be."""
    waited: list[bool] = []
    marks = Marks(before_request=lambda: waited.append(grace.wait()))
    with bench.instance(marks, settings.ready_timeout_s) as instance:
        wrong = limits.mismatches(
            instance, bench.runtime.runtime_class, bench.limits, bench.facts.limits
        )
        if wrong:
            raise HarnessError(f"limits do not hold: {'; '.join(wrong)}")
        proof = bench.prove(instance)
    frozen = marks.freeze()
    rung = settings.rung_of(bench.runtime.name)
    sample = Sample(
        metric="ladder.ready", value=(frozen[Mark.READY] - frozen[Mark.REQUEST]) / 1e9, unit="s",
        dimensions={} if rung is None else {"rung": rung.name},
    )  # fmt: skip
    return Measurement(frozen, (sample,), proof, {"on_its_own": waited[0]})
