"""Vendors' systems: what is missing is told with what to do, within seconds, and nothing hangs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import registry
from harness.clock import now_ns
from harness.errors import RuntimeUnavailable
from harness.experiments import memory
from harness.experiments.bench import Bench
from harness.model import Context, Image, Limits, RuntimeClass, RuntimeFacts
from harness.settings import Memory
from harness.workload import Workload
from runtimes import libvirt_open
from runtimes.vendor import Esxi, OpenVz, Vendor, Vmware

pytest.importorskip("libvirt", reason="libvirt-python is not installed")


class Nowhere:
    def will_make(self, kind: str, name: str, **details: str) -> None:
        raise AssertionError(f"a probe made {kind} {name} {details}")

    removed = will_make


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context("1", tmp_path, tmp_path, "tarebench.1", Nowhere())


def refusal(runtime: Vendor) -> RuntimeUnavailable:
    start = now_ns()
    with pytest.raises(RuntimeUnavailable) as caught:
        runtime.probe()
    runtime.close()
    assert now_ns() - start < 30e9
    assert caught.value.hint
    return caught.value


def test_their_classes_are_right() -> None:
    assert registry.class_of("esxi") is RuntimeClass.MACHINE
    assert registry.class_of("vmware") is RuntimeClass.MACHINE
    assert registry.class_of("xen") is RuntimeClass.MACHINE
    assert registry.class_of("openvz") is RuntimeClass.CONTAINER


def test_a_desktop_without_vmware(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runtimes.vendor.find_program", lambda name: None)
    for product in ("workstation", "player", "fusion"):
        error = refusal(Vmware("vmware", {"product": product}, context))
        assert f"VMware {product.capitalize()} is not installed" in error.message


def test_a_vmrun_that_is_not_vmware_s(
    context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libvirt's driver looks itself, and finds that the program tells no version."""
    for name in ("vmrun", "vmware"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    error = refusal(Vmware("vmware", {}, context))
    assert "libvirt cannot open vmwarews:///session" in error.message


def test_a_host_that_is_not_virtuozzo_s(context: Context) -> None:
    if Path("/proc/vz").exists():
        pytest.skip("this is a host of OpenVZ")
    error = refusal(OpenVz("openvz", {}, context))
    assert "no /proc/vz" in error.message
    assert "vz+ssh://" in error.hint


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def esxi(context: Context, uri: str) -> Esxi:
    return Esxi("esxi", {"uri": uri, "listen": "127.0.0.1", "disk": "[d] x.vmdk"}, context)


def test_an_esxi_host_must_be_named(context: Context) -> None:
    assert "no ESXi host was named" in refusal(Esxi("esxi", {}, context)).message
    assert "names no ESXi host" in refusal(esxi(context, "qemu:///system")).message
    unheard = Esxi("esxi", {"uri": "esx://root@192.0.2.1/"}, context)
    assert "no address of this host" in refusal(unheard).message


def test_an_esxi_host_that_is_not_there(context: Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    error = refusal(esxi(context, f"esx://root@127.0.0.1:{port}/?no_verify=1"))
    assert f"nothing answers at 127.0.0.1 port {port}" in error.message


def test_an_esxi_host_without_a_password(context: Context, silent: int) -> None:
    error = refusal(esxi(context, f"esx://root@127.0.0.1:{silent}/?no_verify=1"))
    assert "authentication failed" in error.message
    assert "auth.conf" in error.hint


def test_an_esxi_host_that_says_nothing(
    context: Context, silent: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password is there, so libvirt's driver connects, and waits."""
    folder = tmp_path / "libvirt"
    folder.mkdir()
    (folder / "auth.conf").write_text(
        "[credentials-test]\nusername=root\npassword=secret\n"
        "[auth-esx-127.0.0.1]\ncredentials=test\n"
    )
    monkeypatch.setenv("LIBVIRT_AUTH_FILE", str(folder / "auth.conf"))
    monkeypatch.setattr(libvirt_open, "OPEN_TIMEOUT_S", 1.0)
    error = refusal(esxi(context, f"esx://root@127.0.0.1:{silent}/?no_verify=1"))
    assert "did not answer within 1 s" in error.message
    assert "virsh -c" in error.hint


def test_what_a_box_costs_elsewhere_is_absent_and_not_zero(context: Context) -> None:
    bench = Bench(
        runtime=Esxi("esxi", {}, context), facts=RuntimeFacts(),
        image=Image("sha256:0", Path("/image"), "", ()), limits=Limits(),
        workload=Workload(argv=["/usr/bin/echo"]), outside=(), run_id="1", scratch=context.cache,
        state=context.state, group=None,
    )  # fmt: skip
    assert bench.elsewhere
    assert not bench.counts_cpu()
    found = memory.measure(bench, Memory())
    assert found.samples == ()
    assert "another host" in str(found.conditions["not_counted"])
