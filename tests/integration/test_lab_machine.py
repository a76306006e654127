"""A machine of the lab that does not come up, for real: its end is told, and nothing is left."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness import paths
from harness.clock import Deadline
from harness.errors import DeadlineExceeded, EnvironmentRefused, LaunchFailed
from harness.image.forms import overlay_disk
from harness.image.guest import GuestKernel, cached_kernel
from harness.inventory import Inventory
from harness.lab.machine import Boot, Sockets, machines, start
from harness.model import MIB
from harness.process import find_program
from tests.command import PROGRAM, Place

pytestmark = pytest.mark.integration

BOOT_S = 120.0


@pytest.fixture(scope="module")
def kernel() -> GuestKernel:
    found = cached_kernel(paths.cache())
    if found is None:
        pytest.skip("the guests' kernel is not fetched: tarebench image build")
    return found


@pytest.fixture
def inventory(tmp_path: Path) -> Iterator[Inventory]:
    with Inventory("lab-test", tmp_path / "inventory") as made:
        yield made
        assert made.entries() == [], "the machine is struck out when it has ended"


def boot_of(kernel: GuestKernel, memory: int = 256 * MIB) -> Boot:
    """A kernel without any root: it panics once it has looked for one."""
    return Boot(kernel.vmlinuz, str(kernel.vmlinuz), "console=ttyS0 panic=-1", memory, 1)


def make_disk(folder: Path) -> Path:
    base = folder / "base.raw"
    base.write_bytes(bytes(MIB))
    overlay_disk(base, folder / "disk.qcow2")
    return folder / "disk.qcow2"


@pytest.mark.slow
def test_a_boot_that_fails_ends_with_its_console(
    kernel: GuestKernel, inventory: Inventory, tmp_path: Path
) -> None:
    disk, sockets = make_disk(tmp_path), Sockets(tmp_path)
    with start("test1", boot_of(kernel), disk, sockets, inventory) as machine:
        assert machines.exists("test1", {})
        assert [(entry.kind, entry.name) for entry in inventory.entries()] == [
            ("lab-machine", "test1")
        ]
        assert machine.ssh_port() > 0
        with pytest.raises(LaunchFailed, match=r"(?s)ended before it was up.*panic"):
            machine.wait_up(Deadline(BOOT_S))
    assert not machines.exists("test1", {})


def test_a_boot_that_hangs_is_given_up_and_cleaned_by_its_name(
    kernel: GuestKernel, inventory: Inventory, tmp_path: Path
) -> None:
    disk, sockets = make_disk(tmp_path), Sockets(tmp_path)
    with start("test2", boot_of(kernel), disk, sockets, inventory) as machine:
        with pytest.raises(DeadlineExceeded, match="its console ends: ") as caught:
            machine.wait_up(Deadline(0.0))
        assert "--boot-limit" in caught.value.hint
        machines.remove("test2", {})
        assert not machines.exists("test2", {})


def test_a_disk_that_is_none_is_told_in_qemus_words(
    kernel: GuestKernel, inventory: Inventory, tmp_path: Path
) -> None:
    (tmp_path / "disk.qcow2").write_bytes(b"no disk")
    sockets = Sockets(tmp_path)
    with (
        pytest.raises(LaunchFailed, match="not in qcow2 format"),
        start("test3", boot_of(kernel), tmp_path / "disk.qcow2", sockets, inventory),
    ):
        pytest.fail("it started")


def test_too_little_memory_is_refused_before_anything_is_made(
    kernel: GuestKernel, inventory: Inventory, tmp_path: Path
) -> None:
    too_much = psutil.virtual_memory().total + 1024 * MIB
    with (
        pytest.raises(EnvironmentRefused, match="MiB of memory"),
        start("test4", boot_of(kernel, too_much), tmp_path, Sockets(tmp_path), inventory),
    ):
        pytest.fail("it started")
    assert not list(tmp_path.glob("qmp"))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a program")
def test_without_qemu_the_lab_says_what_to_install(tmp_path: Path) -> None:
    """For its eyes alone something that cannot be executed lies over the program."""
    qemu = find_program("qemu-system-x86_64")
    assert qemu is not None
    hidden = 'mount --bind /dev/null "$0" && exec "$@"'
    place = Place(tmp_path)
    done = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", hidden, qemu,
         PROGRAM, "lab", "run", "--", "true"],
        cwd=tmp_path, env=place.env, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "qemu-system-x86_64 is not installed" in done.stderr
    assert "apt-get install qemu-system-x86" in done.stderr
    assert place.to_clean() == []
