"""Where a machine's boot goes: the stages of its instrumented boots, as medians over blocks.

A stage ends with a mark. Its length is the difference of two medians, resampled jointly over
blocks, so that the stages add up to READY. An instrumented boot is slower than a plain one;
by how much is measured against the plain boots of the same run.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.analysis import phases, statistics
from harness.analysis.derived import READY as LADDER_READY
from harness.analysis.frames import RunData
from harness.analysis.statistics import Estimate
from harness.analysis.summary import READY as STARTUP_READY
from harness.analysis.summary import runtimes
from harness.model import Mark

_ORDER = (Mark.VMM, Mark.FIRMWARE, Mark.LOADER, Mark.KERNEL, Mark.INIT, Mark.READY)


@dataclass(frozen=True)
class Stage:
    """From one mark to the next, in seconds after the request."""

    mark: str
    start: float
    end: float
    length: Estimate


@dataclass(frozen=True)
class Boot:
    """The boots of one machine; `plain` are those without instruments, where there are any."""

    runtime: str
    stages: tuple[Stage, ...]
    ready: Estimate
    plain: Estimate | None
    inflation: Estimate | None


def read(run: RunData) -> tuple[Boot, ...]:
    """Every machine with instrumented boots, in the order of the scenario."""
    there = set(run.tally.loc[run.tally["experiment"] == "phases", "runtime"])
    found = (_boot(run, name) for name in runtimes(run) if name in there)
    return tuple(boot for boot in found if boot is not None)


def plain_ready(run: RunData, runtime: str) -> pd.Series[float]:
    """READY of boots without instruments: of `startup`, or else of the ladder."""
    found = run.values(STARTUP_READY, runtime)
    return found if len(found) else run.values(LADDER_READY, runtime)


def _boot(run: RunData, runtime: str) -> Boot | None:
    times = {mark: _after_request(run, runtime, mark) for mark in _ORDER}
    present = [mark for mark in _ORDER if len(times[mark])]
    ready = statistics.median(times[Mark.READY])
    if ready is None:
        return None
    stages: list[Stage] = []
    before = times[Mark.READY] * 0
    for mark in present:
        length = statistics.difference(times[mark], before)
        if length is not None:
            start = 0.0 if not stages else stages[-1].end
            stages.append(Stage(mark, start, start + length.value, length))
            before = times[mark]
    plain = plain_ready(run, runtime)
    inflation = statistics.difference(times[Mark.READY], plain)
    return Boot(runtime, tuple(stages), ready, statistics.median(plain), inflation)


def _after_request(run: RunData, runtime: str, mark: Mark) -> pd.Series[float]:
    found = phases.lengths(run, run.measured("phases", runtime), Mark.REQUEST, mark)
    return (found * phases.NS).set_axis(run.numbers("block")[found.index.to_numpy()])
