"""A disk of the user's own: it boots, is not written, and nobody takes it for the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import process
from harness.experiments import identity
from harness.image.bootdisk import copy_sparse
from harness.image.cache import sha256_of
from harness.image.forms import ext4
from harness.image.manifest import digest_of
from harness.model import AGENT_PATH, MIB, Job
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = pytest.mark.integration

NAME = "Somebody's own"


@pytest.fixture
def own_disk(lab: Lab, tmp_path: Path) -> Path:
    """A partitioned qcow2 with another system on its second partition: it lacks the agent."""
    runtime_or_skip(lab, "qemu")
    if process.find_program("sfdisk") is None:
        pytest.skip("sfdisk is not installed")
    base = ext4(lab.image)
    size = base.stat().st_size
    system, whole, disk = (tmp_path / name for name in ("system", "whole", "disk.qcow2"))
    with system.open("w+b") as file:
        file.truncate(size)
        copy_sparse(base, file.fileno(), 0)
    (tmp_path / "os-release").write_text(f'NAME="{NAME}"\n')
    process.run(
        ["debugfs", "-w", "-f", "/dev/stdin", system],
        input=f"rm {AGENT_PATH}\nrm /usr/lib/os-release\n"
        f"write {tmp_path}/os-release /usr/lib/os-release\n".encode(),
    )
    with whole.open("w+b") as file:
        file.truncate(size + 3 * MIB)
        copy_sparse(system, file.fileno(), 2 * MIB)
    table = f"label: gpt\nunit: sectors\nstart=2048, size=2048\nstart=4096, size={size // 512}\n"
    process.run(["sfdisk", "--quiet", whole], input=table.encode())
    process.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", whole, disk])
    return disk


def test_a_disk_of_ones_own_boots_and_is_not_the_image(lab: Lab, own_disk: Path) -> None:
    name = f"qemu,disk={own_disk}"
    before = sha256_of(own_disk)
    runtime = runtime_or_skip(lab, name)
    facts = runtime.probe()
    assert facts.versions["disk"] == f"sha256:{before}"
    assert any(note.startswith(f"not the image: {own_disk}") for note in facts.notes)
    with lab.instance(name) as box:
        done = box.run(Job(["/usr/bin/busybox", "cat", "/etc/os-release"]))
        assert NAME in done.stdout.read().decode()
        written = box.run(Job(["/usr/bin/busybox", "dd", "if=/dev/zero", "of=/var/tmp/f", "bs=1M",
                               "count=1", "conv=fsync"]))  # fmt: skip
        assert written.exit_status == 0
        assert not identity.prove(box, lab.image, ["/usr/bin/echo"], ()).identical
        assert box.facts()["pid"] == "1"
    assert sha256_of(own_disk) == before


@pytest.mark.slow
def test_the_digest_of_ones_own_disk_is_another(lab: Lab, own_disk: Path) -> None:
    runtime_or_skip(lab, f"qemu,disk={own_disk}")
    with lab.instance(f"qemu,disk={own_disk}") as box:
        assert digest_of(box.derive_manifest()) != lab.image.digest
