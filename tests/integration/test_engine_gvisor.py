"""gVisor below an engine: it must be told what network its box has, and may not cope with it."""

from __future__ import annotations

import os

import pytest

from harness.errors import RuntimeUnavailable
from harness.experiments import limits
from harness.model import Job, RuntimeClass
from runtimes.engine_runtimes import installed, tells_networks_apart, version
from tests.conftest import runtime_or_skip
from tests.contract.subject import GIVEN, SHELL
from tests.lab import Lab

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "name",
    [
        "docker,network=none,runtime=runsc",
        pytest.param("docker,network=host,runtime=runsc", marks=pytest.mark.slow),
        "podman,network=none,runtime=runsc",
        pytest.param("podman,network=host,runtime=runsc", marks=pytest.mark.slow),
    ],
)
def test_an_engine_s_sandbox_has_a_kernel_of_its_own_and_the_limits(lab: Lab, name: str) -> None:
    runtime = runtime_or_skip(lab, name)
    assert runtime.runtime_class is RuntimeClass.SANDBOX
    with lab.instance(name, GIVEN) as box:
        assert box.facts()["kernel"] != os.uname().release
        assert box.run(Job([SHELL, "echo", "hello"])).stdout.read() == b"hello\n"
        pids, groups = box.processes(), box.cgroups()
        assert len(pids) > 1
        assert any(lab.context.cgroup in str(path) for path in groups)
        assert limits.mismatches(box, RuntimeClass.SANDBOX, GIVEN, runtime.probe().limits) == []
    for pid in pids[:1]:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.parametrize("engine", ["docker", "podman"])
def test_a_bridge_that_this_gvisor_cannot_tell_from_the_hosts_network_is_refused(
    lab: Lab, engine: str
) -> None:
    known = version("runsc", installed())
    if not known or tells_networks_apart(known["runsc"], os.uname().release):
        pytest.skip("gVisor here tells networks apart, or is not installed")
    runtime_or_skip(lab, engine)
    with pytest.raises(RuntimeUnavailable, match="takes every network namespace") as caught:
        lab.runtime(f"{engine},runtime=runsc")
    assert "network=none" in caught.value.hint
