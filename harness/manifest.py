"""The manifest: everything about a run that is not a trial, as one JSON document.

Written before the first trial and again at the end, so that a run which was cut off still
says what it was. The schema is documented in results/README.md.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import msgspec

from harness import __version__, paths, scenario, tuning
from harness.experiments import identity
from harness.image.store import read_record
from harness.journal import records
from harness.lineup import Entrant, Lineup
from harness.model import SCHEMA_VERSION, Image, Trial
from harness.probes import course, host, sampling
from harness.probes.guards import Guard
from harness.verification import Verified

if TYPE_CHECKING:
    from harness.runner import Request

_PARTS = (
    "msgspec",
    "psutil",
    "docker",
    "libvirt-python",
    "pandas",
    "pyarrow",
    "scipy",
    "matplotlib",
)


def begin(
    request: Request,
    run_id: str,
    image: Image,
    lineup: Lineup,
    trials: Sequence[Trial],
    guards: Sequence[Guard],
) -> dict[str, Any]:
    """The document before the first trial; of a resumed run, with the gap noted."""
    earlier = request.earlier or {}
    document: dict[str, Any] = {
        "schema": SCHEMA_VERSION,
        "run": run_id,
        "tarebench": __version__,
        "scenario": request.scenario,
        "scenario_sha256": scenario.digest(msgspec.to_builtins(request.scenario)),
        "scenario_file": request.source,
        "seed": request.seed,
        "plan": list(trials),
        "stopping": request.rule.text(),
        "rule": request.rule,
        "image": {
            "digest": image.digest, "agent_sha256": image.agent_sha256,
            "excludes": list(image.excludes), "packages": read_record(image.directory).packages,
            "extra": list(request.scenario.image.packages),
            "allowed_outside": list(identity.ALLOWED_OUTSIDE),
        },
        "started_utc": earlier.get("started_utc") or _now(),
        "runtimes": {name: _runtime(entrant) for name, entrant in lineup.entrants.items()},
        "skipped": {
            name: {"reason": error.message, "remedy": error.hint}
            for name, error in lineup.skipped.items()
        },
        "host": host.facts(paths.cache(), request.folder),
        "guards": list(guards),
        "tuned": tuning.remembered(),
        "metrics": request.scenario.workload.metrics(),
        "parts": _parts(),
        "command": list(request.command),
        "repeat_with": repeat_with(request),
    }  # fmt: skip
    if earlier:
        done, now = records(request.folder), datetime.now(UTC)
        document["guards"] += course.resumed(earlier, done, document["host"], now)
    plain: dict[str, Any] = msgspec.to_builtins(document)
    return plain


def end(
    request: Request,
    document: Mapping[str, Any],
    executed: Sequence[Trial],
    verified: Mapping[str, Verified],
    stopped: Mapping[str, object] | None,
    interrupted: bool,
    late: Sequence[Guard] = (),
) -> Mapping[str, Any]:
    """The document after the last trial, with what the unmeasured instances proved.

    `late` are guards that are known only now, in the place of earlier ones of their names.
    """
    names = {guard.name for guard in late}
    guards = [each for each in document["guards"] if each["name"] not in names]
    runtimes = {
        name: {**said, "verified": _proof(verified[name])} if name in verified else said
        for name, said in document["runtimes"].items()
    }
    return {
        **document,
        "runtimes": runtimes,
        "guards": guards + msgspec.to_builtins(list(late)),
        "channel": msgspec.to_builtins({name: found.channel for name, found in verified.items()}),
        "plan": msgspec.to_builtins(list(executed)),
        "stopped": {"by": "interrupted"} if stopped is None else stopped,
        "finished_utc": _now(),
        "outcome": "interrupted" if interrupted else "complete",
        "observer": {"peak_rss_bytes": host.own_peak_rss_bytes()},
        "sampler": msgspec.to_builtins(sampling.cost(request.folder)),
    }


def _proof(found: Verified) -> Mapping[str, Any]:
    return {
        "digest": found.digest, "identical": found.identical,
        "note": found.note, "outside": found.outside,
    }  # fmt: skip


def repeat_with(request: Request) -> str:
    """A command that runs the same plan again, given the same image and host."""
    argv = [*request.command] or ["tarebench", "run", request.scenario.name]
    if "--seed" not in argv and not any(word.startswith("--seed=") for word in argv):
        argv += ["--seed", str(request.seed)]
    return shlex.join(argv)


def _runtime(entrant: Entrant) -> Mapping[str, Any]:
    facts = entrant.bench.facts
    return {
        "class": str(entrant.bench.runtime.runtime_class),
        "accel": facts.accel,
        "versions": facts.versions,
        "limits": facts.limits,
        "notes": facts.notes,
        "equality": "inside budget",
    }


def _parts() -> Mapping[str, str]:
    """Versions of the Python parts; one that is not installed is absent."""
    found = {"python": sys.version.split()[0]}
    for name in _PARTS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
