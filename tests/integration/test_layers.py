"""`cow` and `registry` with real boxes, engines and a registry: figures that fit each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from harness.errors import HarnessError
from harness.experiments import cow, registry
from harness.image.cache import disk_bytes
from harness.model import MIB, Sample
from harness.process import find_program
from harness.roots import Form
from harness.settings import Cow, Registry
from runtimes.registry_server import INSTALL, PROGRAM
from tests.conftest import runtime_or_skip
from tests.lab import READY_TIMEOUT_S, Lab

pytestmark = pytest.mark.integration

FEW = Cow(
    instances=1, machine_instances=1, sizes=("16 MiB",), ready_timeout_s=READY_TIMEOUT_S
)  # fmt: skip


def values(samples: Sequence[Sample], **dimensions: str) -> Mapping[str, float]:
    """The values of samples with these dimensions, by metric."""
    return {
        each.metric.partition(".")[2]: each.value
        for each in samples
        if dimensions.items() <= each.dimensions.items()
    }


@pytest.mark.parametrize(
    "name",
    [
        "docker,network=none",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("chroot", "runc", "bwrap", "containerd", "podman,network=none", "runsc")
        ),
    ],
)
def test_a_layer_brings_up_the_whole_file_and_a_copy_nothing(lab: Lab, name: str) -> None:
    runtime_or_skip(lab, name)
    bench = lab.bench(name)
    assert cow.can(bench.runtime, FEW)
    measured = cow.measure(bench, FEW)
    image = disk_bytes(lab.image.root)
    layer = values(measured.samples, form="overlay")
    size = int(str(measured.conditions["cow.file.16 MiB"]).split()[-2])
    assert measured.identity.identical
    assert layer["create_bytes"] < MIB
    assert size <= layer["first_write_bytes"] < size + MIB
    assert 0.9 * image < layer["shared_bytes"] < 1.1 * image
    assert size <= layer["added_bytes"] < size + MIB
    assert image + size < layer["fleet_bytes"] + MIB < image * 1.2
    copy = values(measured.samples, form="copy")
    assert bool(copy) == (Form.COPY in bench.runtime.forms)  # type: ignore[attr-defined]
    if copy:
        assert 0.9 * image < copy["create_bytes"] < 1.1 * image
        assert copy["shared_bytes"] == 0
        assert copy["first_write_bytes"] < MIB
        assert 0.9 * image < copy["fleet_bytes"] < 1.1 * image
    left = [entry for entry in lab.inventory_entries() if "image" in entry.kind]
    assert left == []


@pytest.mark.slow
def test_a_disk_brings_up_clusters(lab: Lab) -> None:
    name = "qemu,machine=microvm"
    runtime_or_skip(lab, name)
    measured = cow.measure(lab.bench(name), FEW)
    disk, copy = (values(measured.samples, form=form) for form in ("qcow2", "copy"))
    assert measured.identity.identical
    assert disk["create_bytes"] < MIB < copy["create_bytes"]
    assert 65536 <= disk["first_write_bytes"] < MIB
    assert disk["shared_bytes"] > 100 * MIB
    assert copy["shared_bytes"] == 0


def test_a_root_is_a_copy_where_that_is_asked_for(lab: Lab) -> None:
    """What is written lies in the copy, and the image stays as it is."""
    bench = lab.bench("chroot")
    with bench.spec(READY_TIMEOUT_S, whole=True) as spec:
        with bench.runtime.make_root(spec) as made:  # type: ignore[attr-defined]
            (folder,) = made.files
            assert made.took_ns > 0
            copied = folder / "upper" / "usr/bin/dd"
            assert copied.stat().st_ino != (lab.image.root / "usr/bin/dd").stat().st_ino
        assert not (folder / "work").exists()
    assert not folder.exists()


def test_a_box_with_a_volume_is_refused(lab: Lab) -> None:
    with pytest.raises(HarnessError, match="volume"):
        cow.measure(lab.bench("chroot,storage=volume"), replace_sizes(FEW))


def replace_sizes(settings: Cow) -> Cow:
    return Cow(instances=1, sizes=("64 KiB",), ready_timeout_s=settings.ready_timeout_s)


@pytest.mark.parametrize(
    "name", ["docker", pytest.param("podman,network=host", marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_shared_layers_travel_once(lab: Lab, name: str) -> None:
    if find_program(PROGRAM) is None:
        pytest.skip(f"no {PROGRAM}: {INSTALL}")
    runtime_or_skip(lab, name)
    bench = lab.bench(name)
    assert registry.can(bench.runtime, Registry())
    measured = registry.measure(bench, Registry(added="1 MiB"))
    cold, shared = (values(measured.samples, state=state) for state in ("cold", "shared"))
    for way in ("push", "pull"):
        assert cold[f"{way}_bytes"] > 40 * MIB
        assert MIB < shared[f"{way}_bytes"] < 1.1 * MIB
        assert cold[way] > shared[way] > 0
    assert cold["pull_bytes"] == pytest.approx(cold["push_bytes"], rel=0.01)
    assert values(measured.samples)["disk_copy_bytes"] > 100 * MIB
    kinds = {entry.kind for entry in lab.inventory_entries()}
    assert not kinds & {"engine-image", "image-registry", "docker-container", "podman-container"}


def test_only_an_engine_that_reaches_the_loopback_ships(lab: Lab) -> None:
    for name, ships in (("docker,client=cli", False), ("chroot", False), ("docker", True)):
        runtime_or_skip(lab, name)
        assert registry.can(lab.runtime(name), Registry()) is ships
