"""What is asked of Docker Engine, word by word, and where a private engine's bridge may lie."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from harness.errors import RuntimeUnavailable
from harness.model import MIB, Image, InstanceSpec, Limits, RuntimeClass
from runtimes import bridge
from runtimes.docker_api import require_local
from runtimes.docker_cli import run_arguments
from runtimes.docker_engine import EngineCleaner, containerd_config, daemon_config
from runtimes.engine import container_config
from runtimes.engine_runtimes import (
    Registered,
    class_of,
    for_network,
    of_docker,
    require,
    tells_networks_apart,
)

GOLDEN = Path(__file__).parent.parent / "golden"
DETAILS = {"bridge": "tb-1", "cgroup": "tarebench-1/engine"}
LIMITS = Limits(cpus=1.5, memory_bytes=256 * MIB, pids=100)


def spec(limits: Limits) -> InstanceSpec:
    image = Image("sha256:0", Path("/image"), "", ())
    return InstanceSpec("box-1", "run-1", image, limits, Path("/layer"), Path("/run/tarebench/s1"))


def test_the_create_call_is_the_golden_one() -> None:
    body = container_config(spec(LIMITS), "sha256:1", "none")
    golden = GOLDEN / "docker-create.json"
    assert body == json.loads(golden.read_text())


def test_a_volume_is_one_more_folder_bound_into_it() -> None:
    plain = container_config(spec(LIMITS), "sha256:1", "none")
    bound = container_config(spec(LIMITS), "sha256:1", "none", Path("/layer/volume"))
    added = set(bound["HostConfig"]["Binds"]) - set(plain["HostConfig"]["Binds"])
    assert added == {"/layer/volume:/run/volume:rw"}
    assert {**bound, "HostConfig": 0} == {**plain, "HostConfig": 0}


def test_an_oci_runtime_is_asked_for_by_name_and_only_when_it_was_named() -> None:
    plain = container_config(spec(LIMITS), "sha256:1", "none")
    named = container_config(spec(LIMITS), "sha256:1", "none", runtime="crun")
    assert named["HostConfig"] == {**plain["HostConfig"], "Runtime": "crun"}
    assert "--runtime" in run_arguments(named, "box-1")
    assert "--runtime" not in run_arguments(plain, "box-1")


def test_a_private_engine_is_told_of_what_is_installed_but_not_of_its_own_runc() -> None:
    known = {"runc": Registered("/usr/bin/runc"), "runsc": Registered("/usr/bin/runsc", ["--x"])}
    config = daemon_config(Path("/state/docker"), Path("/cache/docker"), DETAILS, known)
    assert config["runtimes"] == {"runsc": {"path": "/usr/bin/runsc", "runtimeArgs": ["--x"]}}


@pytest.mark.parametrize(
    ("name", "network", "reason"),
    [
        ("crun", "none", "knows no OCI runtime crun"),
        ("kata", "none", "virtual machines"),
        ("runsc", "bridge", "without --host-uds=open"),
        ("runsc", "none", "runsc-none without --host-uds=open"),
        ("runsc-uds", "host", "without --network=host"),
    ],
)
def test_an_oci_runtime_that_cannot_serve_is_refused_with_its_reason(
    name: str, network: str, reason: str
) -> None:
    flags = {"runsc": [], "runsc-none": ["--network=none"], "runsc-uds": ["--host-uds=open"]}
    known = of_docker({
        "runc": {"path": "runc"},
        **{each: {"path": "/no/runsc", "runtimeArgs": given} for each, given in flags.items()},
    })  # fmt: skip
    require("", known, "the engine", network)
    require("runc", known, "the engine", network)
    with pytest.raises(RuntimeUnavailable, match=reason) as caught:
        require(name, known, "the engine", network)
    assert caught.value.hint


def test_gvisor_is_told_what_network_its_box_has() -> None:
    uds = ["--host-uds=open"]
    known = {
        "runsc": Registered("runsc", uds),
        "runsc-none": Registered("runsc", [*uds, "--network=none"]),
    }
    assert for_network("runsc", "none", known) == "runsc-none"
    assert for_network("runsc", "bridge", known) == "runsc"
    assert for_network("", "none", known) == ""
    assert for_network("crun", "none", {"crun": Registered("crun")}) == "crun"


@pytest.mark.parametrize(
    ("version", "kernel", "apart"),
    [
        ("0.0~20221219.0", "6.1.0-56-amd64", True),
        ("0.0~20221219.0", "6.10.11", True),
        ("0.0~20221219.0", "6.11.0-rc1", False),
        ("0.0~20221219.0", "6.18.5", False),
        ("release-20240826.0", "6.18.5", True),
        ("unknown", "6.18.5", True),
    ],
)
def test_an_old_gvisor_takes_every_network_of_a_new_kernel_for_the_hosts(
    version: str, kernel: str, apart: bool
) -> None:
    assert tells_networks_apart(version, kernel) == apart


def test_the_class_is_the_oci_runtimes() -> None:
    assert class_of("runsc") is class_of("io.containerd.runsc.v1") is RuntimeClass.SANDBOX
    assert class_of("") is class_of("crun") is RuntimeClass.CONTAINER


def test_without_limits_the_engine_s_defaults_hold() -> None:
    host = container_config(spec(Limits()), "sha256:1", "host")["HostConfig"]
    assert not {"Memory", "MemorySwap", "NanoCpus", "PidsLimit"} & host.keys()


def test_a_private_engine_touches_the_host_s_network_nowhere_but_at_its_bridge() -> None:
    config = daemon_config(Path("/state/docker"), Path("/cache/docker"), DETAILS, {})
    assert config["bridge"] == "tb-1"
    assert config["cgroup-parent"] == "/tarebench-1"
    assert not any(config[key] for key in ("iptables", "ip6tables", "ip-forward", "ip-masq"))
    assert config["containerd"] == "/state/docker/containerd.sock"


def test_containerd_s_configuration_quotes_its_paths() -> None:
    text = containerd_config(Path('/a "b"'), Path("/c"))
    assert r'address = "/a \"b\"/containerd.sock"' in text


ROUTES = """Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT
eth0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0
eth0\t{}\t00000000\t0001\t0\t0\t0\t{}\t0\t0\t0
"""


def routed(network: str) -> str:
    parsed = ipaddress.IPv4Network(network)
    address, mask = (
        int(value).to_bytes(4, "little").hex().upper()
        for value in (parsed.network_address, parsed.netmask)
    )
    return ROUTES.format(address, mask)


def test_the_bridge_s_network_avoids_what_is_routed() -> None:
    free = bridge.free_network(routed("10.0.0.0/8"))
    assert free == ipaddress.IPv4Network("172.31.240.0/20")
    assert not bridge.free_network(routed("172.16.0.0/12")).overlaps(
        ipaddress.IPv4Network("172.16.0.0/12")
    )


def test_no_network_is_left_when_all_are_routed() -> None:
    with pytest.raises(OSError, match="routed elsewhere"):
        bridge.free_network(routed("0.0.0.0/1") + routed("128.0.0.0/1").splitlines()[2])


def test_a_bridge_s_name_fits_and_belongs_to_one_run() -> None:
    names = {bridge.name_of(f"run-{number}") for number in range(100)}
    assert len(names) == 100
    assert max(map(len, names)) <= 15


@pytest.mark.parametrize("host", ["tcp://192.0.2.1:2375", "ssh://x@example.org", "npipe:////x"])
def test_an_engine_elsewhere_is_refused(host: str) -> None:
    with pytest.raises(RuntimeUnavailable, match="remote"):
        require_local(host)


def test_cleaning_what_never_was_does_nothing(tmp_path: Path) -> None:
    cleaner, name = EngineCleaner(), str(tmp_path / "docker")
    details = {"bridge": "tb-none", "cgroup": "docktest-none", "mount_points": str(tmp_path / "no")}
    assert not cleaner.exists(name, details)
    cleaner.remove(name, details)
