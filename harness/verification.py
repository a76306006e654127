"""The unmeasured instance: what is proven of a runtime once a run.

One instance that is never measured derives the whole image's digest from inside, answers 100
pings and shows that limits hold. On bare metal another one runs the workload traced, before
the first trial, so that every file it opens is known.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from harness.clock import Marks
from harness.errors import HarnessError
from harness.experiments import identity, limits
from harness.experiments.bench import Bench
from harness.image.manifest import differences, digest_of
from harness.model import Frozen, Instance, RuntimeClass
from harness.serving import Serves
from harness.workload import Workload

ROUND_TRIPS = 100
AUDIT_READY_S = 60.0
_SHOWN = 5


class Channel(Frozen, frozen=True):
    """Round trips of the channel; `send_to_stamp_ns` only where box and host share a clock."""

    round_trip_ns: list[int]
    send_to_stamp_ns: list[int]


class Verified(Frozen, frozen=True):
    """What the unmeasured instance of a runtime proved."""

    digest: str
    identical: bool
    note: str
    outside: list[str]
    channel: Channel


def verify(bench: Bench, ready_timeout_s: float, *, owned: bool = True) -> Verified:
    """Start the unmeasured instance and look. `owned` is False when the image's directory
    was unpacked by an ordinary user, who cannot give files their owners.

    Raises HarnessError when limits do not hold or the instance does not start.
    """
    with bench.instance(Marks(), ready_timeout_s) as instance:
        trips = [instance.round_trip_ns() for _ in range(ROUND_TRIPS)]
        wrong = limits.mismatches(
            instance, bench.runtime.runtime_class, bench.limits, bench.facts.limits
        )
        if wrong:
            raise HarnessError(f"limits do not hold: {'; '.join(wrong)}")
        found = instance.derive_manifest()
    channel = Channel(
        round_trip_ns=[trip for trip, _ in trips],
        send_to_stamp_ns=[delay for _, delay in trips if delay is not None],
    )
    digest, identical, note = _judge(bench, found, owned)
    outside = bench.outside
    if outside:
        note = f"the workload opened files beyond the image: {', '.join(outside[:_SHOWN])}"
    return Verified(
        digest=digest, identical=identical and not outside, note=note,
        outside=list(outside), channel=channel,
    )  # fmt: skip


def audit(bench: Bench, executed: Sequence[Workload]) -> tuple[str, ...]:
    """What jobs open or map beyond the image and the allow-list, by tracing them."""
    opened: dict[str, None] = {}
    with bench.instance(Marks(), AUDIT_READY_S) as instance:
        scratch = instance.scratch()
        for workload in executed:
            seen = _traced(instance, workload, scratch)
            opened |= dict.fromkeys(identity.opened_outside(bench.image, seen, scratch))
    return tuple(opened)


def _traced(instance: Instance, workload: Workload, scratch: str) -> Sequence[str]:
    """What a job opens until its end, and a service until its first answer."""
    service = workload.serving(scratch, trace=True)
    if service is None:
        return instance.run(workload.job(scratch, trace=True)).opened
    assert isinstance(instance, Serves)
    return instance.serve(service).opened


def failed(why: str) -> Verified:
    """What stands for a runtime whose unmeasured instance did not come to its proof."""
    return Verified(
        digest="", identical=False, note=f"not verified: {why}", outside=[],
        channel=Channel(round_trip_ns=[], send_to_stamp_ns=[]),
    )  # fmt: skip


def _is_hidden(root: Path, path: str) -> bool:
    """Whether this user may not look at a path of an image that belongs to someone else."""
    whole = root / path.lstrip("/")
    above = [parent for parent in whole.parents if parent.is_relative_to(root)]
    if not all(os.access(parent, os.R_OK | os.X_OK) for parent in above):
        return True
    return whole.exists() and not os.access(whole, os.R_OK)


def _judge(bench: Bench, found: bytes, owned: bool) -> tuple[str, bool, str]:
    digest = digest_of(found)
    if digest == bench.image.digest:
        return digest, True, ""
    expected = bench.image.manifest.read_bytes()
    other = differences(expected, found, ignore_ownership=not owned)
    if not other:
        return digest, True, "identical but for owners, which an ordinary user cannot set"
    hidden = [line for line in other if _is_hidden(bench.image.root, line.rpartition(": ")[0])]
    if bench.runtime.runtime_class is RuntimeClass.BARE and len(hidden) == len(other):
        return digest, True, f"identical but for {len(hidden)} paths that only root can read"
    shown = ", ".join(other[:_SHOWN]) + (
        f" and {len(other) - _SHOWN} more" if other[_SHOWN:] else ""
    )
    return digest, False, f"differs from the image: {shown}"
