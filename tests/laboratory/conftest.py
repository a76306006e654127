"""The lab's own suite: `make test-lab`. Each test is a use of a machine in the lab.

A use takes minutes, so what has passed on this very checkout is not done again: it is known by
the digest of the checkout's files, and told in the table as it was. Nothing begins, and no command
goes on, when LAB_MINUTES (60) are over: the next `make test-lab` goes on with what is left. The
table at the end has a row a profile: what passed, failed and is left, how many checks ran inside,
and how long they took.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.clock import Deadline
from harness.journal import records
from harness.lab.recipe import PROFILES
from harness.model import Outcome
from tests.command import Place, Said
from tests.kept import on_this_checkout

_PASSED = re.compile(r"\b(\d+) passed\b")
_MINUTES = float(os.environ.get("LAB_MINUTES", "60"))
_LEAST_S = 120.0
"""With less time left nothing begins: a machine is hardly up by then."""
_ENDING_S = 300.0
"""What bringing runs back and ending a machine may take when a command's time is over."""


@dataclass
class Lab:
    """The command `tarebench lab`, in a folder of the test's own, into which runs are brought."""

    place: Place
    profile: str
    deadline: Deadline
    checks: int = 0

    @property
    def runs(self) -> Path:
        """Where the runs are brought to."""
        return self.place.folder / "results" / "runs"

    def run(self, *command: str, options: tuple[str, ...] = ()) -> Said:
        """A command inside, to its end; the tests that it says to have passed are counted."""
        limit = f"{max(1.0, self.deadline.left_s()):.0f}s"
        said = self.place.tarebench(
            "lab", "run", "--profile", self.profile, "--limit", limit, *options, "--", *command
        )
        if said.status != 0 and self.deadline.over:
            pytest.skip("its time was over: make test-lab begins it again")
        found = _PASSED.findall(said.out)
        self.checks += int(found[-1]) if found else 1
        return said

    def contract(self, chosen: str, *required: str) -> None:
        """The contract suite inside, on the runtimes that pytest's -k chooses; all of it passes.

        Without its slow tests, which are for a processor that is not software. A required
        runtime that cannot start is a failure there, and not skipped.
        """
        said = self.run(
            "env", f"TAREBENCH_REQUIRE_RUNTIMES={','.join(required)}",
            "python", "-m", "pytest", "tests/contract", "-q", "-k", chosen, "-m", "not slow",
            "-p", "no:cacheprovider", "-o", "timeout=1800",
        )  # fmt: skip
        assert said.status == 0, said.out[-6000:]
        assert " passed" in said.out

    def only_run(self) -> Path:
        """The one run that was brought back."""
        (folder,) = self.runs.iterdir()
        return folder


def runtimes(*names: str) -> tuple[str, ...]:
    return tuple(word for name in names for word in ("--runtime", name))


def check_complete(run: Path) -> None:
    """Every planned trial is stored, once, and went well."""
    planned = [trial["trial"] for trial in json.loads((run / "manifest.json").read_text())["plan"]]
    stored = {record.trial: record for record in records(run)}
    assert sorted(stored) == sorted(planned)
    bad = {trial: r.reason for trial, r in stored.items() if r.outcome is not Outcome.OK}
    assert not bad


@pytest.fixture(scope="session")
def table(request: pytest.FixtureRequest) -> Table:
    """The one table, which also knows when the time is over."""
    found = request.config.pluginmanager.get_plugin(_NAME)
    assert isinstance(found, Table)
    return found


@pytest.fixture(scope="module")
def profile(
    request: pytest.FixtureRequest, table: Table, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """The profile that the module is named after, its disk built and its machine's state saved."""
    name = _profile_of(request.path)
    table.require_time()
    place = Place(tmp_path_factory.mktemp(name), time_limit_s=table.deadline.left_s() + _ENDING_S)
    begun = time.monotonic()
    said = place.tarebench("lab", "build", "--profile", name, "--boot-limit", "20m")
    table.built[name] = time.monotonic() - begun
    assert said.status == 0, said.err[-6000:]
    return name


@pytest.fixture
def lab(
    request: pytest.FixtureRequest, table: Table, profile: str, tmp_path: Path
) -> Iterator[Lab]:
    """The lab of that profile."""
    table.require_time()
    place = Place(tmp_path, time_limit_s=table.deadline.left_s() + _ENDING_S, drawn=True)
    made = Lab(place, profile, table.deadline)
    yield made
    request.node.user_properties.append(("checks", made.checks))
    assert place.tarebench("clean", "--dry-run").out == "", "something is left of the lab"


class Table:
    """What passed before (its seconds, and the checks inside), what passes now, what is left, and
    the table of all."""

    def __init__(self) -> None:
        self.deadline = Deadline(_MINUTES * 60 - _ENDING_S)
        self.asked: list[str] = []
        self.built: dict[str, float] = {}
        self._kept = {name: on_this_checkout(f"lab-{name}.json") for name in PROFILES}
        self.failed: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Skip what has passed on this checkout; AGAIN=1 asks for all."""
        order = {name: place for place, name in enumerate(PROFILES)}
        items.sort(key=lambda item: order.get(_profile_of(item.path), len(order)))
        self.asked = [item.nodeid for item in items]
        if not os.environ.get("AGAIN"):
            for item in items:
                if item.nodeid in self._kept[_profile_of(item.path)].told:
                    item.add_marker(pytest.mark.skip(reason="it passed on this very checkout"))

    def require_time(self) -> None:
        """Skip where hardly any is left."""
        if self.deadline.left_s() < _LEAST_S:
            pytest.skip(f"{_MINUTES:g} minutes are over: make test-lab goes on with it")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep each that passes."""
        kept = self._kept[_profile_of(Path(report.fspath))]
        if report.failed:
            self.failed[report.nodeid] = report.duration
            kept.drop(report.nodeid)
        elif report.when == "call" and report.passed:
            self._seconds[report.nodeid] = report.duration
        elif report.when == "teardown" and report.nodeid in self._seconds:
            checks = dict(report.user_properties)["checks"]
            assert isinstance(checks, int)
            kept.keep(report.nodeid, [self._seconds[report.nodeid], checks])

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One row a profile that was asked for."""
        terminalreporter.section("the lab, on this checkout")
        for line in self.lines():
            terminalreporter.write_line(line)

    def lines(self) -> Iterator[str]:
        """The table's: minutes are those of what has passed, and of the disk if it was made."""
        names = ("passed", "failed", "left", "checks", "min")
        yield f"{'profile':<10}" + "".join(f"{name:>8}" for name in names)
        for profile, kept in self._kept.items():
            asked = [name for name in self.asked if f"/test_{profile}.py::" in name]
            if not asked:
                continue
            own = [*kept.told.values()]
            bad = sum(name in self.failed for name in asked)
            left = sum(name not in kept.told and name not in self.failed for name in asked)
            checks = sum(int(each[1]) for each in own)
            minutes = (sum(each[0] for each in own) + self.built.get(profile, 0.0)) / 60
            yield f"{profile:<10}{len(own):>8}{bad:>8}{left:>8}{checks:>8}{minutes:>8.1f}"


def _profile_of(module: Path) -> str:
    return module.stem.removeprefix("test_")


_NAME = "tarebench-lab-table"


def pytest_configure(config: pytest.Config) -> None:
    """Registers the table."""
    if not config.option.collectonly:
        config.pluginmanager.register(Table(), _NAME)
