"""Control groups on v1, v2 and hybrid hosts: from text files, and for real where we may."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness.model import MIB, Limits
from harness.probes.cgroups import Charge, Group, Layout, charge, cpu_ns, remove_tree, run_group

V1 = """tmpfs {0} tmpfs rw 0 0
cgroup {0}/memory cgroup rw,relatime,memory 0 0
cgroup {0}/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0
cgroup {0}/pids cgroup rw,pids 0 0
cgroup {0}/freezer cgroup rw,freezer 0 0
"""
V2 = "cgroup2 {0} cgroup2 rw,nosuid,nsdelegate 0 0\nproc /proc proc rw 0 0\n"
HYBRID = V1 + "cgroup2 {0}/unified cgroup2 rw 0 0\n"

needs_groups = pytest.mark.skipif(
    not Layout.detect().writable(), reason="control groups are not writable here"
)


def layout_of(folder: Path, mounts: str) -> Layout:
    path = folder / "mounts"
    path.write_text(mounts.format(folder))
    return Layout.detect(path)


def test_v1_has_a_hierarchy_a_controller(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, V1)
    assert (layout.version, layout.v2) == ("v1", None)
    assert layout.root_of("memory") == tmp_path / "memory"
    assert layout.root_of("cpu") == layout.root_of("cpuacct") == tmp_path / "cpu,cpuacct"
    assert layout.roots() == (
        tmp_path / "memory", tmp_path / "cpu,cpuacct", tmp_path / "pids"
    )  # fmt: skip
    assert tmp_path / "freezer" in layout.mounts


def test_v2_has_one_hierarchy_that_says_what_it_controls(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, V2)
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory\n")
    assert (layout.version, layout.v2) == ("v2", tmp_path)
    assert layout.root_of("memory") == layout.root_of("cpuacct") == tmp_path
    assert layout.root_of("pids") is None
    assert layout.roots() == (tmp_path,)


def test_hybrid_takes_controllers_from_v1(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, HYBRID)
    assert (layout.version, layout.v2) == ("hybrid", tmp_path / "unified")
    assert layout.root_of("memory") == tmp_path / "memory"
    assert tmp_path / "unified" not in layout.roots()
    assert tmp_path / "unified" in layout.mounts


def test_host_without_control_groups(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, "proc /proc proc rw 0 0\n")
    assert layout.version == "none"
    assert layout.roots() == ()
    assert not layout.writable()


@pytest.mark.parametrize(
    ("mounts", "files"),
    [
        (V1, {"memory/g/memory.limit_in_bytes": "268435456", "cpu,cpuacct/g/cpu.cfs_quota_us":
              "50000", "pids/g/pids.max": "64"}),
        (HYBRID, {"memory/g/memory.limit_in_bytes": "268435456", "pids/g/pids.max": "64"}),
        (V2, {"g/memory.max": "268435456", "g/cpu.max": "50000", "g/pids.max": "64"}),
    ],
)  # fmt: skip
def test_limits_are_written_where_the_layout_has_them(
    tmp_path: Path, mounts: str, files: dict[str, str]
) -> None:
    layout = layout_of(tmp_path, mounts)
    for name in ("memory", "cpu,cpuacct", "pids", "unified"):
        (tmp_path / name).mkdir()
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    Group(layout, "g").create(Limits(cpus=0.5, memory_bytes=256 * MIB, pids=64))
    for name, text in files.items():
        assert (tmp_path / name).read_text() == text


def test_what_the_service_manager_has_no_use_for_is_allowed_for_our_group(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, V2)
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    allowed = tmp_path / "cgroup.subtree_control"
    allowed.write_text("memory pids\n")
    Group(layout, "tarebench.ab").create()
    assert allowed.read_text() == "+cpu"
    allowed.unlink()
    allowed.mkdir()  # it may be refused, and that is told by the limit that cannot be written
    Group(layout, "tarebench.ab").create()


def test_charge_of_v1_counts_all_below(tmp_path: Path) -> None:
    (tmp_path / "memory.stat").write_text(
        "cache 1\nrss 2\nshmem 3\ntotal_cache 4096\ntotal_rss 8192\ntotal_shmem 1024\n"
    )
    assert charge(tmp_path) == Charge(anon=8192, file=4096, shmem=1024, kernel=0)
    (tmp_path / "memory.kmem.usage_in_bytes").write_text("512\n")
    found = charge(tmp_path)
    assert found is not None
    assert found.total == 8192 + 4096 + 512


def test_charge_of_v2_adds_kernel_parts_where_there_is_no_sum(tmp_path: Path) -> None:
    stat = "anon 100\nfile 50\nshmem 20\nkernel_stack 3\npagetables 4\nslab 5\nsock 1\npercpu 2\n"
    (tmp_path / "memory.stat").write_text(stat)
    assert charge(tmp_path) == Charge(anon=100, file=50, shmem=20, kernel=15)
    (tmp_path / "memory.stat").write_text(stat + "kernel 40\n")
    assert charge(tmp_path) == Charge(anon=100, file=50, shmem=20, kernel=40)


def test_what_is_not_counted_is_absent(tmp_path: Path) -> None:
    assert charge(tmp_path) is None
    assert cpu_ns(tmp_path) is None
    (tmp_path / "cpu.stat").write_text("nr_periods 0\n")
    assert cpu_ns(tmp_path) is None


def test_cpu_time_of_v1_and_v2_is_in_nanoseconds(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 1500\nuser_usec 1000\n")
    assert cpu_ns(tmp_path) == 1_500_000
    (tmp_path / "cpuacct.usage").write_text("1234\n")
    assert cpu_ns(tmp_path) == 1234


def test_this_process_is_in_a_group_that_exists() -> None:
    layout = Layout.detect()
    if layout.version == "none":
        pytest.skip("this host has no control groups")
    assert all(path.is_dir() for path in layout.groups_of(os.getpid()))


BUSY = "for ((i = 0; i < 50000; i++)); do :; done"
"""Long enough to be seen by whoever counts CPU time in scheduler ticks."""


@needs_groups
def test_real_group_is_made_limited_joined_and_removed() -> None:
    group = Group(Layout.detect(), f"tarebench-test-{os.getpid()}")
    group.create(Limits(cpus=0.5, memory_bytes=64 * MIB, pids=16))
    try:
        assert all(path.is_dir() for path in group.paths())
        with group.joinable() as descriptors:
            join = "; ".join(f"echo 0 >&{number}" for number in descriptors)
            child = subprocess.Popen(
                ["/bin/bash", "-c", f"{join}; {BUSY}; echo in; exec sleep 1000"],
                pass_fds=descriptors, stdout=subprocess.PIPE,
            )  # fmt: skip
        with child, ExitStack() as stack:
            stack.callback(group.kill)  # also when a check fails: leaving waits for the child
            assert child.stdout is not None
            assert child.stdout.readline() == b"in\n"
            assert set(group.paths()) <= {
                path for path in Layout.detect().groups_of(child.pid)
            } | {group.path("cpuacct")}  # fmt: skip
            assert group.members() == (child.pid,)
            held = charge(group.path("memory") or Path())
            assert held is not None
            assert held.total > 0
            assert (group.cpu_ns() or 0) > 0
            group.kill()
            assert child.wait(30) == -signal.SIGKILL
    finally:
        group.kill()
        group.remove()
    assert not any((mount / group.name).exists() for mount in group.layout.mounts)


@needs_groups
def test_group_with_a_process_cannot_be_removed() -> None:
    group = Group(Layout.detect(), f"tarebench-test-busy-{os.getpid()}")
    group.create()
    with subprocess.Popen(["sleep", "1000"]) as sleeper, ExitStack() as stack:
        stack.callback(sleeper.kill)
        for path in group.paths():
            (path / "cgroup.procs").write_text(str(sleeper.pid))
        with pytest.raises(OSError, match="busy"):
            remove_tree(group.paths()[0])
        group.kill()
        sleeper.wait(30)
    group.remove()


@needs_groups
def test_run_group_takes_the_harness_in_and_gives_it_back() -> None:
    layout = Layout.detect()
    before = layout.groups_of(os.getpid())
    name = f"tarebench-test-run-{os.getpid()}"
    with run_group(name) as group:
        assert group is not None
        counting = group.path("cpuacct")
        assert counting is not None
        assert str(os.getpid()) in (counting / "harness" / "cgroup.procs").read_text().split()
        spent = group.cpu_ns()
        assert spent is not None
        sum(range(10**6))
        assert (group.cpu_ns() or 0) > spent
        left = subprocess.Popen(["sleep", "1000"])  # what a teardown has missed
        assert left.pid in group.members()
    assert left.wait(30) == -signal.SIGKILL
    assert layout.groups_of(os.getpid()) == before
    assert not any((mount / name).exists() for mount in layout.mounts)
