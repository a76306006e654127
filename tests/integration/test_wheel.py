"""The wheel is whole: installed into a clean environment, it finds all that it ships."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent
OFFLINE = ("No matching distribution", "Could not find a version", "Connection", "Network is")

pytestmark = pytest.mark.integration


def pip(*arguments: str | Path) -> None:
    """Run pip with the host's own configuration; skips where it reaches no index."""
    argv = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=TOP)
    if done.returncode != 0 and any(sign in done.stderr for sign in OFFLINE):
        pytest.skip(f"no package index can be reached: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ".")
    [built] = folder.glob("tarebench-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts' folder of an environment that holds the wheel and nothing of the checkout.

    It has no pip of its own, and Python compiles what it imports and not all that is there.
    """
    folder = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    constraints = TOP / "constraints.txt"
    pip("--python", folder / "bin" / "python", "install", "--no-compile", "-c", constraints, wheel)
    return folder / "bin"


def test_wheel_carries_data_and_nothing_else_at_its_top(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {
        "harness",
        "runtimes",
        "scenarios",
        "tarebench",
    }
    assert "harness/image/agent.c" in names
    assert "scenarios/quick.toml" in names
    assert not [name for name in names if "/runs/" in name or "__pycache__" in name]


@pytest.mark.parametrize("what", ["runtimes", "scenarios", "metrics"])
def test_list_works_anywhere(installed: Path, tmp_path: Path, what: str) -> None:
    """For people; as JSON it is asked for in test_cli.py."""
    listed = subprocess.run(
        [installed / "tarebench", "list", what],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, listed.stderr
    names = {word for line in listed.stdout.splitlines() for word in line.split()[:2]}
    assert (
        names
        >= {
            "runtimes": {"bare", "chroot", "runc", "crun", "docker", "kvm", "qemu"},
            "scenarios": {"quick"},
            "metrics": {"startup.ready"},
        }[what]
    )
    assert not list(tmp_path.iterdir())


def test_what_ships_is_found(installed: Path, tmp_path: Path) -> None:
    code = (
        "from importlib.resources import files; from harness import resources as r; "
        "print(files('harness.image').joinpath('agent.c').is_file(), "
        "(r.scenarios() / 'quick.toml').is_file(), (r.shipped_results() / 'reference').is_dir(), "
        "'site-packages' in str(r.demo_run()))"
    )
    said = subprocess.run(
        [installed / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["True"] * 4


def test_lessons_find_their_data_in_the_wheel(installed: Path, tmp_path: Path) -> None:
    code = (
        "from harness.analysis import demo, demos, medians, published_figures; "
        "print({'quick', 'docker', 'ladder'} <= set(demos()), len(published_figures()) > 30, "
        "medians(demo(), 'startup.ready')['median'].notna().all())"
    )
    said = subprocess.run(
        [installed / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["True"] * 3


def test_demo_report_is_made_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    report = tmp_path / "demo.html"
    subprocess.run(
        [installed / "tarebench", "report", "demo", "--out", report], cwd=tmp_path, check=True
    )
    assert "<html" in report.read_text()[:200].lower()


def test_the_plugin_of_pytest_waits_for_pytest(installed: Path, tmp_path: Path) -> None:
    """It is declared, and costs nothing where pytest is not installed."""
    code = (
        "from importlib.metadata import entry_points; from importlib.util import find_spec; "
        "print(*[e.value for e in entry_points(group='pytest11')], find_spec('pytest'))"
    )
    said = subprocess.run(
        [installed / "python", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert said.stdout.split() == ["harness.testing.plugin", "None"]
