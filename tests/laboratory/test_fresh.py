"""Profile fresh: a pristine Debian, and the README's two commands as a newcomer types them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from harness.lab.recipe import REPOSITORY
from tests.laboratory.conftest import Lab, check_complete, runtimes

README = Path(__file__).parents[2] / "README.md"
BOXES = ("bare", "chroot", "runc", "crun", "docker", "podman", "kvm,machine=microvm")
RELEASES = {
    "fresh": "Debian GNU/Linux 12 ",
    "fresh13": "Debian GNU/Linux 13 ",
    "ubuntulike": "Debian GNU/Linux 13, like Ubuntu",
}


def typed() -> list[str]:
    """The README's first block of commands, with the repository's place put in."""
    found = re.search(r"## Two commands\n.*?```sh\n(.*?)```", README.read_text(), re.DOTALL)
    assert found
    return found[1].replace("<this repository>", str(REPOSITORY)).splitlines()


def test_the_two_commands_do_everything(lab: Lab) -> None:
    """All as it stands there, and to the second one blocks and boxes for a slow processor: ten
    blocks of all, and a machine emulated in one that is emulated, would take a day."""
    clone, make = typed()
    assert clone.startswith("git clone ")
    assert make.startswith("sudo make run ")
    words = " ".join(("--repeat", "1", *runtimes(*BOXES)))
    make = make.replace("sudo make run", f'sudo make run RUN_ARGS="{words}"', 1)
    said = lab.run("bash", "-c", f"{clone}\n{make}")
    assert said.status == 0, said.err[-6000:]
    run = lab.only_run()
    check_complete(run)
    host = json.loads((run / "manifest.json").read_text())["host"]
    assert host["os"].startswith(RELEASES[lab.profile])
    assert host["cgroup"] == "v2"
    assert (run / "report.html").stat().st_size > 100_000
    proof = (run / "lab" / "proof.txt").read_text()
    assert "systemd" in proof
    assert "27(sudo)" in proof
