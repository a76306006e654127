"""The ladder's own boxes: each mechanism that is asked for is there, and no other is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import paths
from harness.errors import CommandFailed, UsageError
from harness.model import Job
from harness.process import run
from harness.registry import create
from runtimes.launcher import launcher_program
from runtimes.privileges import CAPABILITY_MASK
from runtimes.spawn import NAMESPACES
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = pytest.mark.integration

LINKS = {"mount": "mnt"}


def spaces(pid: int) -> dict[str, str]:
    """The namespaces of a process, as the host sees them."""
    return {
        name: os.readlink(f"/proc/{pid}/ns/{LINKS.get(name, name)}")  # noqa: PTH115
        for name in NAMESPACES
    }


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("asked", list(NAMESPACES))
def test_one_namespace_is_new_and_no_other(lab: Lab, asked: str) -> None:
    name = f"spawn,ns={asked},with=chroot"
    runtime_or_skip(lab, name)
    own = spaces(os.getpid())
    with lab.instance(name) as box:
        found = spaces(box.processes()[0])
    new = {space for space in NAMESPACES if found[space] != own[space]}
    # the root is prepared in a mount namespace of its own, whatever is asked for
    assert new - {"mount"} == {asked} - {"mount"}


def test_nothing_asked_for_is_nothing_done(lab: Lab) -> None:
    runtime_or_skip(lab, "spawn")
    with lab.instance("spawn") as box:
        pid = box.processes()[0]
        assert spaces(pid) == spaces(os.getpid())
        assert os.readlink(f"/proc/{pid}/root") == "/"  # noqa: PTH115
        own, found = status(os.getpid()), status(pid)
        for key in ("CapBnd", "CapEff", "Seccomp", "NoNewPrivs"):
            assert found[key] == own[key]


def test_capabilities_and_filter_are_there_only_when_asked_for(lab: Lab) -> None:
    runtime_or_skip(lab, "spawn,with=chroot")
    with lab.instance("spawn,with=chroot+capabilities") as box:
        found = status(box.processes()[0])
    assert int(found["CapBnd"], 16) == int(found["CapEff"], 16) == CAPABILITY_MASK
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "0")
    job = Job(["/usr/bin/busybox", "unshare", "-u", "true"], uid=0, gid=0)
    with lab.instance("spawn,with=chroot") as box:
        assert box.run(job).exit_status == 0
    with lab.instance("spawn,with=chroot+seccomp") as box:
        assert status(box.processes()[0])["Seccomp"] == "2"
        assert b"Operation not permitted" in box.run(job).stderr.read()


def test_failed_step_says_which_and_why() -> None:
    launcher = launcher_program().build(paths.cache())
    with pytest.raises(CommandFailed, match="launcher: chroot /there/is/none: No such file"):
        run([launcher, "chroot", "/there/is/none", "exec", "/bin/true"])
    with pytest.raises(CommandFailed, match="launcher: jump up: Invalid argument"):
        run([launcher, "jump", "up"])


@pytest.mark.parametrize("name", ["spawn,ns=pid", "spawn,with=mounts"])
def test_what_needs_a_root_says_so(lab: Lab, name: str) -> None:
    with pytest.raises(UsageError, match="needs a root of the box's own") as caught:
        create(name, lab.context)
    assert caught.value.hint == "add with=chroot"
