"""One guest through libvirt under the true KVM, in a machine whose processor is emulated with SVM.

The thinnest use of the lab; `make test-lab` asks all else there, in a whole Debian.
"""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

from harness import paths
from harness.clock import Deadline
from harness.cpuid import TCG
from harness.image.build import build
from harness.image.guest import guest_kernel
from harness.inventory import Inventory
from harness.lab.machine import Sockets, start
from tests import one_guest
from tests.thin import thin_machine

pytestmark = pytest.mark.integration

UP_S = 120.0
GUEST_S = 600.0


@pytest.mark.timeout(UP_S + GUEST_S + 120)
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the lab's machine is an x86-64")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a disk with root's files")
def test_a_guest_runs_under_kvm(tmp_path: Path) -> None:
    image, kernel = build(paths.cache()), guest_kernel(paths.cache())
    boot, disk = thin_machine(tmp_path, image, kernel, one_guest.__name__)
    with (
        Inventory("thin", tmp_path / "inventory") as inventory,
        start("thin", boot, disk, Sockets(tmp_path), inventory) as machine,
    ):
        assert machine.wait_up(Deadline(UP_S)) == ["svm", "npt"]
        assert machine.wait(machine.child.pidfd, Deadline(GUEST_S)), machine.console_end()
        said = machine.console_text()
        assert "its exit status: 0" in said, machine.console_end()
    assert "SVM: kvm: Nested Paging enabled" in said
    told = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert told["accel"] == "kvm", "what its own QEMU answers to query-kvm"
    assert told["host"] == TCG
    assert kernel.version in told["kernel"]
    assert told["said"] == one_guest.SAYS
