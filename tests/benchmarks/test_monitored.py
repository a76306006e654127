"""What we add to LXC and systemd-nspawn: our launch against their programs spawned by hand.

By hand is what a script in a mount namespace of its own would do: an overlay, the same
configuration, the program, and the agent's connection accepted. No launcher, no marks, no
inventory, and for nspawn no control group, which is the more that ours makes.
"""

from __future__ import annotations

import itertools
import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from harness.clock import Marks, now_ns
from harness.model import MIB, InstanceSpec, Limits, Mark
from harness.probes.cgroups import Group, Layout
from harness.process import find_program, spawn
from runtimes import lxc, nspawn
from runtimes.box import SOCKET
from runtimes.monitored import AGENT, Monitored
from runtimes.mounts import PrivateMounts, fresh_layer
from tests.benchmarks.pairs import measure
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = [pytest.mark.benchmark, pytest.mark.slow]

ROUNDS = 30
TOLERANCE = 1.15
LIMITS = Limits(cpus=1, memory_bytes=256 * MIB, pids=128)
READY = b"REDY"
Made = Callable[[InstanceSpec, Path, Group], Sequence[str]]


def lxc_by_hand(spec: InstanceSpec, root: Path, group: Group) -> Sequence[str]:
    config = spec.directory / "lxc.conf"
    config.write_text(lxc.configuration(spec, root, Group(group.layout, f"{group.name}/box")))
    return [
        "lxc-start", "-F", "-n", spec.name, "-P", str(spec.directory), "-f", str(config), "--",
        *AGENT,
    ]  # fmt: skip


def nspawn_by_hand(spec: InstanceSpec, root: Path, group: Group) -> Sequence[str]:
    return ["systemd-nspawn", *nspawn.options(spec, root, None), "--", *AGENT]


class ByHand:
    """Starts one box after another; `made` says the program's command line."""

    def __init__(self, lab: Lab, runtime: Monitored, made: Made) -> None:
        self._lab, self._made = lab, made
        self._numbers = itertools.count()
        self._mounts = PrivateMounts()
        assert runtime.notes_folder is not None
        self._mounts.mount("tarebench", runtime.notes_folder, "tmpfs")

    def request_to_ready_s(self) -> float:
        place = self._lab.place
        name = f"tb-hand-{next(self._numbers)}-{place.run_id}"
        directory, sockets = place.scratch / name, place.state / name
        directory.mkdir()
        sockets.mkdir()
        spec = InstanceSpec(name, place.run_id, self._lab.image, LIMITS, directory, sockets)
        group = Group(Layout.detect(), f"{self._lab.context.cgroup}/{name}")
        root = fresh_layer(self._mounts, spec)
        try:
            return self._start(self._made(spec, root, group), sockets / SOCKET)
        finally:
            self._mounts.unmount(root)
            group.remove()
            shutil.rmtree(directory)
            shutil.rmtree(sockets)

    def _start(self, argv: Sequence[str], path: Path) -> float:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(60)
            line = [find_program(argv[0]) or argv[0], *argv[1:]]
            begin = now_ns()
            with self._mounts.call(spawn, line) as process:
                connection, _ = listener.accept()
                assert connection.recv(len(READY), socket.MSG_WAITALL) == READY
                took_ns = now_ns() - begin
                connection.close()  # an agent whose host has gone ends
                process.wait(20)
        return took_ns / 1e9

    def __enter__(self) -> ByHand:
        return self

    def __exit__(self, *exc: object) -> None:
        self._mounts.close()


@pytest.mark.parametrize(("name", "made"), [("lxc", lxc_by_hand), ("nspawn", nspawn_by_hand)])
def test_a_launch_takes_hardly_longer_than_by_hand(
    benchmark: BenchmarkFixture,
    lab: Lab,
    name: str,
    made: Made,
) -> None:
    runtime = runtime_or_skip(lab, name)
    assert isinstance(runtime, Monitored)

    def ours() -> float:
        marks = Marks()
        with lab.instance(name, LIMITS, marks):
            pass
        found = marks.freeze()
        return (found[Mark.READY] - found[Mark.REQUEST]) / 1e9

    with ByHand(lab, runtime, made) as hand:
        pairs = measure(benchmark, ours, hand.request_to_ready_s, ROUNDS)
    assert pairs.ratio_low() <= TOLERANCE
