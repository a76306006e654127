"""Guards that come from the course of a run: resumed, beside another, retried."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from harness.model import Outcome, TrialRecord
from harness.probes import course

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOST = {"boot_id": "one", "kernel": "6.1"}
EARLIER = {"guards": [], "host": HOST, "started_utc": BEGAN.isoformat()}


def record(runtime: str = "runc", minute: int = 0, **conditions: str | int) -> TrialRecord:
    return TrialRecord(
        trial="00000", experiment="startup", runtime=runtime, runtime_class="OS-level",
        accel="none", block=0, position=0, warmup=False, outcome=Outcome.OK, reason="",
        started_utc=(BEGAN + timedelta(minutes=minute)).isoformat(), wall_s=30.0,
        conditions=dict(conditions),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("later", "value"),
    [
        (timedelta(seconds=42), "after 12 s"),
        (timedelta(minutes=6), "after 6 min"),
        (timedelta(hours=3, minutes=20, seconds=30), "after 3 h 20 min"),
        (timedelta(days=5), "after 5 days"),
        (timedelta(hours=-1), "after 0 s"),
    ],
)
def test_gap_counts_from_the_end_of_the_last_trial(later: timedelta, value: str) -> None:
    (guard,) = course.resumed(EARLIER, [record()], HOST, BEGAN + later)
    assert (guard.name, guard.value, guard.severity) == ("resumed", value, "warn")


def test_run_without_a_trial_was_last_seen_when_it_began() -> None:
    (guard,) = course.resumed(EARLIER, [], HOST, BEGAN + timedelta(seconds=7))
    assert guard.value == "after 7 s"


@pytest.mark.parametrize(
    ("host", "value"),
    [
        (HOST | {"boot_id": "two"}, "after 10 s, in another boot"),
        ({"boot_id": "two", "kernel": "6.2"}, "after 10 s, in another boot, under another kernel"),
    ],
)
def test_change_of_boot_is_noted(host: Mapping[str, Any], value: str) -> None:
    (guard,) = course.resumed(EARLIER, [], host, BEGAN + timedelta(seconds=10))
    assert guard.value == value
    assert "another boot" in guard.text


def test_each_time_that_a_run_was_cut_off_is_kept() -> None:
    first = course.resumed(EARLIER, [record()], HOST, BEGAN + timedelta(minutes=1))
    earlier = {**EARLIER, "guards": msgspec.to_builtins(list(first))}
    later = BEGAN + timedelta(minutes=6)
    both = course.resumed(earlier, [record(), record(minute=4)], HOST, later)
    assert [guard.value for guard in both] == ["after 30 s", "after 90 s"]


def test_other_runs_are_named() -> None:
    assert course.alone([]) == []
    (guard,) = course.alone(["density-1 (pid 7)", "quick-2 (pid 8)"])
    assert guard.value == "beside density-1 (pid 7), quick-2 (pid 8)"


def test_retries_are_counted_by_runtime() -> None:
    assert course.retried([record(), record("docker")]) == []
    (guard,) = course.retried([record(retries=1), record("docker"), record(retries=2)])
    assert guard.value == "runc: 3 times"
