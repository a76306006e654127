"""LXC, systemd-nspawn and bubblewrap that are half there, or whose monitor or box breaks."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness import process, registry
from harness.clock import Deadline
from harness.errors import HarnessError, LaunchFailed, RuntimeUnavailable
from harness.model import Job
from harness.process import run, wait_pidfd
from runtimes import monitored
from tests.command import PROGRAM, Place
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = pytest.mark.integration

PROGRAMS = {"bwrap": "bwrap", "lxc": "lxc-start", "nspawn": "systemd-nspawn"}
NAMES = list(PROGRAMS)
INSTALL = "apt-get install --no-install-recommends "


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder that is the whole search path of programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(process, "_SYSTEM_PATH", ())
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    """A program of the runtime that does something else."""
    path = folder / PROGRAMS[name]
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def refusal(lab: Lab, name: str) -> RuntimeUnavailable:
    with pytest.raises(RuntimeUnavailable) as caught:
        registry.create(name, lab.context).probe()
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("name", NAMES)
def test_what_is_not_installed_is_told_with_its_package(lab: Lab, folder: Path, name: str) -> None:
    found = refusal(lab, name)
    assert found.message == f"{PROGRAMS[name]} is not installed"
    assert found.hint.startswith(INSTALL)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo no library >&2; exit 127", "no library"),
        ("echo hello", "does not tell its version"),
        ("exec /bin/sleep 1000", "no end after"),
    ],
)
def test_a_program_that_does_not_work_is_told_soon(
    lab: Lab, folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, script: str, reason: str
) -> None:
    monkeypatch.setattr(monitored, "_VERSION_TIMEOUT_S", 1.0)
    program(folder, name, script)
    deadline = Deadline(30.0)
    assert reason in refusal(lab, name).message
    assert not deadline.over


@pytest.mark.parametrize(
    ("name", "said", "least"), [("lxc", "3.1.0", "4.0"), ("nspawn", "systemd 241 (241)", "242")]
)
def test_a_version_too_old_is_told_with_what_is_needed(
    lab: Lab, folder: Path, name: str, said: str, least: str
) -> None:
    program(folder, name, f"echo '{said}'")
    assert f"{least} or newer is needed" in refusal(lab, name).message


@pytest.fixture
def as_nobody(lab: Lab) -> Iterator[None]:
    """The calls of an ordinary user, once the lab is there."""
    if os.geteuid() != 0:
        pytest.skip("this test gives rights up, and has none")
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", NAMES)
def test_an_ordinary_user_is_told_to_use_root(lab: Lab, as_nobody: None, name: str) -> None:
    assert refusal(lab, name).message == f"{name} needs root"


@pytest.mark.parametrize("name", ["lxc", "nspawn"])
def test_without_control_groups_the_run_says_so(lab: Lab, tmp_path: Path, name: str) -> None:
    runtime_or_skip(lab, name)
    place = Place(tmp_path)
    hidden = 'mount --make-rprivate / && umount --recursive /sys/fs/cgroup && exec "$@"'
    said = run(
        ["unshare", "--mount", "sh", "-c", hidden, "sh", PROGRAM, "run", "quick",
         "--runtime", name, "--repeat", "1"],
        env=place.env, cwd=place.folder, check=False, timeout_s=120,
    )  # fmt: skip
    assert said.returncode == 3, said.stderr
    assert f"{name} needs writable control groups" in said.stderr.decode()
    assert "hint: " in said.stderr.decode()


@pytest.mark.parametrize("name", ["lxc", "nspawn"])
def test_box_and_monitor_make_no_control_group_but_the_instance_s(lab: Lab, name: str) -> None:
    runtime_or_skip(lab, name)
    own = set(Path("/proc/self/cgroup").read_text().splitlines())
    with lab.instance(name) as box:
        for pid in box.processes():
            found = set(Path(f"/proc/{pid}/cgroup").read_text().splitlines()) - own
            assert found
            assert not [line for line in found if "/tb-test-" not in line]


def listed(lab: Lab) -> set[tuple[str, str]]:
    return {(entry.kind, entry.name) for entry in lab.inventory_entries()}


@pytest.mark.parametrize(
    ("name", "said"),
    [("bwrap", "bwrap: "), ("lxc", "lxc-start"), ("nspawn", "doesn't look like it has an OS tree")],
)
def test_what_the_program_says_is_the_reason_of_a_failed_launch(
    lab: Lab, tmp_path: Path, name: str, said: str
) -> None:
    runtime_or_skip(lab, name)
    (tmp_path / "rootfs" / "etc").mkdir(parents=True)
    before = listed(lab)
    with (
        pytest.raises(LaunchFailed) as caught,
        replace(lab, image=replace(lab.image, directory=tmp_path)).instance(name),
    ):
        pytest.fail("there is no agent in this image")
    assert said in caught.value.message
    assert listed(lab) == before


def check_killed(lab: Lab, name: str, which: int) -> str:
    """Kill the box (0) or its monitor (1), wait for the end of both; returns the reason."""
    runtime_or_skip(lab, name)
    before = listed(lab)
    ends: list[int] = []
    groups: list[Path] = []

    def kill_inside() -> None:
        with lab.instance(name) as box:
            ends.extend(os.pidfd_open(pid) for pid in box.processes())
            groups.extend(path for path in box.cgroups() if "tb-test" in str(path))
            signal.pidfd_send_signal(ends[which], signal.SIGKILL)
            assert wait_pidfd(ends[which], 20)
            if which == 0:
                box.run(Job(["/usr/bin/echo"]))

    with pytest.raises((HarnessError, OSError)) as caught:
        kill_inside()
    assert len(ends) == 2
    for end in ends:
        assert wait_pidfd(end, 20)
        os.close(end)
    assert not [path for path in groups if path.exists()]
    assert listed(lab) == before
    return str(caught.value)


@pytest.mark.parametrize("name", NAMES)
def test_when_the_box_is_killed_its_monitor_ends_too(lab: Lab, name: str) -> None:
    assert check_killed(lab, name, 0)


@pytest.mark.parametrize("name", NAMES)
def test_when_the_monitor_is_killed_the_trial_fails_and_nothing_is_left(
    lab: Lab, name: str
) -> None:
    """Also where the box itself lives on, as nspawn's does."""
    assert check_killed(lab, name, 1)
