"""What `make` does before there is an environment: what it would install, and what never."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bootstrap
import host
import pytest

RUNC, DOCKER, TINI = (
    host.Need(package, "for a test", lambda: False) for package in ("runc", "docker.io", "tini")
)


class Refusing(host.Apt):
    """apt-get that would remove something, or knows no such package."""

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = reasons

    def objection(self, packages: Sequence[str]) -> str:
        return next((self.reasons[name] for name in packages if name in self.reasons), "")


def test_what_would_remove_a_package_is_left_out_and_the_rest_is_kept() -> None:
    reason = "would remove docker-ce"
    kept, left = host.installable(Refusing({"docker.io": reason}), [RUNC, DOCKER, TINI])
    assert kept == [RUNC, TINI]
    assert left == [(DOCKER, reason)]


def test_what_can_be_installed_together_is() -> None:
    assert host.installable(Refusing({}), [RUNC, DOCKER]) == ([RUNC, DOCKER], [])


@pytest.mark.parametrize(
    ("status", "stdout", "stderr", "objection"),
    [
        (0, "Inst runc\nConf runc\n", "", ""),
        (
            0,
            "Remv docker-ce [5:24]\nRemv containerd.io\n",
            "",
            "would remove docker-ce, containerd.io",
        ),
        (100, "", "E: Unable to locate package crun\n", "Unable to locate package crun"),
        (100, "", "", "apt-get refuses"),
    ],
)
def test_objections_are_read_from_a_simulation(
    monkeypatch: pytest.MonkeyPatch, status: int, stdout: str, stderr: str, objection: str
) -> None:
    def simulate(argv: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert "--simulate" in argv
        return subprocess.CompletedProcess(argv, status, stdout, stderr)

    monkeypatch.setattr(subprocess, "run", simulate)
    assert host.Apt.objection(Refusing({}), ["any"]) == objection


def test_an_engine_is_never_installed_where_one_is_told_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere")
    assert host.docker_engine()


@pytest.mark.parametrize(
    ("told", "there", "met"),
    [("Y\n", False, False), ("Y\n", True, True), ("N\n", False, True), (None, False, True)],
)
def test_profiles_are_needed_where_the_kernel_has_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, told: str | None, there: bool, met: bool
) -> None:
    enabled = tmp_path / "enabled"
    if told is not None:
        enabled.write_text(told)
    monkeypatch.setattr(host, "_APPARMOR", enabled)
    monkeypatch.setattr(host, "program", lambda name: there and name == "apparmor_parser")
    assert host.apparmor() is met


def test_debians_keys_are_needed_where_apt_does_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(host, "_DEBIAN_KEYRINGS", tmp_path)
    (tmp_path / "ubuntu-archive-keyring.gpg").touch()
    assert not host.debian_keyring()
    (tmp_path / "debian-archive-keyring.gpg").touch()
    assert host.debian_keyring()


def test_without_rights_the_command_is_printed(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(host, "NEEDS", (RUNC, TINI))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(host, "program", lambda name: name != "sudo")
    host.provide(ask=False)
    assert "apt-get install --no-install-recommends runc tini" in capfd.readouterr().err


class Recording(host.Apt):
    """apt-get and systemctl that only tell what they were asked for, in order."""

    def __init__(self, masks: bool) -> None:
        self.present, self._prefix = True, ()
        self.masks = masks
        self.asked: list[Sequence[str]] = []

    def objection(self, packages: Sequence[str]) -> str:
        return ""

    def mask(self, units: Sequence[str]) -> bool:
        self.asked.append(["mask", *units])
        return self.masks

    def install(self, packages: Sequence[str]) -> bool:
        self.asked.append(["install", *packages])
        return True


@pytest.mark.parametrize("masks", [True, False])
def test_a_package_comes_without_its_services_or_not_at_all(
    monkeypatch: pytest.MonkeyPatch, masks: bool
) -> None:
    lxc = host.Need("lxc", "for a test", lambda: False, units=("lxc-net.service",))
    apt = Recording(masks)
    monkeypatch.setattr(host, "NEEDS", (RUNC, lxc))
    monkeypatch.setattr(host, "Apt", lambda interactive: apt)
    monkeypatch.setattr(host, "program", lambda name: name == "systemctl")
    monkeypatch.setattr(host, "_lists_fetched", time.time)
    host.provide(ask=False)
    assert apt.asked == [["mask", "lxc-net.service"], ["install", "runc", *["lxc"] * masks]]


def test_the_environment_is_stamped_by_all_that_it_is_made_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    top = tmp_path_factory.mktemp("checkout")
    (top / "harness").mkdir()
    for name in ("pyproject.toml", "constraints.txt", "harness/__init__.py"):
        (top / name).write_text("")
    monkeypatch.setattr(bootstrap, "TOP", top)
    seen = [bootstrap._inputs()]
    for name in ("pyproject.toml", "constraints.txt", "harness/__init__.py"):
        (top / name).write_text("changed")
        seen.append(bootstrap._inputs())
    assert len(set(seen)) == len(seen)


def test_files_of_the_checkout_are_given_back_only_after_sudo(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.setattr(os, "chown", lambda *_, **__: pytest.fail("nobody asked"))
    bootstrap.give_back()
