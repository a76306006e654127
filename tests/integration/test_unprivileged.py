"""An ordinary user in the group of a daemon's socket needs no root; and nothing listens outside.

The daemons, Docker's and libvirt's, are the lab's own. The socket gets a second name, in a folder
where a group may reach it, as an administrator would arrange it on a host.
"""

from __future__ import annotations

import json
import os
import pwd
import re
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RuntimeUnavailable
from harness.imagecheck import built
from harness.journal import records
from harness.model import Outcome
from runtimes.libvirt_daemon import Driver, PrivateLibvirt
from tests.command import Place
from tests.conftest import runtime_or_skip
from tests.hoststate import Ours
from tests.lab import Lab
from tests.ordinary import NAMED, USER, as_user

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who is not"),
    pytest.mark.skipif(built() is None, reason="the image is not built: tarebench image build"),
]
GROUP, OTHER = 4322, 4323
BOX = "docker,network=none"
_LISTENS = "0A"
_NETWORK = ("tcp", "tcp6")
_LOOPBACK = re.compile(r"0100007F|0{24}01000000|0{16}FFFF00000100007F")


@contextmanager
def for_a_group(socket: Path) -> Iterator[Path]:
    """Another name of a socket, which those in a group may use, and nobody else but root."""
    folder = Path("/run") / f"tarebench-test-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o755)
    try:
        name = folder / socket.name
        name.hardlink_to(socket)
        os.chown(name, 0, GROUP)
        name.chmod(0o660)
        yield name
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def engine(lab: Lab) -> Iterator[str]:
    """The address of the lab's engine for those in a group."""
    runtime_or_skip(lab, BOX)
    with for_a_group(lab.place.state / "docker" / "docker.sock") as socket:
        yield f"unix://{socket}"


QEMU_CONF = """\
user = "{user}"
group = "{user}"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""
DEBIANS = "libvirt-qemu"
"""Whose machines are on Debian, where a daemon of the system runs them."""


@contextmanager
def libvirt_of(lab: Lab, user: str) -> Iterator[str]:
    """What names machines of a system's libvirt daemon for those in a group; a user's they are."""
    runtime_or_skip(lab, "qemu")
    conf = QEMU_CONF.format(user=user)
    driver = Driver("qemu", "qemu", "libvirt-daemon", "qemu:///system", conf=conf)
    daemon = PrivateLibvirt(lab.context, driver)
    try:
        daemon.acquire()
    except RuntimeUnavailable as error:
        pytest.skip(error.message)
    try:
        with for_a_group(daemon.socket) as socket:
            yield f"qemu,machine=microvm,uri=qemu:///system?socket={socket}"
    finally:
        daemon.release()


@pytest.fixture
def libvirt(lab: Lab) -> Iterator[str]:
    """One whose machines are root's, who may enter a user's folders."""
    with libvirt_of(lab, "root") as name:
        yield name


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A user's own folder, where a user can reach it."""
    folder = Path("/var/tmp") / f"tarebench-test-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o700)
    os.chown(folder, USER, USER)
    yield folder
    shutil.rmtree(folder)
    shutil.rmtree(f"/tmp/tarebench-{USER}", ignore_errors=True)


RUN = ("run", "quick", "--runtime", BOX, "--repeat", "1", "--set", "warmup_blocks=0", "--quiet")


def test_a_user_in_the_engines_group_needs_no_root(engine: str, home: Path) -> None:
    said = as_user(home, *RUN, groups=[GROUP], env={"DOCKER_HOST": engine})
    assert said.returncode == 0, said.stderr
    folder = Path(said.stdout.strip())
    assert folder.is_relative_to(home)
    assert folder.stat().st_uid == USER
    assert as_user(home, "clean", "--dry-run").stdout == ""


def test_a_user_outside_of_it_is_told_which_group(engine: str, home: Path) -> None:
    said = as_user(home, *RUN, groups=[OTHER], env={"DOCKER_HOST": engine})
    assert said.returncode == 3
    assert "Traceback" not in said.stderr
    assert "usermod -aG docker" in said.stderr


MACHINE = ("--repeat", "1", "--set", "warmup_blocks=0", "--quiet")
MACHINE_LIMIT_S = 900.0
"""A run proves at its end that a machine has the image's files, which emulated takes minutes."""


def boots(home: Path, name: str, *groups: int) -> subprocess.CompletedProcess[str]:
    """A run of a machine as a user who has a name."""
    os.chown(home, NAMED, NAMED)
    said = as_user(
        home, "run", "quick", "--runtime", name, *MACHINE, groups=groups, user=NAMED,
        limit_s=MACHINE_LIMIT_S, env={"XDG_RUNTIME_DIR": str(home)},
    )  # fmt: skip
    assert as_user(home, "clean", "--dry-run", user=NAMED).stdout == ""
    return said


def all_well(said: subprocess.CompletedProcess[str]) -> None:
    """Every trial of a run, and so the run; what was not says why."""
    assert said.returncode in (0, 1), said.stderr
    every = records(Path(said.stdout.strip()))
    assert every
    assert [record.reason for record in every if record.outcome is not Outcome.OK] == []
    assert said.returncode == 0, said.stderr


@pytest.mark.slow
@pytest.mark.timeout(MACHINE_LIMIT_S + 300)
def test_a_user_in_libvirts_group_needs_no_root(libvirt: str, home: Path) -> None:
    said = boots(home, libvirt, GROUP)
    assert Path(said.stdout.strip()).stat().st_uid == NAMED
    all_well(said)


@pytest.mark.slow
def test_a_user_outside_of_libvirts_group_is_told_which(libvirt: str, home: Path) -> None:
    said = boots(home, libvirt, OTHER)
    assert said.returncode == 3
    assert "Traceback" not in said.stderr
    assert "usermod -aG libvirt" in said.stderr


@pytest.mark.slow
@pytest.mark.timeout(MACHINE_LIMIT_S + 300)
def test_machines_that_may_not_enter_a_users_folders_say_so(lab: Lab, home: Path) -> None:
    try:
        pwd.getpwnam(DEBIANS)
    except KeyError:
        pytest.skip(f"there is no user {DEBIANS}")
    with libvirt_of(lab, DEBIANS) as name:
        said = boots(home, name, GROUP)
    assert said.returncode == 1, said.stderr
    boxed = [each for each in records(Path(said.stdout.strip())) if each.runtime != "host"]
    assert {record.outcome for record in boxed} == {Outcome.FAILED}
    assert all("Permission denied" in record.reason for record in boxed)


@pytest.mark.slow
@pytest.mark.timeout(MACHINE_LIMIT_S + 300)
def test_a_machine_of_ones_own_needs_no_root_and_no_group(lab: Lab, home: Path) -> None:
    runtime_or_skip(lab, "qemu")
    all_well(boots(home, "qemu,machine=microvm"))


ROOTS = {"bwrap", "chroot", "containerd", "crun", "libvirt-lxc", "lxc", "nspawn", "podman", "runc",
         "runsc"}  # fmt: skip


@pytest.mark.slow
def test_the_doctor_names_all_that_needs_root(home: Path, tmp_path: Path) -> None:
    """What works for root and not for this user is root's, or a group's; and is said to be."""
    said = as_user(home, "doctor", "--json")
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    mine: dict[str, Any] = {row["name"]: row for row in found["runtimes"]}
    assert {name for name, row in mine.items() if row["needs_root"]} >= ROOTS
    assert mine["bare"]["status"] == "ready"
    for row in json.loads(Place(tmp_path).tarebench("list", "runtimes", "--json").out):
        own = mine[row["name"]]
        if row["status"] != "unavailable" and own["status"] == "unavailable":
            assert own["needs_root"] or re.search("usermod|adduser", own["remedy"]), own
            assert "sudo" in own["remedy"]
    assert [right["name"] for right in found["rights"] if right["had"]] == []
    assert as_user(home, "clean", "--dry-run").stdout == ""


def test_nothing_of_ours_listens_where_another_host_could_reach_it(lab: Lab) -> None:
    names = [name for name in ("runc", BOX, "docker") if _works(lab, name)]
    for name in names:
        with lab.instance(name):
            assert not listening(Ours.of(lab.place)), name


def _works(lab: Lab, name: str) -> bool:
    try:
        runtime_or_skip(lab, name)
    except pytest.skip.Exception:
        return False
    return True


def listening(ours: Ours) -> list[str]:
    """Processes of ours with a listening socket of this namespace that is not on the loopback."""
    sockets = {
        words[9]: f"{kind} {words[1]}"
        for kind in _NETWORK
        for words in map(str.split, Path(f"/proc/net/{kind}").read_text().splitlines()[1:])
        if words[3] == _LISTENS and not _LOOPBACK.match(words[1])
    }
    found = []
    for process in ours.processes():
        for link in Path(f"/proc/{process.pid}/fd").glob("*"):
            inode = re.fullmatch(r"socket:\[(\d+)\]", str(link.readlink()))
            if inode and inode[1] in sockets:
                found.append(f"{process.command}: {sockets[inode[1]]}")
    return found
