"""What LXC and systemd-nspawn are told, word by word: pure functions of the instance."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.model import MIB, Image, InstanceSpec, Limits
from harness.probes.cgroups import Group, Layout
from runtimes import lxc, nspawn
from runtimes.privileges import CAPABILITIES, DENIED_CALLS

GOLDEN = Path(__file__).parent.parent / "golden"
LIMITS = Limits(cpus=1.5, memory_bytes=256 * MIB, pids=100)
CONTROLLERS = ("memory", "cpu", "cpuacct", "pids")


def v1() -> Layout:
    return Layout("v1", {name: Path("/cgroup", name) for name in CONTROLLERS}, None)


def v2(tmp_path: Path) -> Layout:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    return Layout("v2", {}, tmp_path)


def hybrid() -> Layout:
    return Layout("hybrid", v1().v1, Path("/cgroup/unified"))


def spec(limits: Limits = LIMITS, sockets: str = "/run/tarebench/s1") -> InstanceSpec:
    image = Image("sha256:0", Path("/image"), "", ())
    return InstanceSpec("box-1", "run-1", image, limits, Path("/layer"), Path(sockets))


def written(layout: Layout, limits: Limits = LIMITS, **more: Path) -> str:
    box = Group(layout, "tarebench-1/box-1/box")
    return lxc.configuration(spec(limits), Path("/layer/root"), box, **more)


def pairs(text: str) -> list[tuple[str, str]]:
    found = [line.partition(" = ") for line in text.splitlines()]
    return [(key, value) for key, _, value in found]


def test_the_configuration_of_lxc_is_the_golden_one() -> None:
    assert written(v1()) == (GOLDEN / "lxc.conf").read_text()


def test_a_hybrid_host_has_its_limits_on_v1() -> None:
    assert written(hybrid()) == written(v1())


def test_the_same_limits_under_cgroup_v2(tmp_path: Path) -> None:
    old, new = dict(pairs(written(v1()))), dict(pairs(written(v2(tmp_path))))
    assert not [key for key in new if key.startswith("lxc.cgroup.") and ".dir." not in key]
    assert new["lxc.cgroup2.memory.max"] == old["lxc.cgroup.memory.limit_in_bytes"]
    assert new["lxc.cgroup2.cpu.max"] == old["lxc.cgroup.cpu.cfs_quota_us"] == "150000"
    assert new["lxc.cgroup2.pids.max"] == old["lxc.cgroup.pids.max"] == "100"


def test_without_limits_there_are_none() -> None:
    keys = {key for key, _ in pairs(written(v1(), Limits()))}
    assert not [key for key in keys if "memory" in key or "cpu" in key or "pids" in key]


def test_a_volume_is_one_more_mount_and_a_filter_one_more_file() -> None:
    plain, more = (
        set(pairs(written(v1()))),
        set(pairs(written(v1(), volume=Path("/layer/volume"), filtered=Path("/layer/seccomp")))),
    )
    assert not plain - more
    assert more - plain == {
        ("lxc.mount.entry", "/layer/volume run/volume none bind,create=dir 0 0"),
        ("lxc.seccomp.profile", "/layer/seccomp"),
    }


def test_a_path_with_a_space_stays_one_field() -> None:
    box = Group(v1(), "tarebench-1/box-1/box")
    text = lxc.configuration(spec(sockets="/run/a b"), Path("/layer/my root"), box)
    assert "lxc.rootfs.path = dir:/layer/my root\n" in text
    assert r"lxc.mount.entry = /run/a\040b run/tarebench none" in text


def test_the_filter_names_each_refused_call() -> None:
    head, *lines = lxc.denylist().partition("[all]\n")[0::2]
    assert head == "2\ndenylist\n"
    assert [line.split()[0] for line in lines[0].splitlines()] == list(DENIED_CALLS)


def test_nspawn_keeps_the_capabilities_of_the_others() -> None:
    words = nspawn.options(spec(), Path("/layer/root"), None)
    told = dict(word.partition("=")[::2] for word in words)
    left = {*nspawn.DEFAULT_CAPABILITIES, *told["--capability"].split(",")}
    assert left - set(told["--drop-capability"].split(",")) == set(CAPABILITIES)


@pytest.mark.parametrize("word", ["--register=no", "--keep-unit", "--private-network"])
def test_nspawn_needs_no_system_manager_and_gets_a_network_of_its_own(word: str) -> None:
    assert word in nspawn.options(spec(), Path("/layer/root"), None)


def test_a_colon_in_a_path_parts_no_field_of_nspawn() -> None:
    words = nspawn.options(spec(sockets="/run/a:b"), Path("/layer/root"), Path("/v:1"))
    assert r"--bind=/run/a\:b:/run/tarebench" in words
    assert r"--bind=/v\:1:/run/volume" in words
