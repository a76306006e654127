"""Whether two runs were measured under like conditions: each difference by name, and its effect.

A difference *refuses* a verdict where it makes the number another quantity: emulation beside
hardware, cold beside warm, another program, other settings or limits. It *qualifies* one where
the same quantity was measured under another condition (a kernel, a processor, a version): that
may be the very question, so the verdict stands, with the difference named beside it. What a run
did not record differs from nothing. docs/comparing.md has the table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from harness.analysis import unlike_hosts
from harness.analysis.frames import RunData
from harness.analysis.summary import (
    BLOCK,
    HARDWARE,
    MACHINE_GUARDS,
    MACHINES,
    class_of,
    is_emulated,
    runtimes,
)
from harness.analysis.unlike import Unlike, differ, listed, only_differing, plain, short
from harness.model import AGENT_PATH, Outcome
from harness.settings import Experiments

SAME_RUN = "same_run"
REGIME = "regime"
CANARY = "canary"

_AFTER_JOB = ("startup.job", "startup.served", "startup.stop", "startup.exited", "startup.removed")
_PROGRAMS = ("cpu.", "io.", "job.", "memory.cache.", "startup.read", *_AFTER_JOB)
"""Metrics in which programs of the image do the work; in all others it is the agent alone."""

_WORKLOAD = ("job.", *_AFTER_JOB)
_SELECTIONS = frozenset(
    {"rungs", "machines", "tests", "threads", "states", "depths", "without", "blocks"}
)
"""Settings that choose which series there are and leave each of them as it is."""


def is_same_run(base: RunData, new: RunData) -> bool:
    """Whether two stored runs are one: the same id, begun at the same instant."""
    return base.run == new.run and base.manifest.get("started_utc") == new.manifest.get(
        "started_utc"
    )


def unlike(base: RunData, new: RunData) -> tuple[Unlike, ...]:
    """Every difference between two runs that can make their comparison unfair."""
    if is_same_run(base, new):
        text = "A run beside itself says nothing new: every value is the same value."
        return (Unlike(SAME_RUN, True, base.run, new.run, text),)
    both = [name for name in runtimes(base) if name in runtimes(new)]
    return (
        *_blocked(base, new, both),
        *(found for name in both for found in _runtime(base, new, name)),
        *_image(base, new, both),
        *_scenario(base, new, both),
        *unlike_hosts.hosts(base, new, both),
        *unlike_hosts.settings(base, new, both),
        *_measured(base, new),
    )


def _blocked(base: RunData, new: RunData, both: Sequence[str]) -> Iterator[Unlike]:
    """Guards that forbid verdicts within one of the runs forbid them between the two."""
    for run in (base, new):
        for guard in run.manifest.get("guards", []):
            if guard.get("severity") != BLOCK:
                continue
            name, value = str(guard.get("name", "")), str(guard.get("value", ""))
            machines = [r for r in both if class_of(run, r)[0] in MACHINES]
            sides = (value, "") if run is base else ("", value)
            for runtime in machines if name in MACHINE_GUARDS else [""]:
                yield Unlike(name, True, *sides, str(guard.get("text", "")), runtime)


def _runtime(base: RunData, new: RunData, name: str) -> Iterator[Unlike]:
    """What the box itself was: its accelerator, its budget, its versions, what it proved."""
    (old_class, old_accel), (new_class, new_accel) = class_of(base, name), class_of(new, name)
    if (old_class, old_accel) != (new_class, new_accel):
        yield Unlike(
            "accelerator", True, f"{old_class}, {old_accel}", f"{new_class}, {new_accel}",
            "What runs the code in the box differs, so this is not the same kind of box.", name,
        )  # fmt: skip
    elif is_emulated(base, name) or is_emulated(new, name):
        yield Unlike(
            "emulated", False, old_accel, new_accel, "Emulated in software: this tells how the "
            "emulator changed, and nothing of virtual machines.", name,
        )  # fmt: skip
    elif old_class in MACHINES and old_accel not in HARDWARE:
        yield Unlike(
            "accelerator", False, old_accel, new_accel,
            "Not a hardware accelerator that we can vouch for.", name,
        )  # fmt: skip
    old, fresh = _facts(base, name), _facts(new, name)
    if differ(old.get("equality"), fresh.get("equality")):
        yield Unlike(
            "equality", True, str(old["equality"]), str(fresh["equality"]),
            "Limits count inside the box in one run and on the host in the other.", name,
        )  # fmt: skip
    yield from _proof(base, new, name)
    yield from _versions(old, fresh, name)


def _proof(base: RunData, new: RunData, name: str) -> Iterator[Unlike]:
    proven = [_identical(run, name) for run in (base, new)]
    if False in proven:
        words = {True: "proven identical", False: "NOT identical", None: "not checked"}
        yield Unlike(
            "identity", True, words[proven[0]], words[proven[1]],
            "What ran in the box was not the image's own.", name,
        )  # fmt: skip


def _identical(run: RunData, name: str) -> bool | None:
    """What the runtime and its trials proved of the image; None where nothing was checked."""
    rows = run.trials[(run.trials["runtime"] == name) & (run.trials["outcome"] == Outcome.OK.value)]
    told = [found.get("identical") for found in rows["identity"]]
    told.append(_facts(run, name).get("verified", {}).get("identical"))
    if False in told:
        return False
    return True if True in told else None


def _versions(old: Mapping[str, Any], fresh: Mapping[str, Any], name: str) -> Iterator[Unlike]:
    before, after = old.get("versions", {}), fresh.get("versions", {})
    changed = [k for k in before if k in after and k != "kernel" and before[k] != after[k]]
    if changed:
        yield Unlike(
            "versions", False, listed(before, changed), listed(after, changed),
            "The runtime's own programs differ in version.", name,
        )  # fmt: skip
    was, now = set(map(str, old.get("notes", []))), set(map(str, fresh.get("notes", [])))
    if was != now:
        yield Unlike(
            "runtime_notes", False, "; ".join(sorted(was - now)) or "nothing more",
            "; ".join(sorted(now - was)) or "nothing more",
            "The runtime was set up in another way.", name,
        )  # fmt: skip


def _image(base: RunData, new: RunData, both: Sequence[str]) -> Iterator[Unlike]:
    old, fresh = base.manifest.get("image", {}), new.manifest.get("image", {})
    if differ(old.get("agent_sha256"), fresh.get("agent_sha256")):
        yield Unlike(
            "agent", True, short(old["agent_sha256"]), short(fresh["agent_sha256"]),
            "Another agent said READY: measure the base anew with this version.",
        )  # fmt: skip
    if not differ(old.get("digest"), fresh.get("digest")):
        return
    digests = short(old["digest"]), short(fresh["digest"])
    yield Unlike("image", False, *digests, "The images differ; the agent does the work here.")
    for runtime in both:
        changed = _executed_differ(base, new, runtime)
        if changed:
            yield Unlike(
                "image", True, *digests, f"The images differ in what was executed: {changed}.",
                runtime, _PROGRAMS,
            )  # fmt: skip


def _executed_differ(base: RunData, new: RunData, runtime: str) -> str:
    """Files that the same runtime executed and that are not the same; empty where all are."""
    before, after = _executed(base, runtime), _executed(new, runtime)
    if not before or not after:
        return "which files, was not recorded"
    every = sorted({*before, *after} - {AGENT_PATH})  # which has a guard of its own
    paths = [path for path in every if before.get(path) != after.get(path)]
    more = f" and {len(paths) - 2} more" if len(paths) > 2 else ""
    return ", ".join(paths[:2]) + more


def _executed(run: RunData, runtime: str) -> Mapping[str, str]:
    """Files of the image that trials of a runtime executed, by path."""
    rows = run.trials[run.trials["runtime"] == runtime]
    return {
        path: digest
        for identity in rows["identity"]
        for path, digest in (identity.get("files") or {}).items()
    }


def _scenario(base: RunData, new: RunData, both: Sequence[str]) -> Iterator[Unlike]:
    """What was asked: settings, workload, limits."""
    old, fresh = base.manifest.get("scenario", {}), new.manifest.get("scenario", {})
    if differ(old.get("name"), fresh.get("name")):
        yield Unlike(
            "scenario", False, str(old["name"]), str(fresh["name"]), "Other trials ran between "
            "these, so caches and the host's state before each can differ.",
        )  # fmt: skip
    for experiment, before, after in _settings(old, fresh):
        yield Unlike(
            "settings", True, before, after, f"The experiment {experiment} was set otherwise.",
            metrics=(f"{experiment}.",),
        )  # fmt: skip
    before, after = only_differing(old.get("workload"), fresh.get("workload"))
    if before or after:
        yield Unlike("workload", True, before, after, "Another workload ran.", metrics=_WORKLOAD)
        yield Unlike(
            "workload", False, before, after, "Another workload followed READY.",
            metrics=("startup.", "memory.", "density.", "parallel."),
        )  # fmt: skip
    yield from _limits(base, new, both)
    for name, key, part in (
        ("warm-up", "warmup_blocks", None), ("sampler", "sampler", "hz"),
    ):  # fmt: skip
        was, now = (run.get(key) for run in (old, fresh))
        if part is not None:
            was, now = ((each or {}).get(part) for each in (was, now))
        if differ(was, now) or (part is not None and was != now):
            yield Unlike(
                name, False, plain(was or "off"), plain(now or "off"),
                "What ran beside or before the measured trials differs.",
            )  # fmt: skip


def _settings(old: Mapping[str, Any], fresh: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Experiments of both whose settings differ in more than what they select or wait for."""
    kinds = {field.name: field for field in msgspec.structs.fields(Experiments)}
    first, second = old.get("experiments") or {}, fresh.get("experiments") or {}
    for name in first:
        if first.get(name) is None or second.get(name) is None:
            continue
        defaults = _defaults(kinds[name]) if name in kinds else {}
        before, after = (
            {**defaults, **(table if isinstance(table, dict) else {"launchers": table})}
            for table in (first[name], second[name])
        )
        ignored = {k for k in (*before, *after) if k in _SELECTIONS or k.endswith("timeout_s")}
        texts = only_differing(
            {k: v for k, v in before.items() if k not in ignored},
            {k: v for k, v in after.items() if k not in ignored},
        )
        if any(texts):
            yield name, *texts


def _defaults(field: Any) -> Mapping[str, Any]:
    """What an experiment's settings are where an older run does not name them."""
    parts = getattr(field.type, "__args__", (field.type,))
    kind = next(p for p in parts if isinstance(p, type) and issubclass(p, msgspec.Struct))
    return {
        each.name: msgspec.to_builtins(each.default)
        for each in msgspec.structs.fields(kind)
        if each.default is not msgspec.NODEFAULT
    }


def _limits(base: RunData, new: RunData, both: Sequence[str]) -> Iterator[Unlike]:
    old, fresh = (run.manifest.get("scenario", {}).get("limits") or {} for run in (base, new))
    names = {"cpus": "cpus", "memory_bytes": "memory", "pids": "pids"}
    changed = [key for key in names if key in old and key in fresh and old[key] != fresh[key]]
    for runtime in both if changed else ():
        held = [
            key
            for key in changed
            if any(
                _facts(run, runtime).get("limits", {}).get(names[key]) != "unsupported"
                for run in (base, new)
            )
        ]
        if held:
            yield Unlike(
                "limits", True, listed(old, held), listed(fresh, held),
                "The boxes were given other limits.", runtime,
            )  # fmt: skip


_TRIAL = {
    "storage": ("io", True), "cache": ("io", True), "aio": ("io", True),
    "host_cached": ("io", True), "device_write_cache": ("io", False),
    "filesystem": ("io", False), "host_filesystem": ("io", False),
    "mitigations_differ": ("cpu", True), "cache_box": ("startup", False),
    "cache_backing": ("startup", False), "cpu_method": ("startup", False),
}  # fmt: skip
"""Conditions of trials that are compared: their experiment, and whether they refuse."""


def _measured(base: RunData, new: RunData) -> Iterator[Unlike]:
    """How the trials were taken: their own conditions, the version, and whether all were."""
    for runtime in runtimes(base):
        yield from _failures(base, new, runtime)
        for key, (experiment, refuses) in _TRIAL.items():
            was, now = (r.last_conditions(experiment, runtime).get(key) for r in (base, new))
            if differ(was, now):
                yield Unlike(
                    key, refuses, plain(was), plain(now),
                    "The trials were taken under other conditions.", runtime,
                    ("startup.cpu",) if key == "cpu_method" else (f"{experiment}.",),
                )  # fmt: skip
    if differ(base.manifest.get("tarebench"), new.manifest.get("tarebench")):
        yield Unlike(
            "tarebench", False, str(base.manifest["tarebench"]), str(new.manifest["tarebench"]),
            "Another version measured.",
        )  # fmt: skip
    tools = [(run.manifest.get("imported") or {}).get("tool") for run in (base, new)]
    if any(tools):
        was, now = (str(tool or "tarebench") for tool in tools)
        text = "Another tool measured, and does not tell under which conditions."
        yield Unlike("imported", False, was, now, text)
    was, now = (str(run.manifest.get("outcome") or "cut off") for run in (base, new))
    if {was, now} != {"complete"}:
        yield Unlike("outcome", False, was, now, "Not all planned trials ran.")


def _failures(base: RunData, new: RunData, runtime: str) -> Iterator[Unlike]:
    """Where trials of one run failed more often: a failed one has no time, and takes none away."""
    before, after = _failed(base, runtime), _failed(new, runtime)
    for experiment in before:
        (bad, tried), (worse, again) = before[experiment], after.get(experiment, (0, 0))
        if again and bad * again != worse * tried:
            yield Unlike(
                "failures", False, f"{bad} of {tried} trials", f"{worse} of {again} trials",
                "The figures are those of the trials that succeeded.", runtime,
                (f"{experiment}.",),
            )  # fmt: skip


def _failed(run: RunData, runtime: str) -> Mapping[str, tuple[int, int]]:
    """How many measured trials failed, of how many that came to an end, by experiment."""
    rows = run.trials[(run.trials["runtime"] == runtime) & ~run.trials["warmup"]]
    ended = rows[rows["outcome"] != Outcome.INTERRUPTED.value]
    bad = ended["outcome"] != Outcome.OK.value
    return {str(name): (int(own.sum()), len(own)) for name, own in bad.groupby(ended["experiment"])}


def _facts(run: RunData, runtime: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = run.manifest.get("runtimes", {}).get(runtime, {})
    return found
