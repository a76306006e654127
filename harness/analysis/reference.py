"""Reference runs: small copies of runs, kept with the project, that say what they ran on.

They drive the demo report, the lessons and tests, on systems where nothing can be run. Each
is `results/reference/MACHINE/SCENARIO/` with a manifest, `samples.parquet` and, where counters
were read over time, `timeseries.parquet`; MACHINE tells what matters when figures are compared:
the processor, how many of them, and whether the host was itself a machine.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.analysis import timeseries
from harness.analysis.export import harmless_name, write_samples, write_whole
from harness.analysis.frames import MANIFEST, RunData
from harness.errors import UsageError


def keep(run: RunData, references: Path) -> Path:
    """Copy a finished run to its place under `references` and return that folder.

    Raises UsageError for a run that was cut off, because half a run is no reference, and for
    one of an emulated host, because figures of the lab must never be taken for a machine's.
    """
    if run.manifest.get("host", {}).get("emulated"):
        raise UsageError(
            f"the run {run.run} was measured on an emulated host, and is no reference",
            "tarebench export --to parquet copies it all the same",
        )
    if run.manifest.get("outcome") != "complete":
        raise UsageError(
            f"the run {run.run} is not complete", f"tarebench resume {run.run} goes on with it"
        )
    folder = (
        references / machine(run.manifest) / harmless_name(str(run.manifest["scenario"]["name"]))
    )
    manifest = {
        **run.manifest,
        "command": _without_out(run.manifest.get("command", [])),
        "repeat_with": shlex.join(_without_out(shlex.split(run.manifest.get("repeat_with", "")))),
    }
    write_whole(folder / MANIFEST, json.dumps(manifest, separators=(",", ":")).encode())
    write_samples(run, folder)
    series = None if run.folder is None else run.folder / timeseries.STORED
    if series is not None and series.is_file():
        write_whole(folder / timeseries.STORED, series.read_bytes())
    return folder


def machine(manifest: Mapping[str, Any]) -> str:
    """`x86_64-amd-epyc-2cpu-nested`: the class of machine that a run was measured on.

    XX    where an imported run does not tell.
    """
    host = manifest.get("host", {})
    below = "emulated" if host.get("emulated") else "nested" if host.get("hypervisor") else "metal"
    if "hypervisor" not in host:
        below = "unknown"
    words = (
        host.get("architecture", "unknown"),
        host.get("cpu_model", "cpu"),
        f"{host.get('threads', 0)}cpu",
        below,
    )
    return re.sub(r"[^a-z0-9_]+", "-", " ".join(map(str, words)).lower()).strip("-")


def _without_out(argv: Sequence[str]) -> list[str]:
    """The command without where its results went: a path of somebody's machine."""
    kept, skip = list[str](), False
    for word in argv:
        if skip or word.startswith("--out="):
            skip = False
        elif word == "--out":
            skip = True
        else:
            kept.append(word)
    return kept
