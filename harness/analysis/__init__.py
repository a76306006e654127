"""Reads stored runs and turns them into numbers with their uncertainty.

Nothing here talks to a live runtime, and nothing needs Linux: a run that was measured on one
machine is read, compared and reported on any other.

The names below are the door for notebooks and programs (docs/analysis-api.md): runs in, pandas
out. They load when they are first used, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.analysis.api import (
        answers,
        by_block,
        demo,
        demos,
        fact_table,
        load,
        medians,
        phase_table,
        published_figures,
        question,
        ratios,
        readable,
        rung_table,
    )
    from harness.analysis.frames import RunData
    from harness.analysis.guesses import check_answers, check_guesses, guesses_beside
    from harness.analysis.language import speak
    from harness.analysis.statistics import Estimate, Interval, difference, median, ratio

__all__ = [
    "Estimate",
    "Interval",
    "RunData",
    "answers",
    "by_block",
    "check_answers",
    "check_guesses",
    "demo",
    "demos",
    "difference",
    "fact_table",
    "guesses_beside",
    "load",
    "median",
    "medians",
    "phase_table",
    "published_figures",
    "question",
    "ratio",
    "ratios",
    "readable",
    "rung_table",
    "speak",
]

_ELSEWHERE = {
    "RunData": "frames",
    "speak": "language",
    **dict.fromkeys(("check_answers", "check_guesses", "guesses_beside"), "guesses"),
    **dict.fromkeys(("Estimate", "Interval", "difference", "median", "ratio"), "statistics"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_ELSEWHERE.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
