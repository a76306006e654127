"""What a noisy neighbour takes: a victim in one box beside an aggressor in another.

A trial is one runtime. Its victim's box stays for all of a round, and runs every victim alone
and beside each aggressor, in random order; the aggressor's box is made for each anew, put to
work, and killed. Slowdown is the victim's quantile beside the aggressor over the same quantile
alone, in the same box. Iterations of a job are never pooled with those of another trial: a
trial gives one value of each quantile.

There is a round with limits (both boxes are held to the scenario's, and the aggressor has as
many workers as that are processors) and one without (the aggressor has a worker for each
processor of the host). Plain bare metal cannot be limited and has no round with limits; a
machine always has a size and has no round without. Nothing is pinned to a processor: where
boxes run is the scheduler's choice, as it is in earnest. So on a host of two processors two
boxes of one each may have a core each; what is left then is what they share below it: caches,
memory, the disk, the kernel, and the harness, which waits meanwhile.
"""

from __future__ import annotations

import contextlib
import math
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

from harness.clock import Deadline, Marks
from harness.errors import DeadlineExceeded, HarnessError, RuntimeUnavailable
from harness.experiments import io
from harness.experiments.bench import Bench, Conditions, Elsewhere, Measurement
from harness.experiments.fleet import Fleet
from harness.experiments.identity import combined
from harness.experiments.jobs import WorkloadFailed, check_end, run_job
from harness.experiments.loads import AGGRESSORS, VICTIMS, Aggressor, Quantiles
from harness.metrics import METRICS
from harness.model import (
    Identity,
    Instance,
    Limits,
    Runtime,
    Sample,
    Support,
)
from harness.probes import cpu, disk
from harness.settings import Interference, Io
from harness.workload import Workload

ALONE = "none"
"""The neighbour of a victim that has none."""

ON, OFF = "on", "off"

_AT_WORK_CPU_S = 0.05
_AT_WORK_BYTES = 256 * 1024
_AT_WORK_WITHIN_S = 30.0
_LOOK_EVERY_S = 0.005
_TRACED_ITERATIONS = 20

Times = Mapping[tuple[str, str], Quantiles]
"""Quantiles of each victim beside each aggressor, `ALONE` among them."""


def executes(settings: Interference, workload: Workload) -> Sequence[Workload]:
    """Each victim, and each aggressor for a second."""
    del workload
    victims = [
        VICTIMS[name].workload(_TRACED_ITERATIONS, "{scratch}", settings.timeout_s)
        for name in settings.victims
    ]
    aggressors = [AGGRESSORS[name].workload(1, "{scratch}", 1) for name in settings.aggressors]
    return [Workload([io.CAT, io.MOUNTS]), *victims, *aggressors]


def fits(runtime: Runtime, settings: Interference) -> None:
    """Raises RuntimeUnavailable where nothing of what is asked for can be done."""
    if isinstance(runtime, Elsewhere) and runtime.elsewhere:
        raise RuntimeUnavailable(
            "whether a neighbour is at work is told by this host's counters",
            "run interference on that host",
        )
    if runtime.runtime_class.is_machine and ON not in settings.limits:
        raise RuntimeUnavailable(
            "a machine is never without limits, for it has a size",
            'leave the setting limits as it is, or make it ["on"]',
        )


def measure(bench: Bench, settings: Interference) -> Measurement:
    """One trial. Raises HarnessError when a victim fails, or an aggressor ends by itself."""
    chance = random.Random(f"{bench.run_id} {bench.runtime.name} {next(bench.numbers)}")
    rounds, left_out = _rounds(bench, settings)
    samples: list[Sample] = []
    proofs: list[Identity] = []
    conditions: Conditions = {
        "host_cpus": cpu.count(), "iterations": settings.iterations, "left_out": left_out,
    }  # fmt: skip
    for limits in chance.sample(rounds, len(rounds)):
        own = bench if limits == ON else replace(bench, limits=Limits())
        found = _Round(own, settings, limits, chance)
        samples += _samples(limits, found.run())
        proofs += found.proofs
        conditions = {**conditions, **found.conditions, f"workers_{limits}": found.workers}
    return Measurement(samples=tuple(samples), identity=combined(proofs), conditions=conditions)


def _rounds(bench: Bench, settings: Interference) -> tuple[Sequence[str], str | None]:
    """Which rounds this runtime can do, and which it cannot."""
    left_out = None
    if bench.runtime.runtime_class.is_machine:
        left_out = OFF
    elif bench.facts.limits.cpus is not Support.SUPPORTED or bench.limits.cpus is None:
        left_out = ON
    found = [limits for limits in settings.limits if limits != left_out]
    if not found:
        raise HarnessError(
            f"nothing holds {bench.runtime.name} to a number of processors",
            'leave the setting limits as it is, or make it ["off"]',
        )
    return found, left_out


@dataclass
class _Round:
    """All pairs under the same limits, with one box for the victims."""

    bench: Bench
    settings: Interference
    limits: str
    chance: random.Random
    proofs: list[Identity] = field(default_factory=list)
    conditions: Conditions = field(default_factory=dict)
    folder: str = ""

    @property
    def workers(self) -> int:
        """How many the aggressor has: one for each processor that its box may use."""
        given = self.bench.limits.cpus
        return cpu.count() if given is None else math.ceil(given)

    def run(self) -> Times:
        """Every victim beside every aggressor, in random order."""
        found: dict[tuple[str, str], Quantiles] = {}
        victims, neighbours = self.settings.victims, (ALONE, *self.settings.aggressors)
        with self.bench.instance(Marks(), self.settings.ready_timeout_s) as box:
            place = io.find_place(box, Io(timeout_s=self.settings.timeout_s))
            self.conditions, self.folder = place.conditions(), place.storage.path
            for name in victims:
                if VICTIMS[name].rehearsed:
                    self._victim(box, name)
            for neighbour in self.chance.sample(neighbours, len(neighbours)):
                self.bench.tell(f"limits {self.limits}, neighbour: {neighbour}")
                with self._beside(neighbour) as check:
                    for name in self.chance.sample(victims, len(victims)):
                        found[name, neighbour] = self._victim(box, name)
                        check()
            self._prove(box, io.CAT, *(VICTIMS[name].argv(1, "")[0] for name in victims))
        return found

    def _prove(self, box: Instance, *programs: str) -> None:
        self.proofs.append(self.bench.prove(box, *dict.fromkeys(programs)))

    def _victim(self, box: Instance, name: str) -> Quantiles:
        victim, settings = VICTIMS[name], self.settings
        work = victim.workload(settings.iterations, self.folder, settings.timeout_s)
        return victim.read(run_job(box, work.job(box.scratch())).stdout.read())

    @contextlib.contextmanager
    def _beside(self, name: str) -> Iterator[Callable[[], None]]:
        """A neighbour at work; yields what raises WorkloadFailed when it no longer is.

        Nobody can ask a job to end, so its box is killed.
        """
        if name == ALONE:
            yield lambda: None
            return
        aggressor = AGGRESSORS[name]
        work = aggressor.workload(self.workers, self.folder)
        timeout_s = self.settings.ready_timeout_s
        with (
            ThreadPoolExecutor(1, "aggressor") as pool,
            Fleet(lambda marks: self.bench.instance(marks, timeout_s)) as fleet,
        ):
            box = fleet.launch()[0].box
            self._prove(box, work.argv[0])  # before, for no other job runs beside this one
            job = work.job(box.scratch())
            before = _done_so_far(box, aggressor)
            running = pool.submit(box.run, job)

            def check() -> None:
                if running.done():
                    check_end(running.result(), job)
                    raise WorkloadFailed(f"the neighbour {name} ended by itself")

            try:
                _await_work(box, aggressor, before, check)
                yield check
                check()
            finally:
                fleet.end(abruptly=True)


def _await_work(
    box: Instance, aggressor: Aggressor, before: float, check: Callable[[], None]
) -> None:
    """Wait until counters of the host tell that it is at work; nothing else does."""
    enough = _AT_WORK_BYTES if aggressor.disk else _AT_WORK_CPU_S
    deadline = Deadline(_AT_WORK_WITHIN_S)
    while _done_so_far(box, aggressor) - before < enough:
        check()
        if deadline.over:
            raise DeadlineExceeded(f"the neighbour was not at work after {_AT_WORK_WITHIN_S:g} s")
        time.sleep(_LOOK_EVERY_S)


def _done_so_far(box: Instance, aggressor: Aggressor) -> float:
    """Bytes that its processes had written, or seconds for which they had the processor."""
    if not aggressor.disk:
        return sum(cpu.process_s(pid) or 0.0 for pid in box.processes())
    traffic = [disk.own_traffic([pid]) for pid in box.processes()]
    return float(sum(each.written_bytes for each in traffic if each is not None))


def _samples(limits: str, found: Times) -> Sequence[Sample]:
    """Every quantile, and beside a neighbour how many times that alone it is."""
    made: list[Sample] = []
    for (victim, aggressor), quantiles in found.items():
        for quantile, seconds in quantiles.items():
            where = {
                "victim": victim, "aggressor": aggressor, "limits": limits, "quantile": quantile,
            }  # fmt: skip
            made.append(_sample("victim", seconds, where))
            alone = found[victim, ALONE].get(quantile)
            if aggressor != ALONE and alone:
                made.append(_sample("slowdown", seconds / alone, where))
    return made


def _sample(name: str, value: float, dimensions: dict[str, str]) -> Sample:
    metric = METRICS[f"interference.{name}"]
    return Sample(metric.name, value, metric.unit, dimensions)
