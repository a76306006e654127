"""What a box takes of the processor: the same tools inside every box, all in one instance.

Plain computing (sysbench), memory (sysbench), the kernel's services (stress-ng: system calls,
context switches, forks, page faults) and a real program (7-Zip), with one thread and with as
many as the box has CPUs. A trial is one fresh instance that runs each test once, in a random
order that is drawn anew for each trial and written down with it.

The stressors were chosen for doing the same in every box. `null` makes a fixed round of system
calls on /dev/null, where `get` asks once a mount, of which boxes have different numbers; `mmap`
touches anonymous memory, where `fault` works on a file and so measures its file system.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.clock import Marks
from harness.experiments import identity
from harness.experiments.bench import Bench, Conditions, Measurement
from harness.experiments.jobs import (
    WorkloadFailed,
    check_clock,
    longest_round_trip_s,
    run_job,
)
from harness.metrics import METRICS
from harness.model import Completed, Instance, Sample
from harness.parsers import sevenzip, stress_ng, sysbench
from harness.probes import cpu
from harness.settings import ALL_CPUS, Cpu
from harness.workload import Workload

SYSBENCH = "/usr/bin/sysbench"
STRESS_NG = "/usr/bin/stress-ng"
BUSYBOX = "/bin/busybox"
SEVEN_ZIP = "/usr/lib/p7zip/7zr"

_READ_S = 20.0
_TELL_EVERY_S = 10.0
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC0"}
"""Without these, bare metal would read the host's locales and its time zone."""


@dataclass(frozen=True)
class Test:
    """One test: `argv` by threads and seconds, and which of the tool's figures is the result."""

    name: str
    argv: Callable[[int, int], list[str]]
    parse: Callable[[bytes], Sequence[Sample]]
    figure: str

    def workload(self, threads: int, settings: Cpu) -> Workload:
        """What to run inside."""
        argv = self.argv(threads, settings.seconds)
        return Workload(argv=argv, env=_ENVIRONMENT, timeout_s=settings.timeout_s)


def _sysbench(name: str, figure: str, *options: str) -> Test:
    def argv(threads: int, seconds: int) -> list[str]:
        return [SYSBENCH, name, *options, f"--threads={threads}", f"--time={seconds}", "run"]

    return Test(f"sysbench {name}", argv, sysbench.samples, figure)


def _stress_ng(name: str, *options: str) -> Test:
    def argv(threads: int, seconds: int) -> list[str]:
        return [
            STRESS_NG, f"--{name}", str(threads), *options, "--timeout", str(seconds),
            "--metrics-brief", "--stdout", "--no-rand-seed", "--temp-path", "{scratch}",
        ]  # fmt: skip

    return Test(f"stress-ng {name}", argv, stress_ng.samples, "ops")


def _seven_zip(threads: int, seconds: int) -> list[str]:
    return [SEVEN_ZIP, "b", "1", f"-mmt{threads}", "-md18", f"-mtime={seconds}"]


TESTS: Mapping[str, Test] = {
    "events": _sysbench("cpu", "events"),
    "memory": _sysbench("memory", "transferred", "--memory-block-size=1M",
                        "--memory-total-size=0"),
    "syscalls": _stress_ng("null"),
    "switches": _stress_ng("switch"),
    "forks": _stress_ng("fork"),
    "faults": _stress_ng("mmap", "--mmap-bytes", "64k"),
    "compress": Test("7-Zip", _seven_zip, sevenzip.samples, "compress"),
}  # fmt: skip
"""By the metric's name after `cpu.`."""


def executes(settings: Cpu, workload: Workload) -> Sequence[Workload]:
    """Each test once with one thread: its program opens the same files with more."""
    del workload
    return [TESTS[name].workload(1, settings) for name in settings.tests]


def measure(bench: Bench, settings: Cpu) -> Measurement:
    """One instance, every test once. Raises HarnessError when a test fails or says nothing."""
    samples: list[Sample] = []
    jobs: list[Completed] = []
    programs = list(dict.fromkeys(TESTS[name].argv(1, 1)[0] for name in settings.tests))
    for program in programs:
        identity.executed_files(bench.image, program)
    with bench.instance(Marks(), settings.ready_timeout_s) as instance:
        cpus = _cpus(bench, instance)
        order = _order(bench, settings, cpus)
        told = time.monotonic()
        for number, (name, threads) in enumerate(order):
            if time.monotonic() - told > _TELL_EVERY_S:
                told = time.monotonic()
                bench.tell(f"{TESTS[name].name}, {number + 1} of {len(order)} tests")
            test = TESTS[name]
            job = test.workload(threads, settings).job(instance.scratch())
            jobs.append(run_job(instance, job))
            samples.append(_sample(name, threads, jobs[-1]))
        check_clock(longest_round_trip_s(instance), *jobs)
        conditions = _conditions(instance, cpus, order)
        if bench.runtime.runtime_class.is_machine:
            conditions = {**conditions, "mitigations_differ": _mitigations_differ(instance)}
        proof = bench.prove(instance, *programs)
    return Measurement(samples=tuple(samples), identity=proof, conditions=conditions)


def _cpus(bench: Bench, instance: Instance) -> int:
    """How many CPUs the box has: what it was given, else what it sees."""
    given = bench.limits.cpus
    return int(instance.facts()["cpus"]) if given is None else math.ceil(given)


def _order(bench: Bench, settings: Cpu, cpus: int) -> Sequence[tuple[str, int]]:
    """All tests in random order, from the run's id and the instance's number."""
    threads = dict.fromkeys(cpus if n == ALL_CPUS else int(n) for n in settings.threads)
    order = [(name, count) for name in settings.tests for count in threads]
    random.Random(f"{bench.run_id} {bench.runtime.name} {next(bench.numbers)}").shuffle(order)
    return order


def _sample(name: str, threads: int, done: Completed) -> Sample:
    test = TESTS[name]
    found = {sample.metric: sample.value for sample in test.parse(done.stdout.read())}
    value, host_s = found[test.figure], (done.ended_ns - done.started_ns) / 1e9
    if value <= 0:
        raise WorkloadFailed(f"{test.name} with {threads} threads came to nothing")
    if found.get("duration", 0.0) > 1.01 * host_s + 0.1:
        raise WorkloadFailed(
            f"{test.name} says that it took {found['duration']:.3f} s, "
            f"where the host's clock says {host_s:.3f} s"
        )
    metric = METRICS[f"cpu.{name}"]
    dimensions = {"test": test.name, "threads": str(threads)}
    return Sample(metric.name, value, metric.unit, dimensions)


def _conditions(instance: Instance, cpus: int, order: Sequence[tuple[str, int]]) -> Conditions:
    facts = instance.facts()
    return {
        "cpus": cpus,
        "kernel": facts.get("kernel"),
        "order": " ".join(f"{name}/{threads}" for name, threads in order),
    }


def _mitigations_differ(instance: Instance) -> str | None:
    """Names of vulnerabilities that only one of guest and host has a mitigation at work for.

    That is what makes one of them pay. None where the guest does not tell. The job that reads
    them runs after the last test.
    """
    argv = [BUSYBOX, "grep", "-r", "", str(cpu.VULNERABILITIES)]
    done = instance.run(Workload(argv=argv, timeout_s=_READ_S).job(instance.scratch()))
    if done.exit_status != 0:
        return None
    lines = done.stdout.read().decode(errors="replace").splitlines()
    inside = {Path(path).name: text for path, _, text in (line.partition(":") for line in lines)}
    return ", ".join(sorted(cpu.mitigated(inside) ^ cpu.mitigated(cpu.vulnerabilities())))
