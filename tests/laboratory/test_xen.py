"""Profile xen: the true hypervisor and its dom0, in a machine that is emulated."""

from __future__ import annotations

import json

import pytest

from harness.journal import records
from tests.laboratory.conftest import Lab, check_complete, runtimes

KINDS = ("xen", "xen,type=pvh", "xen,type=hvm")


def test_the_doctor_names_the_hypervisor_and_what_is_below_it(lab: Lab) -> None:
    said = lab.run("tarebench", "doctor", "--runtime", "xen", "--json")
    assert said.status == 0, said.err
    found = json.loads(said.out)
    assert found["host"]["virtualization"] == "Xen on QEMU TCG"
    assert found["host"]["emulated"] is True
    (xen,) = [state for state in found["runtimes"] if state["name"] == "xen"]
    assert (xen["status"], xen["accel"]) == ("ready", "xen"), xen


FORBIDDEN = """
set -e
{ apt-get update; apt-get install --yes --no-install-recommends apparmor; } >&2
systemctl start apparmor
tarebench doctor --runtime xen --json > before
python -c "import json; print(json.load(open('before'))['runtimes'][0]['remedy'])" > remedy
sh -e remedy
tarebench doctor --runtime xen --json > after
echo [; cat before; echo ,; cat after; echo ]
"""


def test_the_doctor_knows_what_apparmor_forbids_and_its_remedy_helps(lab: Lab) -> None:
    """The lab's dom0 goes without AppArmor; one that Debian's installer makes has it."""
    said = lab.run("sh", "-c", FORBIDDEN)
    assert said.status == 0, said.out + said.err
    before, after = (found["runtimes"][0] for found in json.loads(said.out))
    assert before["status"] == "unavailable"
    assert "forbids it to start /usr/libexec/xen-qemu-system-i386" in before["reason"]
    assert after["status"] == "ready", after


@pytest.mark.parametrize("kind", KINDS)
def test_quick_runs_each_kind(lab: Lab, kind: str) -> None:
    """Without a warm-up block: a guest's start takes minutes in software."""
    # Byte by byte, in software: that is how the whole machine of HVM gets its kernel.
    said = lab.run("tarebench", "run", "quick", "--repeat", "1", *runtimes(kind, "bare"),
                   "--set", "warmup_blocks=0",
                   "--set", "experiments.startup.ready_timeout_s=1200")  # fmt: skip
    assert said.status == 0, said.err
    run = lab.only_run()
    check_complete(run)
    assert {r.accel for r in records(run) if r.runtime.startswith("xen")} == {"xen"}
    proof = (run / "lab" / "proof.txt").read_text()
    assert "xen_version" in proof
    assert "control_d" in proof


@pytest.mark.parametrize("kind", ["xen and not type", "pvh"])
def test_the_contract_suite_passes(lab: Lab, kind: str) -> None:
    """But for the proof of a guest's whole image, minutes in software: `quick` makes it above."""
    lab.contract(f"xen and ({kind}) and not whole_image", "xen")
