"""One application of three real processes, in real boxes: everything answers, nothing is left."""

from __future__ import annotations

import pytest

from harness.experiments import system
from harness.image.tree import resolve_inside
from harness.model import MIB, Limits
from harness.settings import System
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = pytest.mark.integration


def found(lab: Lab, name: str) -> dict[tuple[str, str], float]:
    runtime_or_skip(lab, name)
    bench = lab.bench(name, Limits(cpus=1, memory_bytes=128 * MIB, pids=128))
    done = system.measure(bench, System())
    assert done.identity.identical
    programs = ("/usr/sbin/nginx", "/usr/bin/redis-server")  # the second is a symbolic link
    assert {resolve_inside(lab.image.root, each) for each in programs} <= set(done.identity.files)
    return {(s.metric, s.dimensions["layout"]): s.value for s in done.samples}


def test_three_bare_processes_have_no_box_to_share(lab: Lab) -> None:
    values = found(lab, "bare")
    assert set(values) == {("system.served", "one-each"), ("system.memory", "one-each")}
    assert all(value > 0 for value in values.values())


@pytest.mark.parametrize(
    "name",
    [
        "crun",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("chroot", "docker", "qemu")),
    ],
)
def test_a_box_for_each_and_one_with_all(lab: Lab, name: str) -> None:
    values = found(lab, name)
    assert {layout for _, layout in values} == {"one-each", "one-box"}
    assert all(value > 0 for value in values.values())
    assert values["system.memory", "one-box"] > MIB  # three servers: more than a shell alone
