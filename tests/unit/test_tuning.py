"""Tuning the host: only what is there, written down before it is changed, and put back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness import tuning
from harness.errors import EnvironmentRefused
from harness.probes.guards import chosen

SETTINGS = {
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "schedutil",
    "sys/devices/system/cpu/intel_pstate/no_turbo": "0",
    "sys/kernel/mm/ksm/run": "1",
    "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never",
    "proc/sys/vm/swappiness": "60",
}
QUIET = dict(zip(SETTINGS, ("performance", "performance", "1", "0", "madvise", "1"), strict=True))
BEFORE = {name: chosen(value) for name, value in SETTINGS.items()}
THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAREBENCH_STATE", str(tmp_path / "state"))
    for name, value in SETTINGS.items():
        path = tmp_path / "host" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    swaps = tmp_path / "host/proc/swaps"
    swaps.write_text("Filename Type Size Used Priority\n/swapfile file 1024 0 -2\n")
    return tmp_path / "host"


def values(host: Path) -> dict[str, str]:
    return {name: chosen((host / name).read_text().strip()) for name in SETTINGS}


def test_settings_are_changed_and_put_back(host: Path) -> None:
    changed = tuning.tune(host)
    assert values(host) == QUIET
    assert len(changed) == len(SETTINGS)
    assert any("powersave → performance" in line for line in changed)
    restored = tuning.untune(host)
    assert values(host) == BEFORE
    assert len(restored) == len(SETTINGS)
    assert tuning.untune(host) == []


def test_tuning_twice_keeps_the_first_values(host: Path) -> None:
    tuning.tune(host)
    assert tuning.tune(host) == []
    (host / "sys/kernel/mm/ksm/run").write_text("2")
    tuning.tune(host)
    tuning.untune(host)
    assert values(host) == BEFORE


@pytest.mark.parametrize("command", ["tune", "untune"])
@pytest.mark.parametrize("writes", range(len(SETTINGS)))
def test_killed_at_any_moment_it_loses_no_value(host: Path, command: str, writes: int) -> None:
    """A child of its own is killed at the start of a write, or between two of them."""
    if command == "untune":
        tuning.tune(host)
    code = (
        "import os, pathlib, signal, sys\n"
        "from harness import tuning\n"
        "write, left = tuning._write, int(sys.argv[3])\n"
        "def killed(path, value):\n"
        "    global left\n"
        "    left -= 1\n"
        "    if left < 0:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return write(path, value)\n"
        "tuning._write = killed\n"
        "getattr(tuning, sys.argv[1])(pathlib.Path(sys.argv[2]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, command, str(host), str(writes)], check=False
    )
    assert done.returncode == -signal.SIGKILL
    if command == "tune" and writes > 0:
        assert values(host) != BEFORE
    tuning.untune(host)
    assert values(host) == BEFORE
    assert tuning.remembered(host) == {}
    tuning.tune(host)
    assert values(host) == QUIET


def test_each_value_is_written_down_before_it_is_changed(
    host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(path: Path, value: str) -> bool:
        saved = json.loads(tuning._saved().read_text())["settings"]
        assert saved[str(path)] == chosen(path.read_text().strip())
        return True

    monkeypatch.setattr(tuning, "_write", look)
    assert len(tuning.tune(host)) == len(SETTINGS)


def test_what_is_not_there_or_not_taken_now_stays_remembered(host: Path) -> None:
    tuning.tune(host)
    gone = host / "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor"
    gone.unlink()
    assert any("not there now" in line for line in tuning.untune(host))
    assert tuning.remembered(host) == {str(gone): "schedutil"}
    gone.write_text("performance")
    assert tuning.untune(host) == [f"{gone}: back to schedutil"]
    assert tuning.remembered(host) == {}


def test_a_restart_puts_everything_back_by_itself(host: Path) -> None:
    boot = host / "proc/sys/kernel/random/boot_id"
    boot.parent.mkdir(parents=True)
    boot.write_text("one")
    tuning.tune(host)
    boot.write_text("two")
    for name, value in SETTINGS.items():
        (host / name).write_text(value)
    assert tuning.untune(host) == []
    assert values(host) == BEFORE


def test_a_host_that_cannot_swap_keeps_its_swappiness(host: Path) -> None:
    (host / "proc/swaps").write_text("Filename Type Size Used Priority\n")
    tuning.tune(host)
    assert values(host)["proc/sys/vm/swappiness"] == "60"


@pytest.mark.skipif(not os.access(THP, os.W_OK), reason="huge pages cannot be set here: no root")
def test_a_real_setting_of_this_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the command, and back, whatever this host had."""
    monkeypatch.setenv("TAREBENCH_STATE", str(tmp_path / "state"))
    first = chosen(THP.read_text().strip())
    doctor = [str(Path(sys.executable).with_name("tarebench")), "doctor"]
    try:
        THP.write_text("always")
        for _ in range(2):
            subprocess.run([*doctor, "--tune"], check=True, capture_output=True)
            assert chosen(THP.read_text().strip()) == "madvise"
        said = subprocess.run([*doctor, "--untune"], check=True, capture_output=True, text=True)
        assert f"{THP}: back to always" in said.stderr
        assert chosen(THP.read_text().strip()) == "always"
    finally:
        THP.write_text(first)


def test_host_without_such_settings_is_left_alone(host: Path, tmp_path: Path) -> None:
    assert tuning.tune(tmp_path / "empty") == []
    assert tuning.untune(host) == []


def test_no_right_to_change_is_told(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, text: str) -> int:
        raise PermissionError(13, "Permission denied")

    assert tuning.tune(host / "nothing") == []
    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(EnvironmentRefused, match="Permission denied") as caught:
        tuning.tune(host)
    assert "sudo" in caught.value.hint
