"""An ordinary user in the group of an engine's socket needs no root; and nothing listens outside.

The engine is the lab's own. Its socket gets a second name, in a folder where a group may reach
it, as an administrator would arrange it on a host.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import runtime_or_skip
from tests.hoststate import Ours
from tests.lab import Lab
from tests.ordinary import USER, as_user

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody who is not"),
]
GROUP, OTHER = 4322, 4323
BOX = "docker,network=none"
_LISTENS = "0A"
_NETWORK = ("tcp", "tcp6")
_LOOPBACK = re.compile(r"0100007F|0{24}01000000|0{16}FFFF00000100007F")


@pytest.fixture
def engine(lab: Lab) -> Iterator[str]:
    """The address of the lab's engine for those in a group."""
    runtime_or_skip(lab, BOX)
    folder = Path("/run") / f"tarebench-test-{secrets.token_hex(4)}"
    folder.mkdir(mode=0o755)
    try:
        socket = folder / "docker.sock"
        socket.hardlink_to(lab.place.state / "docker" / "docker.sock")
        os.chown(socket, 0, GROUP)
        socket.chmod(0o660)
        yield f"unix://{socket}"
    finally:
        shutil.rmtree(folder)


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
