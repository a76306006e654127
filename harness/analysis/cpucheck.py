"""A launch's CPU seconds, held against what the host's own clock of busyness says.

`startup.cpu` counts what the run's control group (or its processes) used. Independently of it,
/proc/stat tells how busy all CPUs of the host were between request and READY; less what they
are busy with while the harness idles (the canary's share), that should be the same. Where the
host was busier, something else ran at the same time, or the launch made others work; where it
was less busy, the count is wrong. /proc/stat counts in ticks of 10 ms, a CPU each, which is
as sharp as this check is.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.statistics import Estimate
from harness.analysis.summary import CPU, READY
from harness.model import Outcome

_TICK_S = 0.01


@dataclass(frozen=True)
class CpuCheck:
    """`host` is busy time less idle, `excess` what it has more than was counted, by block."""

    host: Estimate
    excess: Estimate
    resolution_s: float

    @property
    def verdict(self) -> str:
        """In words; an interval that reaches within the resolution of zero is agreement."""
        interval = self.excess.interval
        if interval is None:
            return self.excess.absent
        if interval.low > self.resolution_s:
            return "the host was busier: others ran too"
        if interval.high < -self.resolution_s:
            return "more was counted than the host was busy"
        return "agrees"


def check(run: RunData, runtime: str) -> CpuCheck | None:
    """The check of one runtime's launches; None where the run has not what it needs."""
    cpus = int(run.manifest.get("host", {}).get("threads") or 0)
    idle = run.values("canary.busy")
    trials = run.trials[
        (run.trials["runtime"] == runtime)
        & (run.trials["experiment"] == "startup")
        & (run.trials["outcome"] == Outcome.OK.value)
        & ~run.trials["warmup"]
    ]
    busy = [conditions.get("host_busy_s") for conditions in trials["conditions"]]
    if not cpus or not len(idle) or not busy or None in busy:
        return None
    host = pd.Series([float(s) for s in busy if s is not None], index=trials["block"].to_numpy(int))
    share = float(idle.median())
    own = host - share * cpus * statistics.by_block(run.values(READY, runtime))
    counted = statistics.by_block(run.values(CPU, runtime))
    excess = (own - counted).dropna()
    median, above = statistics.median(own.dropna()), statistics.median(excess)
    if median is None or above is None:
        return None
    return CpuCheck(median, above, _TICK_S * cpus)
