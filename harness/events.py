"""What a run tells while it goes on: facts, which only the command line turns into words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.model import Trial, TrialRecord


@dataclass(frozen=True)
class Preparing:
    """A runtime is being made ready, untimed."""

    runtime: str
    step: str


@dataclass(frozen=True)
class Skipped:
    """A runtime that was not named by the user cannot work here."""

    runtime: str
    reason: str
    remedy: str


@dataclass(frozen=True)
class Proven:
    """The unmeasured instance of a runtime was looked at."""

    runtime: str
    identical: bool | None
    note: str


@dataclass(frozen=True)
class Planned:
    """The plan is made and written; the first trial comes next."""

    trials: Sequence[Trial]


@dataclass(frozen=True)
class Began:
    """A trial begins; `left_s` estimates the rest of the run, None while unknown.

    `total` is None where a rule decides when it is enough; `goal` then says how far it is.
    """

    trial: Trial
    number: int
    total: int | None
    left_s: float | None
    goal: str = ""


@dataclass(frozen=True)
class Step:
    """What the trial under way is at, when one takes long."""

    text: str


@dataclass(frozen=True)
class Ended:
    """A trial has ended and is on the disk."""

    record: TrialRecord


@dataclass(frozen=True)
class Finishing:
    """The trials are over; what is done now takes a moment."""

    step: str


Event = Preparing | Skipped | Proven | Planned | Began | Step | Ended | Finishing
Observer = Callable[[Event], None]
