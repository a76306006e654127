"""What a box's disk path costs, by fio: random and sequential requests, and fsync.

One trial is one fresh instance. A file is written there as a whole, with random data that
nothing can compress, and synced; then each pattern runs on it for a fixed time, by direct I/O,
so that there are no holes, no first allocations and no page cache in what is measured. Reads
come before writes, always in the same order, with the same seed of offsets in every box.

Beside fio's own figures stands what the host's block device moved meanwhile, and what of that
the box's own processes asked for. The first is METHOD's rule, but others may use the device too
and hide a cache behind their bytes; the second is exact, and both must reach 95 % of fio's bytes.
A job whose bytes did not was served by some cache, and fails the trial; so does a box whose
files lie in memory, and a clock inside that does not run as the host's. Where the host's cache
lies in between by intention (a guest with `cache=writeback`), bytes are told and not judged.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.clock import Marks
from harness.errors import HarnessError
from harness.experiments.bench import Bench, Conditions, Measurement
from harness.experiments.jobs import (
    WorkloadFailed,
    check_clock,
    longest_round_trip_s,
    run_job,
)
from harness.metrics import METRICS
from harness.model import Completed, HasStorage, Instance, Job, Sample, Storage
from harness.parsers.fio import FioJob, latencies, parse
from harness.probes import disk
from harness.probes.disk import Device, Traffic
from harness.probes.host import filesystem_of
from harness.settings import Io
from harness.workload import Workload

FIO, CAT, STAT = "/usr/bin/fio", "/usr/bin/cat", "/usr/bin/stat"
MOUNTS = "/proc/self/mountinfo"
KIB = 1024
RANDOM_BYTES, SEQUENTIAL_BYTES = 4 * KIB, 1024 * KIB
SEQUENTIAL_DEPTH = 4
QUANTILES = (0.5, 0.9, 0.99, 0.999)

_ENVIRONMENT = {"TZ": "UTC0"}  # else fio looks for the zone of whoever runs it
_LEAST_SHARE = 0.95
_CLOCK_TOLERANCE = 0.01
_FILE = "tarebench-io"
BOX, DEVICE = "the box", "the host's device"


class NotOnTheDevice(HarnessError):
    """What a job moved is not what the device moved."""


@dataclass(frozen=True)
class Pattern:
    """One job: `name` as in the metrics, `rw` as fio calls it."""

    name: str
    rw: str
    block_bytes: int
    depth: int
    fsync: bool = False

    @property
    def writes(self) -> bool:
        return self.rw.endswith("write")

    @property
    def text(self) -> str:
        return f"{self.name} at depth {self.depth}"


LAYOUT = Pattern("layout", "write", SEQUENTIAL_BYTES, SEQUENTIAL_DEPTH)


def patterns(settings: Io) -> Sequence[Pattern]:
    """What is measured, in order."""
    sequential = (SEQUENTIAL_BYTES, SEQUENTIAL_DEPTH)
    return (
        Pattern("seqread", "read", *sequential),
        *(Pattern("randread", "randread", RANDOM_BYTES, depth) for depth in settings.depths),
        Pattern("seqwrite", "write", *sequential),
        *(Pattern("randwrite", "randwrite", RANDOM_BYTES, depth) for depth in settings.depths),
        Pattern("fsync", "write", RANDOM_BYTES, 1, fsync=True),
    )


def fio_argv(pattern: Pattern, settings: Io, folder: str, runtime_s: float) -> list[str]:
    """The command of a job: every option that decides about the figure is said.

    Latency is counted from submission to completion, by clock_gettime: fio's default clock,
    the time-stamp counter, is not what the agent's clock is checked by.
    """
    argv = [
        FIO, f"--name={pattern.name}", f"--filename={folder}/{_FILE}",
        f"--size={settings.size_bytes}", f"--rw={pattern.rw}", f"--bs={pattern.block_bytes}",
        f"--iodepth={pattern.depth}", "--ioengine=libaio", "--direct=1", "--thread",
        "--numjobs=1", "--group_reporting", "--fallocate=none", "--refill_buffers",
        "--randrepeat=1", "--allrandrepeat=1", f"--randseed={settings.seed}",
        "--clocksource=clock_gettime", "--lat_percentiles=1", "--clat_percentiles=0",
        "--percentile_list=" + ":".join(f"{100 * q:g}" for q in QUANTILES),
        "--output-format=json", "--eta=never",
    ]  # fmt: skip
    if pattern is LAYOUT:
        return [*argv, "--end_fsync=1"]
    argv += ["--time_based", f"--runtime={round(runtime_s * 1000)}ms"]
    return [*argv, "--fsync=1"] if pattern.fsync else argv


def executes(settings: Io, workload: Workload) -> Sequence[Workload]:
    """Short jobs that open what the measured ones open, for the audit on bare metal."""
    del workload
    small = Io(size=str(SEQUENTIAL_BYTES), seed=settings.seed, depths=settings.depths)
    jobs = [fio_argv(p, small, "{scratch}", 0.01) for p in (LAYOUT, patterns(small)[0])]
    argvs = (*jobs, [CAT, MOUNTS], stat_argv("{scratch}"))
    return [Workload(argv, env=_ENVIRONMENT) for argv in argvs]


def stat_argv(folder: str) -> list[str]:
    """Size, allocated blocks and their size, of the file."""
    return [STAT, "-c", "%s %b %B", f"{folder}/{_FILE}"]


@dataclass(frozen=True)
class Place:
    """Where a trial writes: the box, its storage, and the device below it, if one is known."""

    instance: Instance
    storage: Storage
    device: Device | None
    filesystem: str
    host_filesystem: str | None
    done: list[Completed] = field(default_factory=list)

    def run(self, argv: Sequence[str], timeout_s: float) -> Completed:
        self.done.append(run_job(self.instance, Job(argv, _ENVIRONMENT, timeout_s=timeout_s)))
        return self.done[-1]

    def counters(self) -> Mapping[str, Traffic]:
        """What the device has moved and what the box's processes asked for, as far as known."""
        own = disk.own_traffic(self.instance.processes())
        known = {BOX: own, DEVICE: None if self.device is None else disk.traffic(self.device)}
        return {name: found for name, found in known.items() if found is not None}

    def conditions(self) -> Conditions:
        """What travels with the numbers."""
        return {
            "storage": str(self.storage.kind),
            "filesystem": self.filesystem,
            "host_filesystem": self.host_filesystem,
            "device": None if self.device is None else str(self.device),
            "device_write_cache": None if self.device is None else self.device.caches_writes,
            "cache": self.storage.cache or None,
            "aio": self.storage.aio or None,
            "host_cached": self.storage.host_cached,
        }


def measure(bench: Bench, settings: Io) -> Measurement:
    """One trial. Raises HarnessError when anything is not as it must be."""
    samples: list[Sample] = []
    with bench.instance(Marks(), settings.ready_timeout_s) as instance:
        place = find_place(instance, settings)
        bench.tell("writing the file")
        lay_out(place, settings)
        for writes, group in itertools.groupby(patterns(settings), lambda p: p.writes):
            bench.tell("writing and syncing" if writes else "reading")
            for pattern in group:
                samples += measure_pattern(place, pattern, settings)
        check_clock(longest_round_trip_s(instance), *place.done)
        proof = bench.prove(instance, FIO, CAT, STAT)
    return Measurement(
        samples=tuple(samples),
        identity=proof,
        conditions={**place.conditions(), "size_bytes": settings.size_bytes,
                    "runtime_s": settings.runtime_s, "seed": settings.seed},
    )  # fmt: skip


def find_place(instance: Instance, settings: Io) -> Place:
    """The box's storage as it is, from inside and outside. Raises HarnessError for memory."""
    if not isinstance(instance, HasStorage):
        raise HarnessError("this runtime does not say where a job's files lie on a disk")
    storage = instance.storage()
    seen = run_job(instance, Job([CAT, MOUNTS], timeout_s=settings.timeout_s)).stdout.read()
    inside = filesystem_of(Path(storage.path), seen.decode(errors="replace")) or "unknown"
    own = Path(MOUNTS).read_text()
    outside = None if storage.host is None else filesystem_of(storage.host.resolve(), own)
    for where, kind in ((f"{storage.path} in the box", inside), (str(storage.host), outside)):
        if kind in disk.IN_MEMORY:
            raise HarnessError(
                f"{where} lies in memory ({kind}): I/O is not measured there",
                "TAREBENCH_CACHE names a folder on a disk",
            )
    device = None if storage.host is None else disk.device_under(storage.host)
    return Place(instance, storage, device, inside, outside)


def lay_out(place: Place, settings: Io) -> None:
    """Write the whole file, sync it, and see that it has no holes. Raises HarnessError."""
    folder = place.storage.path
    timeout_s = settings.timeout_s
    done = place.run(fio_argv(LAYOUT, settings, folder, 0), timeout_s)
    written = _only_job(done).write.io_bytes
    said = place.run(stat_argv(folder), timeout_s).stdout.read()
    size, blocks, block_bytes = map(int, said.split())
    if not settings.size_bytes <= min(written, size, blocks * block_bytes):
        raise WorkloadFailed(
            f"the file is not whole: of {settings.size_bytes} bytes fio wrote {written}, "
            f"its size is {size} and {blocks * block_bytes} are allocated"
        )


def measure_pattern(place: Place, pattern: Pattern, settings: Io) -> Sequence[Sample]:
    """One job's samples. Raises HarnessError when it failed or missed the device."""
    argv = fio_argv(pattern, settings, place.storage.path, settings.runtime_s)
    before = place.counters()
    done = place.run(argv, settings.runtime_s + settings.timeout_s)
    after = place.counters()
    moved = {name: after[name].since(before[name]) for name in before.keys() & after.keys()}
    job = _only_job(done)
    check_duration(job, done, pattern)
    if not place.storage.host_cached:
        check_device(job, moved, pattern)
    return samples_of(job, moved, pattern)


def _only_job(done: Completed) -> FioJob:
    """The group of fio's report; raises OutputUnreadable, or WorkloadFailed by fio's word."""
    job = parse(done.stdout.read()).jobs[0]
    if job.error:
        raise WorkloadFailed(f"fio reports error {job.error} of {job.jobname}")
    return job


def check_duration(job: FioJob, done: Completed, pattern: Pattern) -> None:
    """fio cannot have run for longer than the host's stamps lie apart: a guest's clock can
    run wrong, and fio believes it. (That it was not slower is what `run_job` has checked.)"""
    fio_s = max(job.read.runtime, job.write.runtime) / 1e3
    host_s = (done.ended_ns - done.started_ns) / 1e9
    if not 0 < fio_s <= host_s * (1 + _CLOCK_TOLERANCE):
        raise WorkloadFailed(
            f"{pattern.text}: fio says that it ran for {fio_s:.3f} s, the host's clock {host_s:.3f}"
        )


def check_device(job: FioJob, moved: Mapping[str, Traffic], pattern: Pattern) -> None:
    """At least 95 % of fio's bytes must have passed the device, and been asked of one by the
    box's processes. More is no fault: journals and formats need writes of their own."""
    own = job.write.io_bytes if pattern.writes else job.read.io_bytes
    for who, traffic in moved.items():
        seen = bytes_of(traffic, pattern)
        if seen < _LEAST_SHARE * own:
            verb = "moved" if who == DEVICE else "asked a device for"
            raise NotOnTheDevice(
                f"{pattern.text}: fio moved {own} bytes by direct I/O, but {who} {verb} only "
                f"{seen}: a cache, a hole or another device lay in between"
            )


def bytes_of(traffic: Traffic, pattern: Pattern) -> int:
    """What was moved in the direction of a pattern."""
    return traffic.written_bytes if pattern.writes else traffic.read_bytes


def samples_of(job: FioJob, moved: Mapping[str, Traffic], pattern: Pattern) -> Sequence[Sample]:
    """fio's figures and the device's, in base units."""
    own = job.write if pattern.writes else job.read
    depth = {"depth": str(pattern.depth)}
    found: list[Sample] = []

    def add(name: str, value: float, **dimensions: str) -> None:
        metric = METRICS[f"io.{name}"]
        found.append(Sample(metric.name, value, metric.unit, depth | dimensions))

    if pattern.fsync:
        for quantile, seconds in latencies(job.sync.lat_ns, job.sync.total_ios).items():
            add("fsync.latency", seconds, quantile=quantile)
        add("fsync.calls", job.sync.total_ios)
        if DEVICE in moved and (flushes := moved[DEVICE].flushes) is not None:
            add("fsync.flushes", flushes)
    else:
        if pattern.rw.startswith("rand"):
            add(f"{pattern.name}.iops", own.iops)
        else:
            add(f"{pattern.name}.bandwidth", own.bw_bytes)
        for quantile, seconds in latencies(own.lat_ns, own.total_ios).items():
            add(f"{pattern.name}.latency", seconds, quantile=quantile)
    add("bytes", own.io_bytes, job=pattern.name)
    for who, name in ((BOX, "box_bytes"), (DEVICE, "device_bytes")):
        if who in moved:
            add(name, bytes_of(moved[who], pattern), job=pattern.name)
    return found
