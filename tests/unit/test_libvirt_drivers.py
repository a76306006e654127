"""What libvirt's other drivers are told, and what is read of what they tell."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from harness.errors import LaunchFailed, RuntimeUnavailable
from harness.image.guest import OPTIONAL_MODULES
from harness.inventory import Inventory
from runtimes.capabilities import find_kind, guest_kinds
from runtimes.container_xml import container_xml
from runtimes.libvirt_daemon import Driver, SharedLibvirt, daemon_config
from runtimes.privileges import CAPABILITIES
from runtimes.xen import (
    _there,
    explained,
    require_allowed,
    require_hypervisor,
    require_kind,
    without_logs,
)
from runtimes.xen_xml import xen_command_line
from tests.domains import CONTAINER

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


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


def test_a_xen_guest_is_told_its_channel_its_disk_and_its_driver() -> None:
    kernel, _, agent = xen_command_line("off").partition(" -- ")
    assert "mitigations=off" in kernel.split()
    assert agent.split() == ["tty:/dev/hvc1", "root:/dev/xvda", "xen"]
    assert set(agent.split()) & set(OPTIONAL_MODULES) == {"xen"}


@pytest.mark.parametrize(
    ("kind", "privileged", "reason"),
    [
        (None, None, "there is no Xen below this kernel"),
        ("kvm", None, "there is not Xen but kvm below this kernel"),
        ("xen", "", "this is a guest of Xen"),
        ("xen", None, "this is a guest of Xen"),
    ],
)
def test_without_a_hypervisor_of_ours_the_reason_is_told(
    tmp_path: Path, kind: str | None, privileged: str | None, reason: str
) -> None:
    files = tmp_path / "type", tmp_path / "capabilities"
    for file, text in zip(files, (kind, privileged), strict=True):
        if text is not None:
            file.write_text(f"{text}\n")
    with pytest.raises(RuntimeUnavailable, match=reason) as caught:
        require_hypervisor(*files)
    assert caught.value.hint
    files[0].write_text("xen\n")
    files[1].write_text("control_d\n")
    require_hypervisor(*files)


@pytest.mark.parametrize(
    "profile", ["libvirtd (enforce)", "libvirtd (complain)", "dhclient (enforce)"]
)
def test_a_device_model_that_apparmor_forbids_is_told_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, profile: str
) -> None:
    """By an aa-exec that says what Debian's says; the lab's suite asks Debian's own."""
    profiles, model, aa_exec = (tmp_path / name for name in ("profiles", "model", "aa-exec"))
    profiles.write_text(f"docker-default (enforce)\n{profile}\n")
    model.touch()
    aa_exec.write_text('#!/bin/sh\necho "aa-exec: Failed to execute $5: Permission denied" >&2\n')
    aa_exec.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    if profile != "libvirtd (enforce)":
        require_allowed(str(model), profiles)
        return
    with pytest.raises(RuntimeUnavailable, match=f"forbids it to start {model}") as caught:
        require_allowed(str(model), profiles)
    assert f"'{model} PUx,'" in caught.value.hint
    require_allowed(str(tmp_path / "elsewhere"), profiles)
    require_allowed(str(model), tmp_path / "no AppArmor")


def test_a_device_model_that_is_elsewhere_is_left_to_libxl(tmp_path: Path) -> None:
    named = tmp_path / "qemu-system-i386"
    assert _there(str(named)) == ""
    named.touch()
    assert _there(str(named)) == str(named)
    assert _there("") == ""


def test_the_logs_of_a_xen_guest_are_listed_before_it_and_go_after_it(tmp_path: Path) -> None:
    patterns = [f"{tmp_path}/qemu-dm-{{}}.log", f"{tmp_path}/{{}}.log"]
    other = tmp_path / "qemu-dm-other.log"
    other.touch()
    with Inventory("1", tmp_path / "inventory") as inventory:
        with without_logs("guest", inventory, patterns):
            listed = [entry.name for entry in inventory.entries()]
            (tmp_path / "guest.log").touch()  # the other was never begun
        assert sorted(listed) == [f"{tmp_path}/guest.log", f"{tmp_path}/qemu-dm-guest.log"]
        assert inventory.entries() == []
    assert [path for path in tmp_path.iterdir() if path.is_file()] == [other]


def test_why_libxl_failed_is_told_by_its_own_log(tmp_path: Path) -> None:
    log = tmp_path / "libxl-driver.log"

    def fail(said: str) -> None:
        if said:
            with log.open("a") as file:
                file.write(said)
        raise LaunchFailed("libvirt could not start the domain")

    def told(said: str) -> str:
        with pytest.raises(LaunchFailed) as caught, explained(log):
            fail(said)
        return caught.value.message

    assert told("") == "libvirt could not start the domain"
    said = "libxl: Domain 4:device model did not start: -9"
    assert told(f"{said}\nlibxl: what came of it\n").endswith(f"({said})")
    assert told("libxl: another\n").endswith("(libxl: another)")


def xen_capabilities(*kinds: tuple[str, str]) -> str:
    """The document's part that is looked at, as libxl writes it."""
    guests = "".join(
        f"<guest><os_type>{os_type}</os_type><arch name='x86_64'><wordsize>64</wordsize>"
        f"<emulator>/usr/libexec/xen/bin/qemu-system-i386</emulator><machine>{machine}</machine>"
        "<domain type='xen'/></arch></guest>"
        for os_type, machine in kinds
    )
    return f"<capabilities><host/>{guests}</capabilities>"


def test_a_xen_without_hardware_support_offers_pv_alone() -> None:
    only = xen_capabilities(("xen", "xenpv"))
    assert require_kind(only, "pv").machines == ("xenpv",)
    with pytest.raises(RuntimeUnavailable, match="runs no hvm guests, but pv"):
        require_kind(only, "hvm")
    every = xen_capabilities(("xen", "xenpv"), ("hvm", "xenfv"), ("xenpvh", "xenpvh"))
    assert require_kind(every, "pvh").machines == ("xenpvh",)
    assert require_kind(every, "hvm").emulator.endswith("qemu-system-i386")
    with pytest.raises(RuntimeUnavailable, match="none at all"):
        require_kind(xen_capabilities(), "pv")


def test_the_hosts_daemon_is_told_by_the_socket_at_which_it_answers(tmp_path: Path) -> None:
    """libvirt's client, in a process that has a driver of its own, looks for others by itself."""
    driver = Driver("lxc", "lxc", "any", "lxc:///system")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "libvirt sock"))
        listening.listen()
        shared = SharedLibvirt("lxc:///system", driver)
        shared._sockets = [str(tmp_path / "nobody"), str(tmp_path / "libvirt sock")]
        assert shared.uri == f"lxc:///system?socket={tmp_path}/libvirt%20sock"
        assert shared.processes() == [os.getpid()]
        own = SharedLibvirt(f"lxc:///system?socket={tmp_path}/libvirt%20sock", driver)
        assert own.answers()
        assert own.uri == f"lxc:///system?socket={tmp_path}/libvirt%20sock"
    assert not shared.answers()
    assert shared.uri == "lxc:///system"
