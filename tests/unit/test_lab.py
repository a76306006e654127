"""The lab's pure parts: QEMU's command line, what a disk holds, what it inherits, bad words."""

from __future__ import annotations

import io
import os
import signal
import tarfile
from pathlib import Path, PurePosixPath

import pytest

from harness import process
from harness.cli.laboratory import _wish
from harness.errors import EnvironmentRefused, UsageError
from harness.inventory import Inventory
from harness.lab import build, inherited, machine, project, recipe
from harness.lab.running import Wish, _is_newer, _require_flags
from harness.lab.session import working_line
from harness.model import MIB

GOLDEN = Path(__file__).parent.parent / "golden"
BOOT = machine.Boot(Path("/k/vmlinuz"), "/k/initrd.img", "root=/dev/vda", 3072 * MIB, 2)


@pytest.mark.parametrize("restored", [False, True])
def test_qemu_is_told_what_the_golden_file_says(restored: bool) -> None:
    argv = machine.qemu_arguments(
        "ab12", BOOT, Path("/d,1/disk"), machine.Sockets(Path("/run/lab")), restored=restored
    )
    name = "lab-qemu-restored.txt" if restored else "lab-qemu.txt"
    assert "\n".join(argv) + "\n" == (GOLDEN / name).read_text()


def test_a_profile_has_proofs_and_an_unknown_one_is_refused() -> None:
    for profile in recipe.PROFILES.values():
        assert profile.proofs
        assert profile.memory_bytes >= 1024 * MIB
    with pytest.raises(UsageError, match="no profile hyperv"):
        recipe.find_profile("hyperv")


@pytest.mark.parametrize(("profile", "memory"), [("kvm", 512), ("xen", 2048)])
def test_a_lab_with_too_little_memory_is_refused(profile: str, memory: int) -> None:
    with pytest.raises(UsageError, match=f"{memory} MiB are too few for the lab {profile}"):
        _wish(profile, memory, None, "10m")
    assert _wish("xen", None, None, "10m").memory_bytes == 4096 * MIB


def test_what_could_not_be_ended_stays_on_the_inventory(tmp_path: Path) -> None:
    stays = ["/bin/sh", "-c", "kill -STOP $$", "-name", "tarebench-lab-t1"]
    with Inventory("lab", tmp_path) as inventory, process.spawn(stays) as left:
        with machine._listed("t1", inventory):
            pass
        assert [(each.kind, each.name) for each in inventory.entries()] == [(machine.KIND, "t1")]
        machine.machines.remove("t1", {})
        assert left.wait(60) == -signal.SIGKILL
        with machine._listed("t1", inventory):
            pass
        assert inventory.entries() == []


def test_a_processor_without_virtualization_is_told() -> None:
    profile = recipe.find_profile("kvm")
    _require_flags(profile, ["svm", "npt"])
    with pytest.raises(EnvironmentRefused, match="lacks svm and npt"):
        _require_flags(profile, [])
    assert Wish(profile, profile.memory_bytes).keep is None


def test_an_ordinary_user_begins_at_home_without_a_checkout() -> None:
    fresh, kvm = recipe.find_profile("fresh"), recipe.find_profile("kvm")
    assert working_line(kvm, "tarebench doctor") == (
        "cd /srv/tarebench && TAREBENCH_REPORT=0 PATH=/srv/tarebench/.venv/bin:$PATH "
        "exec tarebench doctor"
    )
    home = PurePosixPath("/home", recipe.USER)
    assert working_line(fresh, "make") == f"cd {home} && TAREBENCH_REPORT=0 exec make"
    assert fresh.runs == home / "tarebench" / "results" / "runs"
    assert str(kvm.runs) == "/srv/tarebench/results/runs"
    assert not {"python3-venv", "libvirt-daemon-system"} & set(fresh.disk.packages)
    assert recipe.find_profile("fresh13").disk.suite == "trixie"
    assert any("ID=ubuntu" in line for line in recipe.find_profile("ubuntulike").disk.customize)


def test_a_report_is_drawn_where_the_run_went_on_since(tmp_path: Path) -> None:
    journal, report = tmp_path / "journal.jsonl", tmp_path / "report.html"
    assert not _is_newer(journal, report)
    journal.touch()
    assert _is_newer(journal, report)
    report.touch()
    assert not _is_newer(journal, report)
    os.utime(journal, (2**31, 2**31))
    assert _is_newer(journal, report)


def test_keys_go_to_their_places_and_are_nobody_elses() -> None:
    files = recipe.files("public", "private")
    assert files["/etc/ssh/lab_authorized_keys"] == ("public", 0o644)
    assert files["/etc/ssh/ssh_host_ed25519_key"] == ("private", 0o600)
    with tarfile.open(fileobj=io.BytesIO(project.archive_of(files))) as tar:
        assert {f"/{name}" for name in tar.getnames()} == set(files)
        assert tar.getmember("usr/local/sbin/lab-up").mode == 0o755


def test_of_pips_configuration_goes_what_holds_elsewhere() -> None:
    told = (
        ":env:.find-links='/opt/wheels'\n"
        "global.cert='/etc/ssl/certs/ca-certificates.crt'\n"
        "global.extra-index-url='file:///opt/simple https://mirror.example/simple'\n"
        ":env:.default-timeout='180'\n"
        "global.constraint='/etc/pip/constraints.txt'\n"
    )
    assert inherited.pip_conf(told, bundle=True) == (
        "[global]\n"
        "extra-index-url = https://mirror.example/simple\n"
        "default-timeout = 180\n"
        "cert = /etc/ssl/certs/ca-certificates.crt\n"
        "disable-pip-version-check = 1\n"
    )


def test_the_checkout_goes_without_what_git_ignores() -> None:
    assert "lab-machine = harness.lab.machine:machines" in project.entry_points()
    with tarfile.open(fileobj=io.BytesIO(project.archive())) as tar:
        names = set(tar.getnames())
        assert {"Makefile", "harness/lab/recipe.py", "setup/bootstrap.py"} <= names
        assert not any(name.startswith((".venv", ".git/")) for name in names)
        assert {member.uid for member in tar.getmembers()} == {0}


def test_disks_are_pruned_and_what_is_no_disk_stays(tmp_path: Path) -> None:
    assert build.prune(tmp_path) == []
    disk = build.labs_directory(tmp_path) / "machine-0"
    (disk / "states").mkdir(parents=True)
    assert build.prune(tmp_path) == [disk]
    assert [entry.name for entry in disk.parent.iterdir()] == [".lock"]
