"""The weather of a trial: what the host was like before it, and what happened meanwhile.

Guards (harness/probes/guards.py) are read once a run, and take their time. What travels with a
trial is read just before and just after it, outside of everything that is timed, from files
that stay open: some fifty microseconds. What a kernel does not tell is absent.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from harness.probes import cpu
from harness.probes.guards import chosen

_BUFFER = 16384
_MM = "sys/kernel/mm"
_CPU = "sys/devices/system/cpu"

SETTINGS: Mapping[str, str] = {
    "ksm": f"{_MM}/ksm/run",
    "thp": f"{_MM}/transparent_hugepage/enabled",
    "thp_defrag": f"{_MM}/transparent_hugepage/defrag",
    "governor": f"{_CPU}/cpu0/cpufreq/scaling_governor",
    "no_turbo": f"{_CPU}/intel_pstate/no_turbo",
    "boost": f"{_CPU}/cpufreq/boost",
    "smt": f"{_CPU}/smt/active",
    "online_cpus": f"{_CPU}/online",
    "swappiness": "proc/sys/vm/swappiness",
}
"""Settings that change what is measured, and that someone may change while a run goes on."""

_MOVING = ("loadavg", "stat", "vmstat", "pressure/cpu", "pressure/memory", "pressure/io")
_THROTTLE = f"{_CPU}/cpu[0-9]*/thermal_throttle/package_throttle_count"

Value = str | float | int
Found = Mapping[str, Value]


class Weather:
    """Keeps the files open; a context manager."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._moving = {name: _open(root / "proc" / name) for name in _MOVING}
        self._settings = {name: _open(root / path) for name, path in SETTINGS.items()}
        self._throttles = [_open(path) for path in _one_a_package(root)]
        self._at_first = self._read_settings()

    @contextlib.contextmanager
    def trial(self, found: dict[str, Value]) -> Iterator[None]:
        """Fills `found` with the conditions of what is done meanwhile, however that ends."""
        before = self._counts()
        found |= self._before()
        try:
            yield
        finally:
            after = self._counts()
            found |= {name: after[name] - was for name, was in before.items() if name in after}
            found |= self._changed()

    def _before(self) -> Found:
        """How busy the host is at this instant, ourselves left out."""
        found: dict[str, Value] = {}
        if text := self._text("loadavg"):
            words = text.split()
            found["load_before"] = float(words[0])
            found["running_before"] = max(0, int(words[3].partition(b"/")[0]) - 1)
        return found

    def _counts(self) -> dict[str, float]:
        """What only grows, in seconds or events."""
        found: dict[str, float] = {}
        if text := self._text("stat"):
            seconds = cpu.parse_stat(text[: text.index(b"\n")].decode())
            found["trial_busy_s"] = cpu.busy(seconds)
            if "steal" in seconds:
                found["trial_steal_s"] = seconds["steal"]
        if text := self._text("vmstat"):
            found["trial_swapped_pages"] = sum(
                _count(text, name) for name in (b"\npswpin ", b"\npswpout ")
            )
        for kind in ("cpu", "memory", "io"):
            if text := self._text(f"pressure/{kind}"):
                found[f"trial_pressure_{kind}_s"] = _count(text, b"total=") / 1e6
        counts = [_pread(file) for file in self._throttles]
        if counts:
            found["trial_throttled"] = sum(int(text or 0) for text in counts)
        return found

    def _changed(self) -> Found:
        """Settings that are no longer what they were when the run began."""
        now = self._read_settings()
        return {
            f"changed_{name}": f"{_word(was)} → {_word(now[name])}"
            for name, was in self._at_first.items()
            if now.get(name, was) != was
        }

    def _read_settings(self) -> dict[str, bytes]:
        texts = {name: _pread(file) for name, file in self._settings.items()}
        return {name: text for name, text in texts.items() if text is not None}

    def _text(self, name: str) -> bytes | None:
        return _pread(self._moving[name])

    def __enter__(self) -> Weather:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in (*self._moving.values(), *self._settings.values(), *self._throttles):
            if file is not None:
                os.close(file)


def _one_a_package(root: Path) -> Sequence[Path]:
    """The throttle count of one processor of each package: all of a package share it."""
    found: dict[str, Path] = {}
    for path in sorted(root.glob(_THROTTLE)):
        package = path.parents[1] / "topology/physical_package_id"
        with contextlib.suppress(OSError):
            found.setdefault(package.read_text().strip(), path)
    return list(found.values())


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _pread(file: int | None) -> bytes | None:
    """A file's text now; None where it cannot be read (PSI can be off: EOPNOTSUPP)."""
    if file is None:
        return None
    try:
        return os.pread(file, _BUFFER, 0)
    except OSError:
        return None


def _count(text: bytes, before: bytes) -> int:
    """The number after a word's first appearance; 0 where it is not."""
    _, found, rest = (b"\n" + text).partition(before)
    return int(rest.split(None, 1)[0]) if found else 0


def _word(text: bytes) -> str:
    return chosen(text.decode(errors="replace").strip())
