"""No more than is needed: no shell, no way in by the search path, folders that are ours alone."""

from __future__ import annotations

import ast
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import paths, scenario
from harness.channel import Listener
from harness.errors import CommandFailed
from harness.process import find_program, run, search_path
from harness.workload import Workload

TOP = Path(__file__).resolve().parent.parent.parent
GATEWAY = "harness/process.py"
STARTERS = {"system", "popen", "posix_spawn", "posix_spawnp", "fork", "forkpty"}
STARTS_WITH = ("exec", "spawn")
IN_A_BOX = {
    "harness/experiments/loads.py", "harness/experiments/system.py", "runtimes/checkpoint.py",
}  # fmt: skip
"""Modules whose `sh` is the image's own, inside the box."""
ELSEWHERE = {"runtimes/far_host.py", "runtimes/far_domain.py"}
"""Modules whose `sh` is a far host's; arguments go to it as its parameters, or are quoted."""


def modules() -> Iterator[tuple[str, ast.Module]]:
    for package in ("harness", "runtimes", "scenarios"):
        for path in sorted((TOP / package).rglob("*.py")):
            yield str(path.relative_to(TOP)), ast.parse(path.read_text())


def test_other_programs_are_started_by_one_gateway_and_never_by_a_shell() -> None:
    found = []
    for name, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "shell":
                found.append(f"{name}:{node.value.lineno}: shell=")
            if not isinstance(node, ast.Attribute) or not isinstance(node.value, ast.Name):
                continue
            of, attribute = node.value.id, node.attr
            starts = attribute in STARTERS or attribute.startswith(STARTS_WITH)
            process = of == "subprocess" and attribute not in ("CompletedProcess", "DEVNULL")
            if name != GATEWAY and ((of == "os" and starts) or process):
                found.append(f"{name}:{node.lineno}: {of}.{attribute}")
    assert not found, "\n".join(found)


def test_no_command_of_ours_is_a_line_for_a_shell() -> None:
    found = [
        f"{name}:{node.lineno}"
        for name, tree in modules()
        if name not in IN_A_BOX | ELSEWHERE
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and node.value in ("sh", "bash", "/bin/sh", "/bin/bash", "/usr/bin/sh")
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", ["", ":", ".", "here:/usr/bin", ":/usr/bin:"])
def test_nothing_of_the_current_folder_is_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    for folder in (tmp_path, tmp_path / "here"):
        folder.mkdir(exist_ok=True)
        (folder / "planted").write_text("#!/bin/sh\n")
        (folder / "planted").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", path)
    assert all(part.startswith("/") for part in search_path().split(":"))
    assert find_program("planted") is None
    with pytest.raises(CommandFailed, match="planted is not installed"):
        run(["planted"])
    assert find_program("env") is not None


@pytest.fixture(params=[0o000, 0o777])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    given: int = request.param
    before = os.umask(given)
    yield given
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def test_a_runs_own_folders_are_private_and_so_is_its_socket(tmp_path: Path, umask: int) -> None:
    state = tmp_path / "tarebench-1000" / "0a1b2c3d"
    paths.make_state(state)
    assert (mode(state), mode(state.parent)) == (0o700, 0o700)
    with Listener(state / "channel"):
        assert mode(state / "channel") == 0o600


def test_a_umask_is_kept_but_where_it_harms(umask: int, tmp_path: Path) -> None:
    paths.settle_umask()
    (tmp_path / "folder").mkdir()
    assert mode(tmp_path / "folder") == (0o777 & ~(umask | 0o022)) | 0o700
    with paths.readable():
        (tmp_path / "read").mkdir()
    (tmp_path / "after").mkdir()
    assert mode(tmp_path / "read") == 0o755
    assert mode(tmp_path / "after") == mode(tmp_path / "folder")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.parametrize("which", ["parent", "folder"])
def test_a_folder_that_another_has_put_there_is_refused(tmp_path: Path, which: str) -> None:
    state = tmp_path / "tarebench-0" / "0a1b2c3d"
    state.mkdir(parents=True)
    os.chown(state.parent if which == "parent" else state, 65534, 65534)
    with pytest.raises(OSError, match="belongs to someone else"):
        paths.make_state(state)


def test_a_link_in_the_place_of_our_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tarebench-0").symlink_to("elsewhere")
    with pytest.raises(OSError, match="belongs to someone else"):
        paths.make_state(tmp_path / "tarebench-0" / "0a1b2c3d")


def test_workloads_are_nobody_unless_their_scenario_says_otherwise() -> None:
    assert (Workload(argv=["/bin/true"]).uid, Workload(argv=["/bin/true"]).gid) == (65534, 65534)
    for name in scenario.available():
        loaded = scenario.load(name)
        assert (loaded.workload.uid, loaded.workload.gid) == (65534, 65534), name
    asked = scenario.load("quick", settings=['workload={argv=["/bin/true"],uid=0,gid=0}'])
    assert (asked.workload.uid, asked.workload.gid) == (0, 0)


def test_a_channel_is_no_network_socket(tmp_path: Path) -> None:
    with Listener(tmp_path / "channel") as listener:
        assert listener._socket.family == socket.AF_UNIX
