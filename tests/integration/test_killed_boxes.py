"""A harness that is killed while a box runs: what it leaves is found by the inventory and goes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import paths
from harness.clock import Deadline
from harness.inventory import clean, left_over
from harness.process import reap
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = pytest.mark.integration

_DIES = """
import os, signal, sys
from tests.lab import open_lab

with open_lab() as lab, lab.instance(sys.argv[1]) as box:
    print(lab.place.run_id, *box.processes(), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def traces(token: str) -> Iterator[str]:
    """Where a run's name is still to be found on the host."""
    yield from (str(path) for path in Path("/sys/fs/cgroup").rglob(f"*{token}*"))
    yield from (str(path) for path in Path("/run").rglob(f"*{token}*"))
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if token in line:
            yield line


@pytest.mark.parametrize("name", ["runsc", "podman", "podman,network=none,runtime=runc"])
def test_a_killed_harness_leaves_nothing_that_clean_does_not_find(lab: Lab, name: str) -> None:
    runtime = runtime_or_skip(lab, name)
    if getattr(runtime, "shared_daemon", False):
        pytest.skip("a service runs here already; the private one is what is tested")
    engine = name.partition(",")[0]
    for held in [each for each in lab.runtimes if each.partition(",")[0] == engine]:
        lab.runtimes.pop(held).close()  # a private engine's data serves one run at a time
    interfaces = sorted(Path("/sys/class/net").iterdir())
    argv = [sys.executable, "-c", _DIES, name]
    said = subprocess.run(argv, stdout=subprocess.PIPE, check=False).stdout.decode().split()
    token, pids = said[0], said[1:]
    path = paths.inventories() / f"lab-{token}.jsonl"
    assert left_over(path)
    assert clean(path) == []
    deadline = Deadline(20)
    while any(Path(f"/proc/{pid}").exists() for pid in pids):  # until who inherited them looks
        for pid in pids:
            reap(int(pid))  # that may be us
        assert not deadline.over
    assert not path.exists()
    assert list(traces(token)) == []
    assert sorted(Path("/sys/class/net").iterdir()) == interfaces
