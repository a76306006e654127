"""The lab's own suite: `make test-lab`. Each test is a use of a machine in the lab.

A use takes minutes, so what has passed on this very checkout is not done again: it is known by
the digest of the checkout's files, and told in the table as it was. The table at the end has a
row a profile: what passed, how many checks ran inside, and how long they took.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.journal import records
from harness.lab import project
from harness.lab.recipe import PROFILES
from harness.model import Outcome
from tests.command import Place, Said

KEPT = project.checkout() / "results" / "runs" / "lab.json"
"""What has passed: by the checkout's digest and the test, its seconds and its checks inside."""
_PASSED = re.compile(r"\b(\d+) passed\b")


@dataclass
class Lab:
    """The command `tarebench lab`, in a folder of the test's own, into which runs are brought."""

    place: Place
    profile: str
    checks: int = 0

    @property
    def runs(self) -> Path:
        """Where the runs are brought to."""
        return self.place.folder / "results" / "runs"

    def run(self, *command: str, options: tuple[str, ...] = ()) -> Said:
        """A command inside, to its end; the tests that it says to have passed are counted."""
        said = self.place.tarebench(
            "lab", "run", "--profile", self.profile, *options, "--", *command
        )
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


@pytest.fixture
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """The lab of the profile that the test's module is named after."""
    profile = request.module.__name__.rpartition("test_")[2]
    place = Place(tmp_path, time_limit_s=3600.0, drawn=True)
    made = Lab(place, profile)
    yield made
    request.node.user_properties.append(("checks", made.checks))
    assert place.tarebench("clean", "--dry-run").out == "", "something is left of the lab"


class Table:
    """What passed before, what passes now, and the table of both."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256(project.archive()).hexdigest()[:16]
        self.kept: dict[str, list[float]] = {}
        if KEPT.is_file():
            self.kept = json.loads(KEPT.read_text()).get(self.digest, {})
        self.failed: dict[str, float] = {}
        self._seconds: dict[str, float] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Skip what has passed on this checkout; AGAIN=1 asks for all."""
        if not os.environ.get("AGAIN"):
            for item in items:
                if item.nodeid in self.kept:
                    item.add_marker(pytest.mark.skip(reason="it passed on this very checkout"))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep each that passes at once: the next may take this machine down."""
        if report.failed:
            self.failed[report.nodeid] = report.duration
        elif report.when == "teardown" and report.nodeid not in self.failed:
            checks = dict(report.user_properties).get("checks")
            if isinstance(checks, int) and checks:
                self.kept[report.nodeid] = [self._seconds.get(report.nodeid, 0.0), checks]
                KEPT.parent.mkdir(parents=True, exist_ok=True)
                KEPT.write_text(json.dumps({self.digest: self.kept}, indent=1))
        if report.when == "call":
            self._seconds[report.nodeid] = report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """One row a profile."""
        terminalreporter.section("the lab, on this checkout")
        terminalreporter.write_line(
            f"{'profile':<10}{'passed':>8}{'failed':>8}{'checks':>8}{'min':>8}"
        )
        for profile in PROFILES:
            own = [told for name, told in self.kept.items() if f"/test_{profile}.py" in name]
            bad = sum(f"/test_{profile}.py" in name for name in self.failed)
            checks, minutes = sum(int(each[1]) for each in own), sum(each[0] for each in own) / 60
            terminalreporter.write_line(
                f"{profile:<10}{len(own):>8}{bad:>8}{checks:>8}{minutes:>8.1f}"
            )


def pytest_configure(config: pytest.Config) -> None:
    """Registers the table."""
    if not config.option.collectonly:
        config.pluginmanager.register(Table())
