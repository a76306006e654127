"""What libvirt's other drivers are told, and what is read of what they tell."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.model import MIB
from runtimes.capabilities import find_kind, guest_kinds
from runtimes.container_xml import Bind, Container, container_xml
from runtimes.libvirt_daemon import daemon_config
from runtimes.privileges import CAPABILITIES

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
UUID = "6b35c797-4702-4f40-a8d3-0ae2ef4e56b9"

CONTAINER = Container(
    name="tarebench-1",
    uuid=UUID,
    partition="/tarebench.1",
    memory_bytes=256 * MIB,
    cpu_quota=None,
    root=Path("/scratch/root"),
    sockets=Path("/run/tarebench/1/box"),
    word="unix:/run/tarebench/channel",
)
DOMAINS: dict[str, Callable[[], str]] = {
    "lxc": lambda: container_xml(CONTAINER),
    "lxc-volume": lambda: container_xml(
        replace(
            CONTAINER, cpu_quota=1.5, volumes=[Bind(Path("/scratch/volume"), "/run/volume")]
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DOMAINS)
def test_the_xml_is_the_golden_one(name: str) -> None:
    golden = GOLDEN / f"domain-{name}.xml"
    made = DOMAINS[name]()
    if os.environ.get("TAREBENCH_WRITE_GOLDEN"):
        golden.write_text(made)
    assert made == golden.read_text()


@pytest.mark.parametrize("name", DOMAINS)
def test_the_xml_is_valid_by_libvirts_schema(name: str) -> None:
    if shutil.which("virt-xml-validate") is None or shutil.which("xmllint") is None:
        pytest.skip("virt-xml-validate or xmllint is not installed")
    done = subprocess.run(
        ["virt-xml-validate", GOLDEN / f"domain-{name}.xml", "domain"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_container_keeps_what_other_containers_keep() -> None:
    kept = ElementTree.fromstring(container_xml(CONTAINER)).find("features/capabilities")
    assert kept is not None
    assert kept.get("policy") == "deny"
    assert [f"CAP_{e.tag.upper()}" for e in kept if e.get("state") == "on"] == list(CAPABILITIES)


def test_hostile_paths_stay_text() -> None:
    hostile = Path("/a'b\"<c>&/root")
    made = ElementTree.fromstring(container_xml(replace(CONTAINER, root=hostile)))
    source = made.find("devices/filesystem/source")
    assert source is not None
    assert source.get("dir") == str(hostile)


def test_capabilities_tell_what_is_offered() -> None:
    lxc = (GOLDEN / "capabilities-lxc.xml").read_text()
    assert {kind.arch for kind in guest_kinds(lxc)} == {"x86_64", "i686"}
    kind = find_kind(lxc, "exe", "x86_64", "lxc")
    assert kind is not None
    assert kind.emulator == "/usr/lib/libvirt/libvirt_lxc"
    assert find_kind(lxc, "hvm", "x86_64", "lxc") is None
    assert find_kind(lxc, "exe", "x86_64", "qemu") is None


def test_a_private_daemon_s_sockets_are_their_owner_s() -> None:
    said = daemon_config(Path("/run/tarebench/1/libvirtd-lxc"))
    assert said.count('"0700"') == 2
    assert "tcp" not in said
    assert "tls" not in said
