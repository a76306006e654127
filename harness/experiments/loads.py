"""What neighbours do to each other: the jobs of `interference`, as victims and as aggressors.

A victim does a small fixed piece of work again and again and tells how long each took, so that
its quantiles are those of its iterations. A piece is a few milliseconds long where it computes:
shorter than the scheduler's turn, it would lie between two interruptions and hide that half of
the processor is gone. An aggressor does the same kind of thing until it is killed, with as many
workers as its box has processors.

Every time is told by the tool inside. sysbench counts its events in a histogram whose steps
are 1.8 % apart; fio keeps each request; for forks a shell prints the time between its rounds.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.experiments.cpu import BUSYBOX, STRESS_NG, SYSBENCH
from harness.experiments.io import FIO
from harness.parsers import OutputUnreadable, fio, sysbench, unreadable
from harness.parsers.fio import supported
from harness.workload import Workload

QUANTILES = (0.5, 0.9, 0.99)
_ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC0"}
_MOST_S = 1
"""For how long a victim goes on at the most: an emulated one does not come to all iterations."""

FOREVER_S = 86_000
"""An aggressor is killed long before."""
_START_S = 60.0

_PRIMES = 50_000
_FORKS = 12
_WRITE_BYTES, _WRITES = 4096, 10
"""A write takes a fraction of a millisecond: there are ten for each iteration of the others."""
_BLOCK_MIB = 32
"""More than the caches of one processor hold, as a rule."""

Quantiles = Mapping[str, float]
"""Seconds by quantile, without those that there are too few iterations for."""


@dataclass(frozen=True)
class Victim:
    """`argv` by the number of iterations and the folder on the disk; `read` its quantiles.

    One that is `rehearsed` runs once before it is measured: its file is then allocated."""

    argv: Callable[[int, str], Sequence[str]]
    read: Callable[[bytes], Quantiles]
    rehearsed: bool = False

    def workload(self, iterations: int, folder: str, timeout_s: float) -> Workload:
        """What to run inside."""
        return Workload(list(self.argv(iterations, folder)), env=_ENVIRONMENT, timeout_s=timeout_s)


@dataclass(frozen=True)
class Aggressor:
    """`argv` by workers, folder and seconds. It is at work when its box has used the processor
    for a while or, with `disk`, has written something."""

    argv: Callable[[int, str, int], Sequence[str]]
    disk: bool = False

    def workload(self, workers: int, folder: str, seconds: int = FOREVER_S) -> Workload:
        """What to run inside."""
        argv = list(self.argv(workers, folder, seconds))
        return Workload(argv, env=_ENVIRONMENT, timeout_s=seconds + _START_S)


def _computing(iterations: int, folder: str) -> Sequence[str]:
    return [
        SYSBENCH, "cpu", f"--cpu-max-prime={_PRIMES}", "--threads=1", f"--events={iterations}",
        f"--time={_MOST_S}", "--histogram=on", "run",
    ]  # fmt: skip


def _writing_memory(iterations: int, folder: str) -> Sequence[str]:
    """The memory test ends by bytes and not by events."""
    total = iterations * _BLOCK_MIB
    return [
        SYSBENCH, "memory", f"--memory-block-size={_BLOCK_MIB}M", f"--memory-total-size={total}M",
        "--threads=1", f"--time={_MOST_S}", "--histogram=on", "run",
    ]  # fmt: skip


def _fio(name: str, folder: str, *options: str) -> Sequence[str]:
    return [
        FIO, f"--name={name}", f"--filename={folder}/tarebench-{name}", f"--bs={_WRITE_BYTES}",
        "--rw=randwrite", "--direct=1", "--thread", "--fallocate=none",
        "--clocksource=clock_gettime", "--output-format=json", "--eta=never", *options,
    ]  # fmt: skip


def _writing(iterations: int, folder: str) -> Sequence[str]:
    """Every block of the file once, in random order, one at a time."""
    size = iterations * _WRITES * _WRITE_BYTES
    return _fio(
        "victim", folder, f"--size={size}", "--ioengine=psync",
        f"--runtime={_MOST_S}", "--lat_percentiles=1", "--clat_percentiles=0",
        "--percentile_list=" + ":".join(f"{100 * q:g}" for q in QUANTILES),
    )  # fmt: skip


def _forking(iterations: int, folder: str) -> Sequence[str]:
    """A busybox shell forks itself and waits, and says the time after each round of forks."""
    rounds = " ".join(["0"] * _FORKS)
    script = (
        f"t=$EPOCHREALTIME; n=0; e=$((${{t%.*}}${{t#*.}}+{_MOST_S}000000)); echo $t; "
        f"while [ $n -lt {iterations} ]; do for k in {rounds}; do (:); done; "
        "t=$EPOCHREALTIME; echo $t; [ ${t%.*}${t#*.} -lt $e ] || break; n=$((n+1)); done"
    )
    return [BUSYBOX, "sh", "-c", script]


def of_histogram(output: bytes) -> Quantiles:
    """By sysbench's histogram. Raises OutputUnreadable."""
    counted = sysbench.histogram(output)
    total, seen = sum(count for _, count in counted), 0
    found: dict[str, float] = {}
    for seconds, count in counted:
        seen += count
        for q in QUANTILES:
            if seen >= q * total and supported(q, total):
                found.setdefault(f"{q:g}", seconds)
    return found


def of_requests(output: bytes) -> Quantiles:
    """By fio's percentiles of its writes. Raises OutputUnreadable."""
    write = fio.parse(output).jobs[0].write
    return fio.latencies(write.lat_ns, write.total_ios)


def of_stamps(output: bytes) -> Quantiles:
    """By the spans between a shell's times of day. Raises OutputUnreadable, also where the
    clock was set back."""
    try:
        stamps = [int(line.replace(".", "")) for line in output.decode().split()]
    except ValueError as error:
        raise unreadable("the shell printed something else than times", output) from error
    spans = sorted(after - before for before, after in itertools.pairwise(stamps))
    if not spans or spans[0] <= 0:
        raise OutputUnreadable("the box's clock was set while the shell ran")
    return {
        f"{q:g}": spans[int(q * (len(spans) - 1))] / 1e6
        for q in QUANTILES
        if supported(q, len(spans))
    }


def _burning(workers: int, folder: str, seconds: int) -> Sequence[str]:
    return _stress("--cpu", workers, folder, seconds, "--cpu-method", "int64")


def _breeding(workers: int, folder: str, seconds: int) -> Sequence[str]:
    return _stress("--fork", workers, folder, seconds)


def _stress(stressor: str, workers: int, folder: str, seconds: int, *more: str) -> Sequence[str]:
    return [STRESS_NG, stressor, str(workers), *more, "--timeout", str(seconds), "--no-rand-seed",
            "--temp-path", folder]  # fmt: skip


def _streaming(workers: int, folder: str, seconds: int) -> Sequence[str]:
    return [
        SYSBENCH, "memory", f"--memory-block-size={_BLOCK_MIB}M", "--memory-total-size=0",
        "--memory-scope=local", f"--threads={workers}", f"--time={seconds}", "run",
    ]  # fmt: skip


def _flooding(workers: int, folder: str, seconds: int) -> Sequence[str]:
    """One process with many requests at once keeps a disk busy, whatever the processors."""
    return _fio("aggressor", folder, "--size=32M", "--ioengine=libaio", "--iodepth=16",
                "--time_based", f"--runtime={seconds}")  # fmt: skip


VICTIMS: Mapping[str, Victim] = {
    "cpu": Victim(_computing, of_histogram),
    "memory": Victim(_writing_memory, of_histogram),
    "disk": Victim(_writing, of_requests, rehearsed=True),
    "fork": Victim(_forking, of_stamps),
}

AGGRESSORS: Mapping[str, Aggressor] = {
    "cpu": Aggressor(_burning),
    "memory": Aggressor(_streaming),
    "disk": Aggressor(_flooding, disk=True),
    "fork": Aggressor(_breeding),
}
