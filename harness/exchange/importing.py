"""Makes a run of another tool's results, so that they can be listed, reported and compared.

Such a run is marked as imported wherever it goes: its experiment is `imported`, its runtimes
(the commands or tests) are of the class `imported`, it has no READY and no digest, and its manifest
lists every condition that the file does not tell. Each trial has a block of its own, because
nothing in it is paired. Within such a run there is therefore no ratio; between two runs, where
the run is the unit anyway, there is.

What is written down of the tool is always the same text, so that reports can translate it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from harness import __version__
from harness.analysis.export import write_samples, write_whole
from harness.analysis.frames import (
    CONTRACT,
    EXTRA,
    MANIFEST,
    SAMPLES,
    STORED,
    WALL,
    RunData,
    from_table,
)
from harness.errors import HarnessError, UsageError
from harness.exchange import from_hyperfine, from_pytest_benchmark
from harness.exchange.foreign import Foreign, Measurement, plain
from harness.metrics import METRICS
from harness.model import SCHEMA_VERSION, Outcome

EXPERIMENT = "imported"
LARGEST_FILE = 256 * 1024 * 1024
MOST_VALUES = 1_000_000

Reader = Callable[[object], Foreign]

_HOW = "hyperfine --export-json FILE, or pytest --benchmark-json FILE, writes one"


def import_file(path: Path, results: Path, out: Path | None = None) -> tuple[Path, tuple[str, ...]]:
    """Write the run into the folder `out`, or into a new one below `results`.

    Returns the folder, and what of the file was left out. Raises UsageError when the file is
    not what we read or the folder is taken, HarnessError when it cannot be written.
    """
    content = _content(path)
    foreign = _recognised(content, path)
    when = _measured(foreign, path)
    run_id = f"{when:%Y%m%dT%H%M%SZ}-{foreign.tool}-{hashlib.sha256(content).hexdigest()[:8]}"
    folder = (out or results / run_id).absolute()
    run = to_run(foreign, folder.name, path.name, content, when)
    _write(run, folder, named=out is not None)
    return folder, tuple(foreign.left_out)


def _content(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise UsageError(f"{path} is not a file", _HOW)
        if path.stat().st_size > LARGEST_FILE:
            raise UsageError(
                f"{path} is larger than the {LARGEST_FILE // 1024**2} MiB that are read",
                "split it, or export fewer benchmarks",
            )
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", _HOW) from error


def _recognised(content: bytes, path: Path) -> Foreign:
    """By what is in it, whatever the file is called."""
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is not JSON: {error}", _HOW) from error
    readers = ((m.is_one, m.read) for m in (from_hyperfine, from_pytest_benchmark))
    read: Reader | None = next((reads for is_one, reads in readers if is_one(document)), None)
    if read is None:
        raise UsageError(f"{path} is neither hyperfine's JSON nor pytest-benchmark's", _HOW)
    try:
        foreign = read(document)
    except msgspec.ValidationError as error:
        raise UsageError(f"{path} is not as its tool writes it: {plain(error)}", _HOW) from error
    except UsageError as error:
        raise UsageError(f"{path}: {error.message}", error.hint) from error
    count = sum(len(subject.measurements) for subject in foreign.subjects)
    if count == 0:
        raise UsageError(f"{path} holds no measurement", _HOW)
    if count > MOST_VALUES:
        raise UsageError(
            f"{path} holds {count} values; at most {MOST_VALUES} are read", "import a part of it"
        )
    return foreign


def _measured(foreign: Foreign, path: Path) -> datetime:
    """When it was measured as the file says, else the file's own date."""
    try:
        said = datetime.fromisoformat(foreign.measured_utc)
        return (said if said.tzinfo else said.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def to_run(foreign: Foreign, run: str, file: str, content: bytes, when: datetime) -> RunData:
    """The run as data."""
    manifest = _manifest(foreign, run, plain(file), hashlib.sha256(content).hexdigest(), when)
    rows = pd.DataFrame(list(_rows(foreign, run)), columns=[*CONTRACT, *EXTRA, *STORED])
    return from_table(manifest, rows.astype({"block": "int64", "position": "int64"}))


def _rows(foreign: Foreign, run: str) -> Iterator[Mapping[str, Any]]:
    number = 0
    for subject in foreign.subjects:
        for place, each in enumerate(subject.measurements):
            head = {
                "run": run, "scenario": foreign.tool, "experiment": EXPERIMENT,
                "runtime": subject.name, "runtime_class": EXPERIMENT, "accel": "",
                "trial": f"{number:05d}", "block": number, "position": place, "warmup_of": "",
                "outcome": (Outcome.FAILED if each.failure else Outcome.OK).value,
                "reason": plain(each.failure), "started_utc": "", "dimensions": "{}",
                **dict.fromkeys(STORED, ""),
            }  # fmt: skip
            yield {**head, **_wall(each)}
            for metric, value in each.values.items():
                yield {**head, "metric": metric, "value": value, "unit": METRICS[metric].unit}
            number += 1


def _wall(each: Measurement) -> Mapping[str, Any]:
    """What a whole trial took, its preparation included, no other tool tells: absent."""
    conditions = json.dumps(dict(each.conditions), sort_keys=True)
    return {"metric": WALL, "value": math.nan, "unit": "s", "marks": "{}", "identity": "{}",
            "conditions": conditions}  # fmt: skip


def _manifest(
    foreign: Foreign, run: str, file: str, digest: str, when: datetime
) -> Mapping[str, Any]:
    names = [subject.name for subject in foreign.subjects]
    stamp = when.isoformat(timespec="milliseconds")
    return {
        "schema": SCHEMA_VERSION, "run": run, "tarebench": __version__,
        "scenario": {
            "name": foreign.tool, "title": f"Imported from {foreign.tool}: {file}",
            "question": "", "description": f"Measured by {foreign.tool}, not by tarebench.",
            "runtimes": names, "experiments": {EXPERIMENT: {}}, "limits": {}, "thresholds": {},
        },
        "plan": [], "stopping": f"as {foreign.tool} decided",
        "started_utc": stamp, "finished_utc": stamp, "outcome": "complete",
        "runtimes": {
            name: {"class": EXPERIMENT, "accel": "", "versions": {}, "limits": {}, "notes": []}
            for name in names
        },
        "skipped": {}, "host": dict(foreign.host), "guards": _guards(foreign), "command": [],
        "imported": {
            "tool": foreign.tool, "version": foreign.version, "file": file,
            "sha256": digest, "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "unknown": list(foreign.unknown), "paired": False, "order": foreign.order,
            "left_out": list(foreign.left_out),
        },
    }  # fmt: skip


def _guards(foreign: Foreign) -> list[Mapping[str, str]]:
    version = f" {foreign.version}" if foreign.version else ""
    return [
        {"name": "imported", "value": f"{foreign.tool}{version}", "severity": "warn",
         "text": "Measured by another tool and not by tarebench: there is no READY, and no proof "
         "of what ran. What else is not known is said beside the values."},
        {"name": "order", "value": "not paired", "severity": "warn", "text": foreign.order},
    ]  # fmt: skip


def _write(run: RunData, folder: Path, named: bool) -> None:
    """The manifest last: what is no whole run yet is in no list."""
    try:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            if named:
                raise UsageError(f"the folder {folder} is not empty", "give --out a new folder")
            raise UsageError(
                f"this file has been imported before: {folder}", f"tarebench report {folder.name}"
            )
    except OSError as error:
        raise HarnessError(
            f"the run folder {folder} cannot be made: {error.strerror}",
            "give --out another folder",
        ) from error
    try:
        write_samples(run, folder)
        write_whole(folder / MANIFEST, msgspec.json.format(msgspec.json.encode(run.manifest)))
    except HarnessError:
        with suppress(OSError):
            (folder / SAMPLES).unlink(missing_ok=True)
            if made:
                folder.rmdir()
        raise
