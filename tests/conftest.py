"""What all tests share: the lab, a rule for skips, and a sign of life."""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path

import hypothesis
import pytest

from harness import alone
from harness.errors import RuntimeUnavailable
from harness.model import Runtime
from tests import budget, ordinary
from tests.hoststate import of_any_run, settled
from tests.kept import on_this_checkout
from tests.lab import Lab, open_lab

REQUIRED = frozenset(os.environ.get("TAREBENCH_REQUIRE_RUNTIMES", "").split(",")) - {""}
"""Runtimes that must work here. Continuous integration names those that are known to."""

SIGN_OF_LIFE_S = 30.0
_TESTS = Path(__file__).resolve().parent


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """The place in which boxes are started; made when the first test asks for it."""
    with open_lab() as made:
        yield made


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Without the rights of root, as far as this process has them."""
    if os.geteuid() != 0:
        pytest.skip("this test gives rights up, and has none")
    os.setresuid(ordinary.NAMED, ordinary.NAMED, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


@pytest.fixture(scope="session", autouse=True)
def nothing_of_the_suite_is_left() -> Iterator[None]:
    """What there is of runs on this host is the same after the last test as before the first:
    processes, mounts, interfaces, control groups, folders, containers; machines are processes."""
    if not sys.platform.startswith("linux"):
        yield
        return
    before = of_any_run()
    yield
    assert settled(lambda: sorted(of_any_run() - before)) == []


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
    """Where a runtime is required, a test that names it must start: else it is a failure.

    A test that starts may still skip what a runtime does not claim to do. A skip that a fixture
    decides is told of where it was decided, and not at each test: so the summary has one line for
    each runtime that does not work here, with its reason and how many tests that is.
    """
    report = yield
    if report.skipped and call.excinfo is not None and isinstance(report.longrepr, tuple):
        place = call.excinfo.traceback.filter(call.excinfo)[-1]
        if Path(place.path).is_relative_to(_TESTS):
            report.longrepr = (str(place.path), place.lineno + 1, report.longrepr[2])
    boxes = any(item.get_closest_marker(mark) for mark in ("contract", "integration"))
    named = REQUIRED.intersection(re.split(r"[^a-z-]+", item.nodeid))
    if boxes and named and report.skipped and report.when == "setup":
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else "skipped"
        report.outcome = "failed"
        report.longrepr = f"{why}: but {', '.join(sorted(named))} is required here"
    return report


class Figures:
    """What tests count rather than assert, told at the end of the session."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, ...], int] = {}

    def count(self, *words: str, more: int = 1) -> None:
        """One more (or several) of what these words name, from the general to the particular."""
        self._counts[words] = self._counts.get(words, 0) + more

    def lines(self) -> Sequence[str]:
        """Each count behind its words, and one of all that begin alike."""
        found = dict(self._counts)
        for words, count in self._counts.items():
            for length in range(1, len(words)):
                found[words[:length]] = found.get(words[:length], 0) + count
        return [f"{'  ' * (len(w) - 1)}{w[-1]}: {n}" for w, n in sorted(found.items())]

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._counts:
            terminalreporter.section("figures")
            for line in self.lines():
                terminalreporter.write_line(line)


_FIGURES: pytest.StashKey[Figures] = pytest.StashKey()


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    """Counts that are printed at the end."""
    return pytestconfig.stash[_FIGURES]


class SignOfLife:
    """Says now and then which test is under way, so that a long one is not taken for dead.

    It writes to a copy of standard output, because pytest captures the real one in a test.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._test = "collecting"
        self._output = os.dup(1)
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def pytest_sessionstart(self) -> None:
        self._thread.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._test = nodeid

    def pytest_sessionfinish(self) -> None:
        self._over.set()
        self._thread.join()
        os.close(self._output)

    def _tell(self) -> None:
        while not self._over.wait(SIGN_OF_LIFE_S):
            os.write(self._output, f"\n… {self._test}\n".encode())


def pytest_configure(config: pytest.Config) -> None:
    """Registers what is told above; how long an example takes is the machine's affair.

    The runs of one session of tests refuse each other, and not those of another: nothing that
    tests assert is a measurement.
    """
    os.environ[alone.VARIABLE] = f"tests-{os.getpid()}"
    hypothesis.settings.register_profile("house", deadline=None)
    hypothesis.settings.load_profile("house")
    config.pluginmanager.register(SignOfLife())
    config.stash[_FIGURES] = Figures()
    config.pluginmanager.register(config.stash[_FIGURES])
    if minutes := float(os.environ.get(budget.VARIABLE, "0")):
        config.pluginmanager.register(budget.Budget(minutes, on_this_checkout("tests.json")))
