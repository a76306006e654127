"""What all tests share: the lab, a rule for skips, and a sign of life."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Generator, Iterator

import pytest

from harness.errors import RuntimeUnavailable
from harness.model import Runtime
from tests.lab import Lab, open_lab

REQUIRED = frozenset(os.environ.get("TAREBENCH_REQUIRE_RUNTIMES", "").split(",")) - {""}
"""Runtimes that must work here. Continuous integration names those that are known to."""

SIGN_OF_LIFE_S = 30.0


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The place in which boxes are started; made when the first test asks for it."""
    with open_lab() as made:
        yield made


def runtime_or_skip(lab: Lab, name: str) -> Runtime:
    """The runtime, probed and prepared; skips the test where it does not work on this host."""
    try:
        return lab.runtime(name)
    except RuntimeUnavailable as error:
        pytest.skip(f"{name}: {error.message}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that names a required runtime must not be skipped: its skip is a failure."""
    report = yield
    named = REQUIRED.intersection(re.split(r"[^a-z]+", item.nodeid))
    if report.skipped and named and not hasattr(report, "wasxfail"):
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else "skipped"
        report.outcome = "failed"
        report.longrepr = f"{why}: but {', '.join(sorted(named))} is required here"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Say now and then which test is under way, so that a long one is not taken for dead."""
    reporter = item.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return (yield)
    done = threading.Event()

    def tell() -> None:
        waited = 0.0
        while not done.wait(SIGN_OF_LIFE_S):
            waited += SIGN_OF_LIFE_S
            reporter.write_line(f"… {item.nodeid} ({waited:.0f} s)")
            reporter.flush()

    threading.Thread(target=tell, daemon=True).start()
    try:
        return (yield)
    finally:
        done.set()
