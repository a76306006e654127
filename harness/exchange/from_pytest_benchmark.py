"""pytest-benchmark's JSON: tests, and the time of each of their rounds.

A round is a trial; where it held several iterations, its value is their mean, as the tool has
it, and a condition says how many. A benchmark whose file kept only its statistics has no
trials, and is left out: a median of somebody's median would be ours in name alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from harness.analysis.units import plural
from harness.errors import UsageError
from harness.exchange.foreign import (
    WALL,
    Foreign,
    Measurement,
    Subject,
    checked,
    plain,
    unique,
    untold,
)

ORDER = (
    "Pytest-benchmark runs its tests one after the other: no round of one is paired with a "
    "round of another, and what changed on the host meanwhile is in their difference."
)
UNKNOWN = (
    "limits, other load and the state of caches",
    "whether the host is itself a machine",
    "what a test did before its first round",
)


class Stats(msgspec.Struct, frozen=True):
    """`data` is absent in a file that was saved without it."""

    data: list[float] | None = None
    iterations: int = 1


class Benchmark(msgspec.Struct, frozen=True):
    """One test of the file."""

    name: str
    stats: Stats
    fullname: str = ""


class File(msgspec.Struct, frozen=True):
    """What we use of the whole; other keys are ignored."""

    benchmarks: list[Benchmark]
    machine_info: dict[str, Any] = {}
    datetime: str = ""
    version: str = ""


def is_one(document: object) -> bool:
    """Whether this is meant to be pytest-benchmark's JSON."""
    return isinstance(document, dict) and isinstance(document.get("benchmarks"), list)


def read(document: object) -> Foreign:
    """Its values. Raises msgspec.ValidationError, or UsageError, when it is no such file."""
    found = msgspec.convert(document, File)
    with_data = [(n, b) for n, b in enumerate(found.benchmarks) if b.stats.data]
    without = len(found.benchmarks) - len(with_data)
    if found.benchmarks and not with_data:
        raise UsageError(
            "the file holds statistics only, and no value of a single round",
            "save it with `pytest --benchmark-json FILE`, or add --benchmark-save-data",
        )
    names = [benchmark.name for _, benchmark in with_data]
    told = [b.fullname or b.name if names.count(b.name) > 1 else b.name for _, b in with_data]
    subjects = [
        Subject(name, _rounds(benchmark, f"benchmarks[{number}]"))
        for name, (number, benchmark) in zip(unique(told), with_data, strict=True)
    ]
    saved = f"{plural(without, 'benchmark')} saved without the values of rounds"
    return Foreign(
        tool="pytest-benchmark",
        version=plain(found.version),
        subjects=subjects,
        order=ORDER,
        unknown=UNKNOWN,
        host=_host(found.machine_info),
        measured_utc=plain(found.datetime),
        left_out=[*([saved] if without else []), *untold(subjects)],
    )


def _rounds(benchmark: Benchmark, where: str) -> list[Measurement]:
    conditions = {"iterations": benchmark.stats.iterations}
    times = [
        checked(v, f"{where}.stats.data[{n}]") for n, v in enumerate(benchmark.stats.data or ())
    ]
    return [Measurement({WALL: v} if v else {}, conditions=conditions) for v in times]


def _host(said: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """Our words for what the tool knows of the machine; what it does not know is absent."""
    cpu = said.get("cpu")
    cpu = cpu if isinstance(cpu, dict) else {}
    texts = {
        "system": said.get("system"), "os": said.get("os"), "kernel": said.get("release"),
        "architecture": said.get("machine"), "python": said.get("python_version"),
        "cpu_model": cpu.get("brand_raw") or said.get("processor"),
    }  # fmt: skip
    found: dict[str, str | int | float | bool] = {
        key: plain(text) for key, text in texts.items() if isinstance(text, str) and plain(text)
    }
    if isinstance(cpu.get("count"), int):
        found["threads"] = cpu["count"]
    return found | {
        flag: said[flag] for flag in ("hypervisor", "emulated") if isinstance(said.get(flag), bool)
    }
