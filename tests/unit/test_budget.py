"""Deep tests in a time: they come last, none begins late, and the next session goes on."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.kept import Kept

_CONFTEST = """
from pathlib import Path
from tests.budget import LONGEST_S, Budget
from tests.kept import Kept

def pytest_configure(config):
    for mark in ("slow", "benchmark"):
        config.addinivalue_line("markers", mark)
    kept = Kept(Path({folder!r}) / "kept.json", "one")
    config.pluginmanager.register(Budget({seconds} / 60 + LONGEST_S / 60, kept))
"""
_TESTS = """
import os

import pytest

@pytest.mark.slow
def test_deep():
    assert "LATER" not in os.environ

@pytest.mark.benchmark
def test_that_fails():
    raise AssertionError("as it must")

def test_plain():
    pass
"""


def _session(folder: Path, seconds: float, **told: str) -> list[str]:
    """What a session of its own prints: how each test ended, in order, and the summary's sum."""
    tests = folder / "tests" / "unit"
    tests.mkdir(parents=True, exist_ok=True)
    (folder / "conftest.py").write_text(_CONFTEST.format(folder=str(folder), seconds=seconds))
    (tests / "test_it.py").write_text(_TESTS)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider"),
            *("--rootdir", folder, folder),
        ],
        capture_output=True, text=True, check=False, timeout=120,
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **told},
    )  # fmt: skip
    ends: list[str] = re.findall(r"test_it\.py::(\w+ (?:PASSED|FAILED|SKIPPED))", done.stdout)
    return ends + [line for line in done.stdout.splitlines() if " before, " in line]


def test_what_is_left_is_done_the_next_time(tmp_path: Path) -> None:
    assert _session(tmp_path, 0) == [
        "test_plain PASSED", "test_deep SKIPPED", "test_that_fails SKIPPED",
        "0 passed in 0 min, 0 before, 2 left",
    ]  # fmt: skip
    assert _session(tmp_path, 100) == [
        "test_plain PASSED", "test_deep PASSED", "test_that_fails FAILED",
        "1 passed in 0 min, 0 before, 0 left",
    ]  # fmt: skip
    assert _session(tmp_path, 100) == [
        "test_plain PASSED", "test_deep SKIPPED", "test_that_fails FAILED",
        "0 passed in 0 min, 1 before, 0 left",
    ]  # fmt: skip
    assert Kept(tmp_path / "kept.json", "one").told.keys() == {"tests/unit/test_it.py::test_deep"}
    assert not Kept(tmp_path / "kept.json", "another").told


def test_one_that_fails_when_it_is_asked_for_again_has_not_passed(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept.json", "one")
    kept.keep("tests/unit/test_it.py::test_deep", [1.0])
    late = _session(tmp_path, 0, AGAIN="1")
    assert late[-1] == "0 passed in 0 min, 0 before, 2 left"
    assert "test_deep FAILED" in _session(tmp_path, 100, AGAIN="1", LATER="1")
    assert not Kept(tmp_path / "kept.json", "one").told
