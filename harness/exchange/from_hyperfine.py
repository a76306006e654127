"""hyperfine's JSON (`hyperfine --export-json FILE`): commands, and the time of each of their runs.

Each run of a command is a trial. A run that ended with another status than 0 (hyperfine tells
them with `--ignore-failure`) is a failed trial, never a fast time. User and system time are
means over all runs in that format, and no samples. What remains of a run when the shell's own
time was taken off can be 0: that is a time which nobody knows, and it is left out.

The format: hyperfine's `src/benchmark/benchmark_result.rs`; `memory_usage_byte` came with 1.19.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness.errors import UsageError
from harness.exchange.foreign import (
    MEMORY,
    WALL,
    Foreign,
    Measurement,
    Subject,
    checked,
    unique,
    untold,
)

ORDER = (
    "Hyperfine runs its commands one after the other: no run of one is paired with a run of "
    "another, and what changed on the host meanwhile is in their difference."
)
UNKNOWN = (
    "the host, its processor and its kernel", "when it was measured (the file's own date stands)",
    "hyperfine's version, its --warmup and --prepare, and whether a shell was in between",
    "limits, other load and the state of caches",
    "whether two commands ran the same files",
)  # fmt: skip


class Result(msgspec.Struct, frozen=True):
    """One command of the file."""

    command: str
    times: list[float]
    exit_codes: list[int | None] = []
    memory_usage_byte: list[int] | None = None
    parameters: dict[str, str] = {}


class File(msgspec.Struct, frozen=True):
    """What we use of the whole; other keys are ignored."""

    results: list[Result]


def is_one(document: object) -> bool:
    """Whether this is meant to be hyperfine's JSON."""
    return isinstance(document, dict) and isinstance(document.get("results"), list)


def read(document: object) -> Foreign:
    """Its values. Raises msgspec.ValidationError, or UsageError, when it is no such file."""
    found = msgspec.convert(document, File)
    names = unique(_name(result, found.results) for result in found.results)
    subjects = [
        Subject(name, _measurements(result, f"results[{number}]"))
        for number, (name, result) in enumerate(zip(names, found.results, strict=True))
    ]
    return Foreign(
        tool="hyperfine",
        version="",
        subjects=subjects,
        order=ORDER,
        unknown=UNKNOWN,
        left_out=untold(subjects),
    )


def _name(result: Result, others: Sequence[Result]) -> str:
    """The command; with its parameters where the text alone does not tell two apart."""
    same = [other for other in others if other.command == result.command]
    if len(same) == 1 or not result.parameters:
        return result.command
    told = ", ".join(f"{key}={value}" for key, value in result.parameters.items())
    return f"{result.command} ({told})"


def _measurements(result: Result, where: str) -> Sequence[Measurement]:
    count = len(result.times)
    memory: Sequence[int] = result.memory_usage_byte or ()
    for name, others in (
        ("exit_codes", len(result.exit_codes)),
        ("memory_usage_byte", len(memory)),
    ):
        if others not in (0, count):
            raise UsageError(
                f"{where} has {count} times and {others} {name}", "the file is damaged"
            )
    found = []
    for number, time in enumerate(result.times):
        wall = checked(time, f"{where}.times[{number}]")
        values = {WALL: wall} if wall else {}
        if memory:
            values[MEMORY] = checked(memory[number], f"{where}.memory_usage_byte[{number}]")
        code = result.exit_codes[number] if result.exit_codes else 0
        failure = "" if code == 0 else "ended by a signal" if code is None else f"status {code}"
        found.append(Measurement({} if failure else values, failure))
    return found
