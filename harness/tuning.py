"""Making the host quieter, on request only, and putting every setting back.

Each setting's value is written down before it is changed, so that `doctor --untune` restores
it also after a crash.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import paths
from harness.errors import EnvironmentRefused

_GOVERNORS = "devices/system/cpu/cpu*/cpufreq/scaling_governor"
_QUIET: Mapping[str, str] = {
    _GOVERNORS: "performance",
    "devices/system/cpu/intel_pstate/no_turbo": "1",
    "devices/system/cpu/cpufreq/boost": "0",
    "kernel/mm/ksm/run": "0",
}


def _saved() -> Path:
    return paths.inventories().parent / "tuned.json"


def tune(sysfs: Path = Path("/sys")) -> Sequence[str]:
    """Set what this host has of the quiet settings; returns what was changed, in words.

    Raises EnvironmentRefused without the right to change them.
    """
    saved_file = _saved()
    saved: dict[str, str] = json.loads(saved_file.read_text()) if saved_file.exists() else {}
    wanted = {
        path: value for pattern, value in _QUIET.items() for path in sorted(sysfs.glob(pattern))
    }
    changed: list[str] = []
    for path, value in wanted.items():
        now = path.read_text().strip()
        if now == value:
            continue
        saved.setdefault(str(path), now)
        _save(saved_file, saved)
        _write(path, value)
        changed.append(f"{path}: {now} → {value}")
    return changed


def untune() -> Sequence[str]:
    """Put back what `tune` changed; returns what was restored, in words."""
    saved_file = _saved()
    if not saved_file.exists():
        return []
    saved: dict[str, str] = json.loads(saved_file.read_text())
    for name, value in saved.items():
        if Path(name).exists():  # a CPU may have gone offline, and its settings with it
            _write(Path(name), value)
    saved_file.unlink()
    return [f"{name}: back to {value}" for name, value in saved.items()]


def _save(path: Path, saved: Mapping[str, str]) -> None:
    """In one step: half a file could not be read when it is needed most."""
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.write_text(json.dumps(saved))
        partial.replace(path)
    except OSError as error:
        raise EnvironmentRefused(
            f"{path} cannot be written: {error.strerror}", "run the same command with sudo"
        ) from error


def _write(path: Path, value: str) -> None:
    try:
        path.write_text(value)
    except OSError as error:
        raise EnvironmentRefused(
            f"{path} cannot be set: {error.strerror}", "run the same command with sudo"
        ) from error
