"""Guards that come from the course of a run: who else ran, how it was cut off, what was retried.

Each is a pure function of what is known then. The text is always the same, so that reports can
translate it; what happened this time stands in the value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from harness.clock import duration_text
from harness.model import TrialRecord
from harness.probes.guards import WARN, Guard


def alone(others: Sequence[str]) -> Sequence[Guard]:
    """A warning where other runs of tarebench went on beside this one (`--force`)."""
    if not others:
        return []
    return [
        Guard(
            name="alone", value=f"beside {', '.join(others)}", severity=WARN,
            text="Another run of tarebench went on at the same time, because --force was given: "
            "each has disturbed the other.", remedy="run one at a time",
        )
    ]  # fmt: skip


def resumed(
    earlier: Mapping[str, Any],
    done: Sequence[TrialRecord],
    host: Mapping[str, Any],
    now: datetime,
) -> Sequence[Guard]:
    """How a run was cut off and gone on with, each time that it was.

    `earlier` is the manifest as it was found, `done` what its journal held, `host` the facts of
    the host now.
    """
    before = [each for each in earlier["guards"] if each["name"] == "resumed"]
    then = earlier["host"]
    changed = [
        word
        for key, word in (("boot_id", "in another boot"), ("kernel", "under another kernel"))
        if then.get(key) != host.get(key)
    ]
    gap_s = (now - _last_seen(earlier, done)).total_seconds()
    text = (
        "The run was cut off and resumed in another boot of the host: its parts were measured "
        "at different times, and what was in memory before was not there after."
        if changed
        else "The run was cut off and resumed: its parts were measured at different times."
    )
    value = ", ".join([f"after {duration_text(gap_s)}", *changed])
    guard = Guard(name="resumed", value=value, severity=WARN, text=text)
    return [*msgspec.convert(before, list[Guard]), guard]


def _last_seen(earlier: Mapping[str, Any], done: Sequence[TrialRecord]) -> datetime:
    """When the part before is known to have gone on last: at the end of its last trial."""
    if not done:
        return datetime.fromisoformat(earlier["started_utc"])
    last = done[-1]
    return datetime.fromisoformat(last.started_utc) + timedelta(seconds=last.wall_s)


def retried(records: Iterable[TrialRecord]) -> Sequence[Guard]:
    """A warning where launches failed and were tried again, as the scenario allows."""
    found: dict[str, int] = {}
    for record in records:
        count = record.conditions.get("retries")
        if isinstance(count, int) and count:
            found[record.runtime] = found.get(record.runtime, 0) + count
    if not found:
        return []
    return [
        Guard(
            name="retried", severity=WARN,
            value=", ".join(f"{name}: {n} time{'s' if n > 1 else ''}" for name, n in found.items()),
            text="Launches failed and were tried again, as the scenario allows: only the last try "
            "counts, so these runtimes fail more often than their success rates say.",
        )
    ]  # fmt: skip
