"""Makes the stored form of a very large run out of thin air, as fast as it can be written.

Plausible in shape and size: blocks of startup, memory and disk trials of ten runtimes with
their controls, marks, conditions and identities; log-normal figures with slow trials and ties,
a few failures and warm-ups. Seeded, and evidence of nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

RUNTIMES: Mapping[str, tuple[str, str, float]] = {
    "bare": ("bare metal", "none", 1.0), "chroot": ("jail", "none", 1.3),
    "runc": ("container", "none", 25.0), "crun": ("container", "none", 8.0),
    "containerd": ("container", "none", 60.0), "docker": ("container", "none", 220.0),
    "docker,network=none": ("container", "none", 170.0),
    "docker,client=cli": ("container", "none", 430.0),
    "kvm": ("virtual machine", "kvm", 500.0), "qemu": ("emulated machine", "tcg", 2500.0),
}  # fmt: skip
MIB = 2.0**20
_NONE = "{}"


def _dimensions(**found: str) -> str:
    return json.dumps(found, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True)
class Kind:
    """What one sample of an experiment is: `scale` is its typical value on bare metal."""

    metric: str
    unit: str
    dimensions: str
    scale: float


_IO_JOBS = ("randread", "seqread")
EXPERIMENTS: Mapping[str, Sequence[Kind]] = {
    "startup": [
        Kind(f"startup.{mark}", "s", _NONE, 1e-3 * (n + 1) / 4)
        for n, mark in enumerate(
            ("created", "started", "init", "ready", "job", "exited", "removed")
        )
    ] + [Kind("startup.cpu", "s", _NONE, 6e-4), Kind("startup.rss", "bytes", _NONE, MIB)],
    "memory": [
        Kind(f"memory.{name}", "bytes", _dimensions(n="8", state=state), MIB)
        for state in ("idle", "touched")
        for name in ("charged", "host_delta", "remainder", "pss", "rss")
    ],
    "io": [
        *(Kind("io.randread.iops", "1/s", _dimensions(depth=d), 9e4) for d in ("1", "16")),
        *(Kind("io.randread.latency", "s", _dimensions(depth=d, quantile=q), 1e-4)
          for d in ("1", "16") for q in ("0.5", "0.99")),
        Kind("io.seqread.bandwidth", "1/s", _dimensions(depth="1"), 1e9),
        *(Kind(f"io.{who}bytes", "bytes", _dimensions(job=job), 1e8)
          for job in _IO_JOBS for who in ("", "box_", "device_")),
    ],
    "canary": [Kind("canary.work", "s", _NONE, 0.01), Kind("canary.busy", "1", _NONE, 0.02)],
    "floor": [Kind("floor.ready", "s", _NONE, 7e-4), Kind("floor.exited", "s", _NONE, 9e-4)],
}  # fmt: skip
_BOXED = ("startup", "memory", "io")
_MARKS = ("request", "created", "started", "init", "ready", "stop", "exited", "removed")
_TOLD = ("load_before", "running_before", "trial_busy_s", "trial_steal_s", "host_busy_s",
         "trial_pressure_cpu_s", "trial_pressure_io_s")  # fmt: skip
_IDENTITY = json.dumps(
    {"files": {"/usr/lib/tarebench/agent": "5f2b" * 16, "/usr/bin/echo": "77aa" * 16},
     "identical": True, "outside": []}, separators=(",", ":")
)  # fmt: skip


def trials_a_block() -> int:
    """How many trials every block has."""
    return len(RUNTIMES) * len(_BOXED) + 2


def samples_a_block() -> int:
    """How many measured samples every block has when nothing fails."""
    boxed = sum(len(EXPERIMENTS[name]) for name in _BOXED)
    return len(RUNTIMES) * boxed + 4


@dataclass(frozen=True)
class _Trial:
    """One trial of a block: what is the same in every block."""

    experiment: str
    runtime: str


def make_large_run(folder: Path, trials: int, seed: int = 1) -> Path:
    """Write manifest.json and samples.parquet of a run of at least so many trials."""
    folder.mkdir(parents=True, exist_ok=True)
    blocks = -(-trials // trials_a_block())
    block = [_Trial(e, r) for r in RUNTIMES for e in _BOXED]
    block += [_Trial("canary", "host"), _Trial("floor", "host")]
    dice = np.random.default_rng(seed)
    writer = None
    for first in range(0, blocks, 1000):
        table = _table(block, np.arange(first, min(first + 1000, blocks)), folder.name, dice)
        if writer is None:
            writer = pq.ParquetWriter(
                folder / "samples.parquet", table.schema, compression="zstd", store_schema=False
            )
        writer.write_table(table)
    if writer is not None:
        writer.close()
    _write_manifest(folder, block, blocks, seed)
    return folder


def _write_manifest(folder: Path, block: Sequence[_Trial], blocks: int, seed: int) -> None:
    facts = {name: {"class": kind, "accel": accel, "versions": {}, "limits": {}, "notes": []}
             for name, (kind, accel, _) in RUNTIMES.items()}  # fmt: skip
    manifest = {
        "schema": 1, "run": folder.name, "tarebench": "0.1.0", "seed": seed,
        "scenario": {
            "name": "many", "title": "A very long run", "question": "Does the report keep up?",
            "runtimes": list(RUNTIMES), "experiments": {name: {} for name in _BOXED},
            "limits": {"cpus": 1.0}, "blocks": blocks, "warmup_blocks": 0,
            "thresholds": {"startup.ready": {"ratio": 1.1}},
        },
        "started_utc": "2026-11-23T20:00:00Z", "finished_utc": "2026-11-24T20:00:00Z",
        "outcome": "complete", "runtimes": facts, "skipped": {}, "guards": [],
        "host": {"cpu_model": "Synthetic CPU", "threads": 2, "hypervisor": False},
        "command": ["tarebench", "run", "many"],
    }  # fmt: skip
    plan = ",\n".join(
        f'{{"trial":"{b * len(block) + n:07d}","experiment":"{t.experiment}","runtime":'
        f'"{t.runtime}","block":{b},"position":{n},"warmup":false}}'
        for b in range(blocks)
        for n, t in enumerate(block)
    )
    text = json.dumps(manifest, indent=1).removesuffix("\n}")
    (folder / "manifest.json").write_text(f'{text},\n "plan": [{plan}]\n}}\n')


def _table(block: Sequence[_Trial], blocks: Any, run: str, dice: np.random.Generator) -> pa.Table:
    """The rows of these blocks: those of a trial together, `trial.wall` first."""
    sizes = np.array([len(EXPERIMENTS[t.experiment]) + 1 for t in block])
    kinds = [k for t in block for k in (Kind("trial.wall", "s", _NONE, 1.0),
                                        *EXPERIMENTS[t.experiment])]  # fmt: skip
    of_trial = np.repeat(np.arange(len(block)), sizes)
    trials = [block[int(n)] for n in of_trial]
    count, width = len(blocks), len(kinds)
    failed = dice.random((count, len(block))) < 0.002
    keep = (~failed[:, of_trial] | (np.array([k.metric for k in kinds]) == "trial.wall")).ravel()
    scale = np.array([
        k.scale * (RUNTIMES[t.runtime][2] if k.unit == "s" and t.runtime in RUNTIMES else 1.0)
        for t, ks in zip(block, _by_trial(kinds, sizes), strict=True) for k in ks
    ])  # fmt: skip
    noise = dice.normal(0, 0.1, (count, width)) + 0.5 * (dice.random((count, width)) < 0.02)
    value = np.round(scale * np.exp(noise), 9).ravel()[keep]
    number = (blocks[:, None] * len(block) + np.arange(len(block))[None, :]).ravel()
    trial = np.repeat(number, np.tile(sizes, count))[keep]
    words = np.tile(np.arange(width), count)[keep]
    bad = failed[:, of_trial].ravel()[keep]
    wall = np.flatnonzero(np.tile([k.metric == "trial.wall" for k in kinds], count)[keep])

    def word(texts: Sequence[str]) -> pa.Array:
        values = list(dict.fromkeys(texts))
        codes = np.array([values.index(text) for text in texts], dtype=np.int32)[words]
        return pa.DictionaryArray.from_arrays(codes, pa.array(values))

    def constant(text: str) -> pa.Array:
        return pa.DictionaryArray.from_arrays(np.zeros(len(words), np.int32), pa.array([text]))

    facts = [RUNTIMES.get(t.runtime, ("bare metal", "none", 1.0)) for t in trials]
    found = {
        "run": constant(run), "scenario": constant("many"),
        "experiment": word([t.experiment for t in trials]),
        "runtime": word([t.runtime for t in trials]),
        "runtime_class": word([f[0] for f in facts]), "accel": word([f[1] for f in facts]),
        "trial": pc.utf8_lpad(pa.array(trial).cast(pa.string()), 7, "0"),
        "block": np.repeat(blocks, width)[keep],
        "outcome": pa.DictionaryArray.from_arrays(bad.astype(np.int32), pa.array(["ok", "failed"])),
        "reason": pa.DictionaryArray.from_arrays(
            bad.astype(np.int32), pa.array(["", "it did not start"])
        ),
        "metric": word([k.metric for k in kinds]), "value": value,
        "unit": word([k.unit for k in kinds]), "dimensions": word([k.dimensions for k in kinds]),
        "position": of_trial[words], "warmup_of": constant(""),
        "started_utc": constant("2026-11-23T20:00:00Z"),
        **_texts(len(words), wall, np.tile([t.experiment == "startup" for t in block], count),
                 dice),
    }  # fmt: skip
    return pa.table(found)


def _by_trial(kinds: Sequence[Kind], sizes: Any) -> Iterator[Sequence[Kind]]:
    begin = 0
    for size in sizes:
        yield kinds[begin : begin + size]
        begin += size


def _texts(rows: int, wall: Any, startup: Any, dice: np.random.Generator) -> dict[str, Any]:
    """JSON on the rows of trials, and nothing on the others."""
    place = np.full(rows, len(wall))
    place[wall] = np.arange(len(wall))
    steps = np.cumsum(dice.integers(10**5, 10**7, (len(wall), len(_MARKS))), axis=1)
    marks = _json({mark: steps[:, n] + 10**12 for n, mark in enumerate(_MARKS)})
    told = _json({name: np.round(dice.random(len(wall)), 4) for name in _TOLD})
    texts = {
        "marks": pc.if_else(pa.array(startup), marks, _NONE),
        "identity": pa.array([_IDENTITY] * len(wall)), "conditions": told,
    }  # fmt: skip
    return {
        name: pa.concat_arrays([text, pa.array([""])]).take(pa.array(place))
        for name, text in texts.items()
    }


def _json(columns: Mapping[str, Any]) -> pa.Array:
    pieces: list[Any] = ["{"]
    for n, (name, values) in enumerate(sorted(columns.items())):
        pieces += [f'{"," if n else ""}"{name}":', pa.array(values).cast(pa.string())]
    return pc.binary_join_element_wise(*pieces, "}", "")


def of_many_runs(folder: Path, runs: int, trials: int) -> Iterator[Path]:
    """Many stored runs of so many trials each."""
    for number in range(runs):
        yield make_large_run(folder / f"run-{number:04d}", trials, seed=number)
