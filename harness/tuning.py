"""Making the host quieter, on request only, and putting every setting back.

Each setting's value is written down, and is on the disk, before it is changed, so that
`doctor --untune` restores it also after a crash. What was written down first counts, however
often the host is tuned. A restart of the host puts everything back by itself; what was
remembered from before it is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import paths
from harness.clock import boot_id
from harness.errors import EnvironmentRefused
from harness.probes.guards import chosen

_ROOT = Path("/")
_BOOT_ID = "proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Setting:
    """Files below the root, the quiet value, and what it is good for.

    `unless` are values that are quiet enough and stay. A file that holds a list of choices
    tells the chosen one in brackets.
    """

    pattern: str
    quiet: str
    why: str
    unless: tuple[str, ...] = ()
    where: Callable[[Path], bool] = lambda root: True


def _swaps(root: Path) -> bool:
    """Whether there is anything to swap to."""
    try:
        return len((root / "proc/swaps").read_text().splitlines()) > 1
    except OSError:
        return False


SETTINGS = (
    Setting("sys/devices/system/cpu/cpu*/cpufreq/scaling_governor", "performance",
            "short work is not slower after idle time"),
    Setting("sys/devices/system/cpu/intel_pstate/no_turbo", "1",
            "speed does not depend on how many cores are busy"),
    Setting("sys/devices/system/cpu/cpufreq/boost", "0",
            "speed does not depend on how many cores are busy"),
    Setting("sys/kernel/mm/ksm/run", "0", "no scanner takes time, no page is merged", ("2",)),
    Setting("sys/kernel/mm/transparent_hugepage/enabled", "madvise",
            "a touched page takes a page", ("never",)),
    Setting("proc/sys/vm/swappiness", "1", "the ledger's pages stay in memory", ("0",), _swaps),
    Setting("proc/sys/kernel/numa_balancing", "0", "no page moves between nodes by itself"),
)  # fmt: skip
"""All of them act at once, lose no data, and are undone by writing the old value."""


def _saved() -> Path:
    return paths.inventories().parent / "tuned.json"


def remembered(root: Path = _ROOT) -> Mapping[str, str]:
    """The first values of what is tuned now, by path; empty on a host that is not tuned."""
    try:
        said = json.loads(_saved().read_bytes())
        return dict(said["settings"]) if said["boot"] == boot_id(root / _BOOT_ID) else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def tune(root: Path = _ROOT) -> Sequence[str]:
    """Set what this host has of the quiet settings; returns what was done, in words.

    Raises EnvironmentRefused without the right to change them.
    """
    first, done = dict(remembered(root)), list[str]()
    for setting in SETTINGS:
        if not setting.where(root):
            continue
        for path in sorted(root.glob(setting.pattern)):
            now = _value(path)
            if now in (setting.quiet, *setting.unless):
                continue
            first.setdefault(str(path), now)
            _save(first, root)
            if _write(path, setting.quiet):
                done.append(f"{path}: {now} → {setting.quiet} ({setting.why})")
            else:
                done.append(f"{path}: stays {now}: this host does not take {setting.quiet}")
    return done


def may_tune(root: Path = _ROOT) -> bool:
    """Whether this user may change every quiet setting that this host has."""
    found = [path for each in SETTINGS if each.where(root) for path in root.glob(each.pattern)]
    return all(os.access(path, os.W_OK) for path in found)


def untune(root: Path = _ROOT) -> Sequence[str]:
    """Put back what `tune` changed; returns what was restored, in words.

    What cannot be put back now stays on the list.
    """
    first, done = dict(remembered(root)), list[str]()
    left = dict(first)
    for name, value in first.items():
        path = Path(name)
        if not path.exists():  # a CPU has gone offline, and its settings with it
            done.append(f"{name}: not there now; --untune again when it is back")
        elif _value(path) == value or _write(path, value):
            done.append(f"{name}: back to {value}")
            del left[name]
        else:
            done.append(f"{name}: does not take {value} now; --untune again later")
    if left:
        _save(left, root)
    else:
        _saved().unlink(missing_ok=True)
    return done


def _value(path: Path) -> str:
    return chosen(path.read_text().strip())


def _save(first: Mapping[str, str], root: Path) -> None:
    """In one step and onto the disk: this must be there when nothing else is any more."""
    path = _saved()
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with partial.open("w") as file:
            json.dump({"boot": boot_id(root / _BOOT_ID), "settings": first}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise EnvironmentRefused(
            f"{path} cannot be written: {error.strerror}", "run the same command with sudo"
        ) from error


def _write(path: Path, value: str) -> bool:
    """False where the kernel does not take the value; raises EnvironmentRefused without the
    right to set it."""
    try:
        path.write_text(value)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise EnvironmentRefused(
                f"{path} cannot be set: {error.strerror}", "run the same command with sudo"
            ) from error
        return False
    return True
