"""Deep tests within a time: `make test-all`, which goes on with what it left.

Slow tests and benchmarks take hours together. With TEST_MINUTES they come last, none begins when
that time is over, and what has passed on this very checkout is not done again (AGAIN=1 does it):
so two or three `make test-all` do all, and each says what it did and what is left.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePath

import pytest

from harness.clock import Deadline
from tests.kept import Kept

VARIABLE = "TEST_MINUTES"
LONGEST_S = 600.0
"""What a deep test that has begun may still take, and what ends the session."""
_FIRST = ("integration", "benchmarks", "contract")
"""The folders whose deep tests come first: kills, leaks, bad input and ordinary users."""


def is_deep(item: pytest.Item) -> bool:
    """Whether only `make test-all` runs it."""
    return any(item.get_closest_marker(mark) for mark in ("slow", "benchmark"))


class Budget:
    """When the time is over, and which deep tests passed, now and before."""

    def __init__(self, minutes: float, kept: Kept) -> None:
        self._minutes = minutes
        self._deadline = Deadline(minutes * 60 - LONGEST_S)
        self._kept = kept
        self._before = 0
        self._passed: dict[str, float] = {}
        self._to_do: set[str] = set()
        self._left: list[str] = []

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Deep tests last, those that passed on this checkout skipped."""
        deep = sorted(filter(is_deep, items), key=_turn)
        items[:] = [item for item in items if not is_deep(item)] + deep
        for item in deep:
            if item.nodeid in self._kept.told and not os.environ.get("AGAIN"):
                self._before += 1
                item.add_marker(pytest.mark.skip(reason="it passed on this very checkout"))
            else:
                self._to_do.add(item.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Nothing deep begins late."""
        if item.nodeid in self._to_do and self._deadline.over:
            self._left.append(item.nodeid)
            pytest.skip(f"{self._minutes:g} minutes are over: make test-all goes on with it")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep each deep test that passes, once it has cleaned up."""
        if report.nodeid not in self._to_do:
            return
        if report.failed:
            self._passed.pop(report.nodeid, None)
            self._kept.drop(report.nodeid)
        elif report.passed and report.when == "call":
            self._passed[report.nodeid] = report.duration
        elif report.when == "teardown" and report.nodeid in self._passed:
            self._kept.keep(report.nodeid, [self._passed[report.nodeid]])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """What was done and what is left."""
        terminalreporter.section("deep tests, on this checkout")
        for line in self.lines():
            terminalreporter.write_line(line)

    def lines(self) -> Sequence[str]:
        """The sum, and what is left by module."""
        spent = sum(self._passed.values()) / 60
        left: dict[str, int] = {}
        for name in self._left:
            module = name.partition("::")[0]
            left[module] = left.get(module, 0) + 1
        first = (
            f"{len(self._passed)} passed in {spent:.0f} min, {self._before} before, "
            f"{len(self._left)} left"
        )
        return [first, *(f"  left in {module}: {count}" for module, count in left.items())]


def _turn(item: pytest.Item) -> int:
    folder = PurePath(item.nodeid).parts[1]
    return _FIRST.index(folder) if folder in _FIRST else len(_FIRST)
