"""Launching side by side: as quick as the shell's own way to do it."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.clock import now_ns
from harness.experiments.gate import launch_together
from harness.model import InstanceSpec, Limits
from runtimes import oci
from runtimes.box import SOCKET
from runtimes.mounts import PrivateMounts, fresh_layer, hide_unified
from tests.benchmarks.pairs import measure
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = [pytest.mark.benchmark, pytest.mark.slow]

LAUNCHERS = 4
LAUNCHES = 24
ROUNDS = 15


def test_four_launchers_against_xargs(benchmark: BenchmarkFixture, lab: Lab) -> None:
    """`crun` with four launchers: at least 0.9 × the rate of `xargs -P4 crun run --detach`.

    Both launch as many prepared bundles of the same shape, whose boxes all live until the last
    was launched. Ours also waits for each READY; xargs only for crun to return.
    """
    runtime_or_skip(lab, "crun")
    if shutil.which("xargs") is None:
        pytest.skip("xargs is not installed")
    pairs = measure(benchmark, lambda: ours_s(lab), lambda: xargs_s(lab), ROUNDS)
    benchmark.extra_info["ours_per_s"] = LAUNCHES / sorted(pairs.ours)[ROUNDS // 2]
    benchmark.extra_info["xargs_per_s"] = LAUNCHES / sorted(pairs.peer)[ROUNDS // 2]
    assert pairs.ratio_low() <= 1 / 0.9


def ours_s(lab: Lab) -> float:
    """Seconds from the opening of the gate to the end of the last launch."""
    launches = [lambda marks: lab.instance("crun", None, marks)] * LAUNCHES
    found = launch_together(launches, LAUNCHERS, lambda box: None)
    assert len(found.good) == LAUNCHES
    return found.span_s


def xargs_s(lab: Lab) -> float:
    """Seconds that xargs takes for the same number of bundles, prepared before."""
    names = [f"tb-peer-{number}" for number in range(LAUNCHES)]
    folder = lab.place.scratch / "peer-xargs"
    crun = ["crun", "--root", str(lab.place.state / "peer-crun")]
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder)
        mounts = stack.enter_context(PrivateMounts())
        hide_unified(mounts)
        for name in names:
            bundle, sockets = folder / name, lab.place.state / name
            bundle.mkdir(parents=True)
            sockets.mkdir()
            stack.callback(shutil.rmtree, sockets)
            make_bundle(lab, mounts, name, bundle, sockets)
            stack.enter_context(holding_listener(sockets / SOCKET))
            stack.callback(mounts.call, subprocess.run, [*crun, "delete", "-f", name])
        argv = [
            "xargs", f"-P{LAUNCHERS}", "-I{}",
            *crun, "run", "--detach", "--bundle", f"{folder}/{{}}", "{}",
        ]  # fmt: skip

        def launch() -> int:
            begin = now_ns()
            done = subprocess.run(argv, input="\n".join(names), text=True, check=False)
            took_ns = now_ns() - begin
            assert done.returncode == 0
            return took_ns

        return mounts.call(launch) / 1e9


def make_bundle(lab: Lab, mounts: PrivateMounts, name: str, bundle: Path, sockets: Path) -> None:
    """The bundle that our own adapter would write, with the agent's channel in `sockets`."""
    spec = InstanceSpec(name, lab.place.run_id, lab.image, Limits(), bundle, sockets)
    root = fresh_layer(mounts, spec)
    config = oci.bundle_config(spec, root, f"/{lab.context.cgroup}/{name}")
    (bundle / "config.json").write_text(json.dumps(config))


@contextmanager
def holding_listener(path: Path) -> Iterator[None]:
    """Lets one agent connect and keeps it alive until the end."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)
        held: list[socket.socket] = []

        def hold() -> None:
            with suppress(OSError):  # shut down: the box ended before it connected
                held.append(server.accept()[0])

        thread = threading.Thread(target=hold)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in held:
                connection.close()
