"""fio's JSON (`--output-format=json`), as fio 3 writes it.

Of each job and direction: requests and bytes a second, bytes, and the latency of a request at the
percentiles that fio was asked for. A percentile with fewer than 10 / (1 - q) completions above
and below it is left out (METHOD, small samples). Field names are those of fio's stat.c.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from harness.model import Sample
from harness.parsers import unreadable

_DIRECTIONS = ("read", "write", "trim")


class Spread(msgspec.Struct, frozen=True):
    """A distribution of times in nanoseconds; `percentile` maps 99.9 to its value."""

    mean: float = 0.0
    percentile: dict[float, float] = {}


class Direction(msgspec.Struct, frozen=True):
    """What a job did in one direction; `runtime` is in milliseconds of fio's own clock."""

    io_bytes: int
    bw_bytes: float
    iops: float
    runtime: int
    total_ios: int
    lat_ns: Spread = Spread()
    clat_ns: Spread = Spread()


class Syncs(msgspec.Struct, frozen=True):
    """The fsync or fdatasync calls of a job."""

    total_ios: int = 0
    lat_ns: Spread = Spread()


class FioJob(msgspec.Struct, frozen=True):
    """One job, or one group of jobs with `group_reporting`."""

    jobname: str
    error: int
    read: Direction
    write: Direction
    trim: Direction | None = None
    sync: Syncs = Syncs()


class FioReport(msgspec.Struct, frozen=True):
    """The whole document."""

    jobs: list[FioJob]
    version: str = msgspec.field(default="", name="fio version")


def parse(output: bytes) -> FioReport:
    """fio's report; what it printed before is passed over. Raises OutputUnreadable."""
    text = output.decode(errors="replace")
    begin = 0 if text.startswith("{") else text.find("\n{") + 1
    if not text[begin:].startswith("{"):
        raise unreadable("fio printed no JSON", output)
    try:
        document, _ = json.JSONDecoder(parse_constant=_refuse).raw_decode(text, begin)
        report = msgspec.convert(document, FioReport, strict=False, str_keys=True)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise unreadable(f"fio's JSON cannot be read ({error})", output) from error
    if not report.jobs:
        raise unreadable("fio reports no job", output)
    return report


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def latencies(spread: Spread, count: int) -> Mapping[str, float]:
    """Seconds by quantile (`0.5`, `0.999`), without those that `count` cannot support."""
    found: dict[str, float] = {}
    for percent, nanoseconds in spread.percentile.items():
        quantile = round(percent / 100, 9)
        if supported(quantile, count):
            found[f"{quantile:g}"] = nanoseconds / 1e9
    return found


def supported(quantile: float, count: int) -> bool:
    """Whether so many values tell a quantile: ten must lie beyond it (METHOD)."""
    return 0 < quantile < 1 and count * (1 - max(quantile, 1 - quantile)) >= 10 - 1e-6


def samples(output: bytes) -> Sequence[Sample]:
    """All that fio reports, by job and direction. Raises OutputUnreadable."""
    report = parse(output)
    several = len(report.jobs) > 1
    return [
        sample
        for job in report.jobs
        for sample in _of_job(job, {"job": job.jobname} if several else {})
    ]


def _of_job(job: FioJob, where: dict[str, str]) -> Iterator[Sample]:
    for name in _DIRECTIONS:
        done: Direction | None = getattr(job, name)
        if done is None or not done.total_ios:
            continue
        yield Sample(f"{name}.iops", done.iops, "1/s", where)
        yield Sample(f"{name}.bandwidth", done.bw_bytes, "1/s", where)
        yield Sample(f"{name}.bytes", float(done.io_bytes), "bytes", where)
        spread = done.lat_ns if done.lat_ns.percentile else done.clat_ns
        for quantile, seconds in latencies(spread, done.total_ios).items():
            yield Sample(f"{name}.latency", seconds, "s", {**where, "quantile": quantile})
    for quantile, seconds in latencies(job.sync.lat_ns, job.sync.total_ios).items():
        yield Sample("sync.latency", seconds, "s", {**where, "quantile": quantile})
