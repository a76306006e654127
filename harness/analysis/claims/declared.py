"""The file of claims: sentences, each with small checks that were fixed before any data.

A check says which metric of which boxes is looked at, beside what, and at which margin; it says
nothing of runs. docs/claims.md tells how to write one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from harness import resources
from harness.errors import UsageError
from harness.model import RuntimeClass

CLASSES: Mapping[str, tuple[RuntimeClass, ...]] = {
    "bare": (RuntimeClass.BARE,),
    "jail": (RuntimeClass.JAIL,),
    "container": (RuntimeClass.CONTAINER,),
    "sandbox": (RuntimeClass.SANDBOX,),
    "vm": (RuntimeClass.MACHINE, RuntimeClass.EMULATED),
}
"""The words for classes of boxes. An emulated machine is looked at as a machine, and then decides
nothing, so that its reader sees why."""


class _Check(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind"):
    """`says` is the part of the claim that it asks; `run` and `needs` what would decide it."""

    says: str
    of: str = ""
    run: str = ""
    needs: str = ""


class Share(_Check, frozen=True, tag="share"):
    """More than a share of the trials of each box has a value below a limit (base unit)."""

    metric: str = ""
    where: dict[str, str] = {}
    below: float = 0.0
    more_than: float = 0.5


class Cost(_Check, frozen=True, tag="cost"):
    """How many times as dear `of` is as `beside`; for a metric where more is better, the inverse.

    Without `beside`, a box is set beside itself with the dimensions `beside_where`. Each value
    of the dimensions `each` is looked at by itself.
    """

    metrics: list[str] = []
    beside: str = ""
    where: dict[str, str] = {}
    beside_where: dict[str, str] = {}
    each: list[str] = []
    at_least: float | None = None
    at_most: float | None = None

    @property
    def limit(self) -> float:
        """The ratio that decides."""
        found = self.at_least if self.at_least is not None else self.at_most
        assert found is not None
        return found


class Fact(_Check, frozen=True, tag="fact"):
    """Every value of each box lies within limits; looked up, not timed, so without an interval."""

    metric: str = ""
    where: dict[str, str] = {}
    at_least: float | None = None
    at_most: float | None = None


class Identical(_Check, frozen=True, tag="identical"):
    """Each box proved from inside that it holds the run's image."""


class Open(_Check, frozen=True, tag="open"):
    """What no metric tells, and `why`."""

    why: str = ""


Check = Share | Cost | Fact | Identical | Open


class Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One sentence. `include` names claims whose checks are asked too."""

    id: str
    says: str
    checks: list[Check] = []
    include: list[str] = []


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    claim: list[Claim]


def metrics_of(check: Check) -> Sequence[str]:
    """The metrics that a check looks at."""
    if isinstance(check, Cost):
        return check.metrics
    return [check.metric] if isinstance(check, Share | Fact) else []


def read(path: Path | None = None) -> tuple[Claim, ...]:
    """All claims in the order of the file, those that they include resolved.

    Raises UsageError, naming the claim, for a file that does not hold to its form.
    """
    path = path or resources.claims()
    try:
        found = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), _File).claim
        names = [claim.id for claim in found]
        if len(set(names)) < len(names):
            raise ValueError("two claims have the same id")
        for fault in (fault for claim in found for fault in _faults(claim, names)):
            raise ValueError(fault)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the claims in {path.name} cannot be read: {error}",
            "docs/claims.md tells how a claim is written",
        ) from error
    by_name = {claim.id: claim for claim in found}
    return tuple(
        msgspec.structs.replace(
            claim, checks=[*claim.checks, *(c for n in claim.include for c in by_name[n].checks)]
        )
        for claim in found
    )


def _faults(claim: Claim, names: Sequence[str]) -> Iterator[str]:
    unknown = [name for name in claim.include if name not in names or name == claim.id]
    if unknown:
        yield f"{claim.id} includes {unknown[0]!r}, which is no other claim"
    if not claim.checks and not claim.include:
        yield f"{claim.id} has no check"
    for check in claim.checks:
        if isinstance(check, Open):
            continue
        for metric in metrics_of(check):
            if not metric:
                yield f"{claim.id}: {check.says!r} names no metric"
        limits = (check.at_least, check.at_most) if isinstance(check, Cost | Fact) else (0, None)
        if isinstance(check, Cost) and (not check.metrics or None not in limits):
            yield f"{claim.id}: {check.says!r} needs metrics, and one of at_least and at_most"
        if limits == (None, None):
            yield f"{claim.id}: {check.says!r} has no limit"
