"""Reads a run's manifest as far as it is sound.

A manifest may come from a newer tarebench, from a disk that was full, or from someone else's
report. What is not of the kind that it should be is left out and told, so that everything
behind this module may rely on what is there.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from harness.errors import UsageError, brief
from harness.model import SCHEMA_VERSION, Trial

PLAN = "plan"
LONG_PLAN = 2**20
"""Bytes. A longer plan is not read where a table has a row for every planned trial."""

Contents = bytes | mmap.mmap

_Facts = dict[str, Any]
_KINDS: Mapping[tuple[str, ...], Any] = {
    ("run",): str,
    ("tarebench",): str,
    ("scenario",): _Facts,
    ("scenario", "name"): str,
    ("scenario", "title"): str,
    ("scenario", "question"): str,
    ("scenario", "runtimes"): list[str],
    ("scenario", "limits"): _Facts | None,
    ("scenario", "thresholds"): dict[str, dict[str, float]],
    ("scenario", "workload"): _Facts | None,
    ("scenario", "experiments"): dict[str, _Facts | None],
    ("scenario", "experiments", "ladder", "rungs"): list[dict[str, str | list[Any] | bool | None]],
    ("plan",): list[Trial],
    ("runtimes",): dict[str, _Facts],
    ("skipped",): dict[str, _Facts],
    ("host",): _Facts,
    ("guards",): list[_Facts],
    ("channel",): dict[str, dict[str, list[float]]],
    ("image",): _Facts | None,
    ("metrics",): dict[str, _Facts],
    ("stopped",): _Facts | None,
    ("rule",): _Facts | None,
    ("command",): list[str],
    ("started_utc",): str,
    ("finished_utc",): str | None,
    ("outcome",): str | None,
}


class Manifest(NamedTuple):
    """What could be read, and what was left out."""

    data: dict[str, Any]
    notes: tuple[str, ...] = ()


def contents(path: Path) -> Contents:
    """The bytes of a manifest; those of one with a long plan are not copied into memory."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size <= LONG_PLAN:
            return file.read()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def read(data: Contents, where: Path, long_plan: bool = True) -> Manifest:
    """A manifest from its bytes. Raises UsageError when it is none, or of a newer schema."""
    try:
        parts = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        plan = parts.get(PLAN)
        if plan is not None and not long_plan and memoryview(plan).nbytes > LONG_PLAN:
            del parts[PLAN]
        found = {name: msgspec.json.decode(part) for name, part in parts.items()}
    except msgspec.ValidationError as error:
        raise UsageError(
            f"the manifest of {where} is not a manifest", "give a folder that tarebench wrote"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(
            f"the manifest of {where} cannot be read: {brief(error)}",
            "restore the file; the journal is untouched",
        ) from error
    check_schema(found, where)
    return sound(found)


def check_schema(manifest: Mapping[str, Any], path: Path) -> None:
    """Raise UsageError unless the manifest is of a version that we can read."""
    version = manifest.get("schema")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise UsageError(
            f"{path} does not say which version of tarebench's format it has",
            "its manifest.json is damaged, or it is not a run",
        )
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"{path} was written in format {version}; this tarebench reads up to {SCHEMA_VERSION}",
            "read it with a newer tarebench",
        )


def sound(manifest: dict[str, Any]) -> Manifest:
    """The manifest without the parts that are not of their kind."""
    notes = []
    for path, kind in _KINDS.items():
        inside: Any = manifest
        for name in path[:-1]:
            inside = inside.get(name) if isinstance(inside, dict) else None
        if not isinstance(inside, dict) or path[-1] not in inside:
            continue
        try:
            msgspec.convert(inside[path[-1]], kind)
        except (msgspec.ValidationError, RecursionError) as error:
            del inside[path[-1]]
            notes.append(f"the manifest's {'.'.join(path)} was left out: {brief(error)}")
    scenario = manifest.setdefault("scenario", {})
    scenario.setdefault("name", "unknown")
    return Manifest(manifest, tuple(notes))


def planned(manifest: Mapping[str, Any]) -> Sequence[Trial]:
    """The planned trials."""
    return msgspec.convert(manifest.get(PLAN, []), list[Trial])
