"""Where a job's files lie: on a disk, on the filesystem that is claimed, in an image unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.image.manifest import digest_of
from harness.model import HasStorage, Instance, Job, Storage, StorageKind
from harness.probes.disk import IN_MEMORY, device_under
from harness.probes.host import filesystem_of
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = pytest.mark.integration

SHELL = "/usr/bin/busybox"
PLACES = {
    "bare": (StorageKind.DIRECTORY, None),
    "chroot,storage=volume": (StorageKind.VOLUME, None),
    "runc": (StorageKind.LAYER, "overlay"),
    "docker,network=host": (StorageKind.LAYER, "overlay"),
    "docker,network=host,storage=volume": (StorageKind.VOLUME, None),
    "qemu,machine=microvm": (StorageKind.QCOW2, "ext4"),
    "qemu,cache=writeback,machine=microvm,storage=raw": (StorageKind.RAW, "ext4"),
}
"""The filesystem as the box sees it; None is that of the host's folder."""


@dataclass
class Subject:
    """A running box and where it says that its files lie."""

    name: str
    box: Instance
    storage: Storage


@pytest.fixture(scope="module", params=PLACES)
def subject(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Subject]:
    name: str = request.param
    runtime_or_skip(lab, name)
    with lab.instance(name) as box:
        assert isinstance(box, HasStorage)
        yield Subject(name, box, box.storage())


def test_it_lies_where_it_says_and_on_a_disk(subject: Subject) -> None:
    kind, seen = PLACES[subject.name]
    mounts = subject.box.run(Job([SHELL, "cat", "/proc/self/mountinfo"])).stdout.read().decode()
    inside = filesystem_of(Path(subject.storage.path), mounts)
    assert subject.storage.host is not None
    own = Path("/proc/self/mountinfo").read_text()
    assert inside == (seen or filesystem_of(subject.storage.host, own))
    assert inside not in IN_MEMORY
    assert subject.storage.kind is kind


def test_what_a_job_writes_there_is_below_the_hosts_folder(subject: Subject) -> None:
    script = f"echo there > {subject.storage.path}/witness && sync && cat {subject.storage.path}/w*"
    done = subject.box.run(Job([SHELL, "sh", "-c", script]))
    assert done.stdout.read() == b"there\n", done.stderr.read()
    host = subject.storage.host
    assert host is not None
    if host.is_dir():
        assert [path.name for path in host.rglob("witness")] == ["witness"]
    else:
        assert host.stat().st_size > 0
    subject.box.run(Job([SHELL, "rm", f"{subject.storage.path}/witness"]))


def test_its_device_is_found(subject: Subject) -> None:
    assert subject.storage.host is not None
    if device_under(subject.storage.host) is None:
        pytest.skip("the cache lies on a filesystem without a block device of its own")
    assert device_under(subject.storage.host) == device_under(Path(subject.storage.host.parent))


def test_only_a_writeback_guest_has_the_hosts_cache_in_between(subject: Subject) -> None:
    assert subject.storage.host_cached == ("cache=writeback" in subject.name)
    if subject.storage.kind in (StorageKind.RAW, StorageKind.QCOW2):
        assert subject.storage.aio == ("threads" if subject.storage.host_cached else "native")


def test_a_volume_leaves_the_image_what_it_is(subject: Subject, lab: Lab) -> None:
    if subject.storage.kind is not StorageKind.VOLUME:
        pytest.skip("nothing is bound into it")
    assert digest_of(subject.box.derive_manifest()) == lab.image.digest
