"""Tuning the host: only what is there, written down before it is changed, and put back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import tuning
from harness.errors import EnvironmentRefused

SETTINGS = {
    "devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave",
    "devices/system/cpu/cpu1/cpufreq/scaling_governor": "schedutil",
    "devices/system/cpu/intel_pstate/no_turbo": "0",
    "kernel/mm/ksm/run": "1",
}
QUIET = dict(zip(SETTINGS, ("performance", "performance", "1", "0"), strict=True))


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAREBENCH_STATE", str(tmp_path / "state"))
    for name, value in SETTINGS.items():
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True)
        path.write_text(f"{value}\n")
    return tmp_path / "sys"


def values(sysfs: Path) -> dict[str, str]:
    return {name: (sysfs / name).read_text().strip() for name in SETTINGS}


def test_settings_are_changed_and_put_back(sysfs: Path) -> None:
    changed = tuning.tune(sysfs)
    assert values(sysfs) == QUIET
    assert len(changed) == len(SETTINGS)
    assert any("powersave → performance" in line for line in changed)
    restored = tuning.untune()
    assert values(sysfs) == SETTINGS
    assert len(restored) == len(SETTINGS)
    assert tuning.untune() == []


def test_tuning_twice_keeps_the_first_values(sysfs: Path) -> None:
    tuning.tune(sysfs)
    assert tuning.tune(sysfs) == []
    (sysfs / "kernel/mm/ksm/run").write_text("2")
    tuning.tune(sysfs)
    tuning.untune()
    assert values(sysfs) == SETTINGS


def test_crash_in_the_middle_loses_no_value(sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = tuning._write
    written: list[Path] = []

    def crash(path: Path, value: str) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, value)

    with monkeypatch.context() as patched:
        patched.setattr(tuning, "_write", crash)
        with pytest.raises(KeyboardInterrupt):
            tuning.tune(sysfs)
    assert values(sysfs) != SETTINGS
    tuning.untune()
    assert values(sysfs) == SETTINGS


def test_each_value_is_written_down_before_it_is_changed(
    sysfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(path: Path, value: str) -> None:
        saved = json.loads(tuning._saved().read_text())
        assert saved[str(path)] == path.read_text().strip()

    monkeypatch.setattr(tuning, "_write", look)
    assert len(tuning.tune(sysfs)) == len(SETTINGS)


def test_setting_that_has_gone_does_not_keep_the_rest(sysfs: Path) -> None:
    tuning.tune(sysfs)
    gone = sysfs / "devices/system/cpu/cpu1/cpufreq/scaling_governor"
    gone.unlink()
    tuning.untune()
    assert (sysfs / "kernel/mm/ksm/run").read_text() == "1"


def test_host_without_such_settings_is_left_alone(sysfs: Path, tmp_path: Path) -> None:
    assert tuning.tune(tmp_path / "empty") == []
    assert tuning.untune() == []


def test_no_right_to_change_is_told(sysfs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, text: str) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", refuse)
    with pytest.raises(EnvironmentRefused, match="Permission denied") as caught:
        tuning.tune(sysfs)
    assert "sudo" in caught.value.hint
