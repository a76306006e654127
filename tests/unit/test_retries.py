"""A failed launch is tried again only where the scenario says so, and each time is counted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest

from harness import runner
from harness.errors import DeadlineExceeded, HarnessError, LaunchFailed
from harness.experiments.bench import Bench, Measurement
from harness.journal import Journal, records
from harness.lineup import Entrant, Lineup
from harness.model import RuntimeClass, Trial, TrialRecord
from harness.probes.conditions import Weather
from harness.probes.sampling import Sampling
from harness.scenario import load


def attempt(
    folder: Path, patch: pytest.MonkeyPatch, ends: Iterator[HarnessError | None], retries: int
) -> TrialRecord:
    """A trial whose tries end one after another as told; returns its record."""

    def experiment(bench: Bench) -> Measurement:
        if error := next(ends):
            raise error
        return Measurement(conditions={"measured": True})

    patch.setattr(runner, "_experiment", lambda name, scenario: experiment)
    runtime = SimpleNamespace(runtime_class=RuntimeClass.CONTAINER)
    bench: Any = SimpleNamespace(
        runtime=runtime, facts=SimpleNamespace(accel="none"), sampling=Sampling.off()
    )
    lineup = Lineup({"box": Entrant(cast("Bench", bench))}, {})
    scenario = msgspec.structs.replace(load("quick", runtimes=["fake"]), retries=retries)
    with Journal(folder) as journal, Weather() as weather:
        runner.run_trial(Trial("0", "startup", "box", 0, 0), lineup, scenario, journal, weather)
    (record,) = records(folder)
    return record


def at_launch(error: HarnessError) -> HarnessError:
    error.at_launch = True
    return error


def failures(count: int) -> Iterator[HarnessError | None]:
    yield from (at_launch(LaunchFailed(f"no {number}")) for number in range(1, count + 1))
    yield None


@pytest.mark.parametrize(
    ("failing", "retries", "outcome", "counted"),
    [(0, 3, "ok", None), (1, 0, "failed", None), (2, 3, "ok", 2), (5, 3, "failed", 3)],
)
def test_launches_are_tried_again_so_often(
    failing: int, retries: int, outcome: str, counted: int | None,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    record = attempt(tmp_path, monkeypatch, failures(failing), retries)
    assert record.outcome == outcome
    assert record.conditions.get("retries") == counted
    told = "; ".join(f"no {number}" for number in range(1, (counted or 0) + 1))
    assert record.conditions.get("retried", "") == told
    assert record.conditions.get("measured", False) == (outcome == "ok")


def test_launch_that_was_late_is_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = iter([at_launch(DeadlineExceeded("late")), None])
    assert attempt(tmp_path, monkeypatch, ends, retries=1).outcome == "ok"


def test_what_fails_after_the_launch_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = attempt(tmp_path, monkeypatch, iter([HarnessError("the job"), None]), retries=3)
    assert (record.outcome, record.reason) == ("failed", "the job")
    assert "retries" not in record.conditions


@pytest.mark.parametrize(
    ("passed_over", "outcome", "reason"),
    [((), "interrupted", "interrupted by the user"), ((LaunchFailed,), "ok", "")],
)
def test_an_interruption_whose_teardown_fails_is_still_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    passed_over: tuple[type[Exception], ...],
    outcome: str,
    reason: str,
) -> None:
    """An ExitStack lets the failure of one callback stand for that of the callback before it."""

    def torn_down() -> Iterator[HarnessError | None]:
        with suppress(*passed_over), ExitStack() as stack:
            stack.callback(fail)
            stack.callback(signal.raise_signal, signal.SIGINT)
        yield None

    def fail() -> None:
        raise at_launch(LaunchFailed("the group is busy"))

    with pytest.raises(KeyboardInterrupt), runner._interruptible():
        attempt(tmp_path, monkeypatch, torn_down(), retries=3)
    (record,) = records(tmp_path)
    assert (record.outcome, record.reason) == (outcome, reason)
    assert "retries" not in record.conditions
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    (tmp_path / "next").mkdir()
    assert attempt(tmp_path / "next", monkeypatch, failures(0), 0).outcome == "ok"
