"""What every runtime keeps apart, found out in real boxes: known answers, and one escape."""

from __future__ import annotations

import os

import pytest

from harness.experiments import isolation
from harness.experiments.bench import Measurement
from harness.model import MIB, Limits, RuntimeClass
from harness.settings import Isolation
from tests.conftest import runtime_or_skip
from tests.contract.subject import RUNTIMES
from tests.lab import Lab

pytestmark = pytest.mark.contract

LIMITS = Limits(cpus=1, memory_bytes=256 * MIB, pids=128)
FIVE = {"mnt", "pid", "net", "ipc", "uts"}
OWN = {
    "bare": set[str](), "bare,cgroup=on": set[str](), "chroot": {"mnt"},
    "runc": FIVE, "crun": FIVE, "bwrap": FIVE, "docker": FIVE, "docker,network=none": FIVE,
    "docker,network=host": FIVE - {"net"}, "containerd": FIVE,
}  # fmt: skip
"""Namespaces that these have for certain; a kernel's settings may add `cgroup`."""
GUARDED = {"runc", "crun", "oci", "lxc", "docker", "containerd", "podman", "libvirt-lxc"}
"""Boxes whose control group keeps even a root that may make nodes from the host's disks."""


def values(found: Measurement) -> dict[str, float]:
    return {
        ".".join([s.metric.removeprefix("isolation."), *s.dimensions.values()]): s.value
        for s in found.samples
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: boxes of every kind are started")
@pytest.mark.parametrize("name", RUNTIMES)
def test_what_a_box_keeps_apart(lab: Lab, name: str) -> None:
    runtime = runtime_or_skip(lab, name)
    found = isolation.measure(lab.bench(name, LIMITS), Isolation())
    facts, kind = values(found), runtime.runtime_class
    assert found.identity.identical
    own_kernel = kind in (RuntimeClass.SANDBOX, RuntimeClass.MACHINE, RuntimeClass.EMULATED)
    assert facts["kernel"] == own_kernel, found.conditions
    namespaces = {
        key.partition(".")[2] for key, v in facts.items() if v and key[:10] == "namespace."
    }
    if own_kernel:
        hosts = ("root", "mounts", "interfaces", "processes.root", "devices.root", "disk.root",
                 "log.root", "keys.root", "module.root", "clock.root")  # fmt: skip
        assert {facts[key] for key in hosts if key in facts} == {0}
    elif name in OWN:
        assert namespaces - {"cgroup", "time"} == OWN[name]
        seen = "pid" not in OWN[name]
        assert (facts["processes.root"] > 0) == seen, "the bait's process is seen, or is not"
        reached = "net" not in OWN[name]
        assert facts["loopback.user"] == facts["loopback.root"] == reached
    if not own_kernel and name.partition(",")[0] in GUARDED:
        assert facts["disk.root"] == 0, found.conditions
    assert facts["calls.root"] > 150
    if kind is RuntimeClass.BARE:
        assert "escape" not in facts
        assert found.conditions["isolation.escape"] == "there is no box to leave"
    else:
        climbs = name.partition(",")[0] == "chroot"
        assert facts["escape"] == climbs, found.conditions["isolation.escape"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a container is started")
def test_a_look_changes_nothing_and_leaves_nothing(lab: Lab) -> None:
    runtime_or_skip(lab, "bare")
    before = sorted(path.name for path in lab.place.state.iterdir())
    first, second = (values(isolation.measure(lab.bench("bare"), Isolation())) for _ in range(2))
    steady = {key for key in first if not key.startswith(("processes", "mounts", "interfaces"))}
    assert {key: first[key] for key in steady} == {key: second[key] for key in steady}
    assert sorted(path.name for path in lab.place.state.iterdir()) == before
