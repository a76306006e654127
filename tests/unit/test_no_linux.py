"""Stored runs are read, compared and reported where nothing can be measured: without Linux.

A child process has none of the modules and functions that Linux alone has, imports everything
that reads runs, and runs the commands that people run first.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path, PureWindowsPath

import pytest

from harness.analysis.export import harmless_name

WITHOUT_LINUX = """
import importlib, importlib.abc, os, pkgutil, sys

MISSING = {"fcntl", "grp", "pwd", "termios", "tty", "pty", "resource", "syslog", "spwd", "crypt",
           "docker", "libvirt"}
FUNCTIONS = ("fork", "forkpty", "setns", "unshare", "pidfd_open", "getuid", "geteuid", "getgid",
             "getegid", "setsid", "killpg", "getpgid", "mkfifo", "mknod", "chroot", "statvfs",
             "sched_getaffinity", "sched_setaffinity", "sched_setscheduler", "sched_param",
             "posix_fadvise", "memfd_create", "getxattr", "O_CLOEXEC", "O_DIRECT", "wait4",
             "getloadavg", "nice", "sync")

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
for name in [name for name in sys.modules if name.partition(".")[0] in MISSING]:
    del sys.modules[name]
for name in FUNCTIONS:
    if hasattr(os, name):
        delattr(os, name)
"""

IMPORT_ALL = """
import harness.analysis, harness.report
for package in (harness.analysis, harness.report):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            print(module.name)
"""

COMMANDS = """
import contextlib, io, json
from harness.cli import main

done = []
for line in sys.argv[1:]:
    sys.argv = ["tarebench", *json.loads(line)]
    said, status = io.StringIO(), 0
    with contextlib.redirect_stdout(said):
        try:
            main()
        except SystemExit as end:
            status = end.code
    done.append((status, said.getvalue()))
json.dump(done, sys.stdout)
"""
"""One after the other in one process: what they load takes longer than they do."""


def without_linux(code: str, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a Python that has not what Linux alone has."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_LINUX + code, *arguments],
        capture_output=True, text=True, timeout=280, cwd=cwd, check=False,
    )  # fmt: skip


def test_all_that_reads_runs_can_be_imported(tmp_path: Path) -> None:
    found = without_linux(IMPORT_ALL, cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    assert {"harness.analysis.frames", "harness.report.writer"} <= set(found.stdout.split())


def test_a_module_of_linux_is_really_missing(tmp_path: Path) -> None:
    found = without_linux("import fcntl", cwd=tmp_path)
    assert "No module named 'fcntl'" in found.stderr


def test_demo_is_reported_exported_read_back_and_compared(tmp_path: Path) -> None:
    commands = (
        ("report", "demo/parallel", "--out", "r.html", "--charts", "charts"),
        ("export", "demo", "--to", "csv", "--out", "demo.csv"),
        ("report", "r.html", "--format", "md", "--out", "again.md"),
        ("list", "runs"),
        ("compare", "demo", "demo", "--json"),
    )
    found = without_linux(COMMANDS, *map(json.dumps, commands), cwd=tmp_path)
    assert found.returncode == 0, found.stderr
    *four, (_, compared) = json.loads(found.stdout)
    assert [status for status, _ in four] == [0] * 4, found.stderr
    assert json.loads(compared)["comparisons"]
    assert (tmp_path / "r.html").stat().st_size > 10_000
    assert (tmp_path / "demo.csv").read_text().startswith("run,scenario,")
    assert (tmp_path / "charts").is_dir()
    assert (tmp_path / "again.md").read_text()


@pytest.mark.parametrize(
    "text",
    ["../../etc/passwd", "a:b", "C:\\Windows", "docker,network=none", "con", "NUL.txt", "", ". .",
     "x" * 500, "a\nb\x00c", "..", "<i>|?*\"", "运行"],
)  # fmt: skip
def test_names_of_others_are_one_part_of_a_path_anywhere(text: str) -> None:
    name = harmless_name(text)
    assert name
    assert len(name.encode()) <= 200
    assert PureWindowsPath(name).name == name
    assert not PureWindowsPath(name).is_reserved() if sys.version_info < (3, 13) else True
    assert not re.search(r'[<>:"/\\|?*\x00-\x1f]', name)
    assert name.strip(" .") == name
