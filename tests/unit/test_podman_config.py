"""What is asked of Podman, and what a private service is told, word by word."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.model import MIB, Context, Image, InstanceSpec, Limits, RuntimeClass
from runtimes.podman import Podman
from runtimes.podman_service import ServiceCleaner, containers_conf, storage_conf

GOLDEN = Path(__file__).parent.parent / "golden"


class Nothing:
    """An inventory on which nothing may be written."""

    def will_make(self, kind: str, name: str, **details: str) -> None:
        raise AssertionError(kind)

    def removed(self, kind: str, name: str) -> None:
        raise AssertionError(kind)


def podman(folder: Path, **given: str) -> Podman:
    context = Context("run-1", folder / "cache", folder / "state", "tarebench.1", Nothing())
    return Podman("podman", given, context)


def test_the_create_call_is_that_of_docker(tmp_path: Path) -> None:
    image = Image("sha256:0", Path("/image"), "", ())
    limits = Limits(cpus=1.5, memory_bytes=256 * MIB, pids=100)
    spec = InstanceSpec("box-1", "run-1", image, limits, Path("/layer"), Path("/run/tarebench/s1"))
    body = podman(tmp_path, network="none", runtime="runc").config(spec, None)
    assert {**body, "Image": "sha256:1"} == json.loads((GOLDEN / "docker-create.json").read_text())


def test_a_service_of_ours_keeps_its_state_in_our_folders() -> None:
    conf = tomllib.loads(containers_conf(Path("/state/podman"), Path('/cache "x"/podman')))
    assert conf["engine"]["static_dir"] == '/cache "x"/podman/storage/libpod'
    assert conf["engine"]["cgroup_manager"] == "cgroupfs"
    assert conf["network"]["network_config_dir"] == "/state/podman/networks"
    storage = tomllib.loads(storage_conf(Path("/cache/podman")))["storage"]
    assert storage["graphroot"] == "/cache/podman/storage"


def test_boxes_on_the_hosts_network_and_others_have_services_of_their_own(tmp_path: Path) -> None:
    forms = [{}, {"network": "host"}, {"runtime": "runc"}, {"network": "host", "runtime": "runc"}]
    hosts = {podman(tmp_path, **form)._private.host for form in forms}
    assert len(hosts) == len(forms)
    none, bridge = podman(tmp_path, network="none"), podman(tmp_path, network="bridge")
    assert none._private.host == bridge._private.host


def test_the_class_follows_the_oci_runtime(tmp_path: Path) -> None:
    assert podman(tmp_path).runtime_class is RuntimeClass.CONTAINER
    assert podman(tmp_path, runtime="runsc").runtime_class is RuntimeClass.SANDBOX


def test_an_unknown_parameter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="client"):
        podman(tmp_path, client="cli")


def test_cleaning_what_never_was_does_nothing(tmp_path: Path) -> None:
    cleaner, name = ServiceCleaner(), str(tmp_path / "podman")
    details = {"data": str(tmp_path / "data"), "cgroup": "podtest-none"}
    assert not cleaner.exists(name, details)
    cleaner.remove(name, details)
