"""A launch's CPU seconds, held against what the host's own clock of busyness says.

`startup.cpu` counts what the run's control group (or its processes) used. Independently of it,
/proc/stat tells how busy all CPUs of the host were between request and READY. The launch's
share of that lies between all of it and what is left when the host's idle business (the
canary's share) is taken off: a launch that fills all CPUs pushes that aside. Where more is left,
something else ran at the same time; where more was counted than the host was busy at all, the
count is wrong. /proc/stat counts in ticks of 10 ms, a CPU each, which is as sharp as this is.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import say
from harness.analysis.statistics import Estimate
from harness.analysis.summary import CPU, READY

_TICK_S = 0.01


@dataclass(frozen=True)
class CpuCheck:
    """Medians by block of the host's busy seconds, of these less idle, and of what either has
    more than was counted."""

    host: Estimate
    own: Estimate
    host_excess: Estimate
    own_excess: Estimate
    resolution_s: float

    @property
    def verdict(self) -> str:
        """In words; an interval that reaches within the resolution of zero is agreement."""
        low, high = self.own_excess.interval, self.host_excess.interval
        if low is None or high is None:
            return say("none: {why}", why=self.own_excess.absent)
        if low.low > self.resolution_s:
            return say("the host was busier: others ran too")
        if high.high < -self.resolution_s:
            return say("more was counted than the host was busy")
        return say("agrees")


def check(run: RunData, runtime: str) -> CpuCheck | None:
    """The check of one runtime's launches; None where the run has not what it needs."""
    cpus = int(run.manifest.get("host", {}).get("threads") or 0)
    idle = run.values("canary.busy")
    launches = run.measured("startup", runtime)
    busy = run.told("conditions", "host_busy_s")
    busy = busy[busy.index.isin(launches)]
    if not cpus or not len(idle) or not len(launches) or len(busy) < len(launches):
        return None
    host = pd.Series(busy.to_numpy(dtype=float), index=run.numbers("block")[launches])
    share = float(idle.median())
    own = host - share * cpus * statistics.by_block(run.values(READY, runtime))
    counted = statistics.by_block(run.values(CPU, runtime))
    medians = [
        found
        for values in (host, own, host - counted, own - counted)
        if (found := statistics.median(values.dropna())) is not None
    ]
    if len(medians) < 4:
        return None
    busy_all, busy_own, above_all, above_own = medians
    return CpuCheck(busy_all, busy_own, above_all, above_own, _TICK_S * cpus)
