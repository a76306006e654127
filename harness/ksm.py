"""Kernel same-page merging, turned on for a while, and every setting put back.

Only memory that a program offers is merged, and here QEMU alone offers any: its guests' RAM.
The kernel's thread scans it round after round, and what it has merged is known only when whole
rounds change nothing more. Each setting is on the run's inventory with its old value before it
is changed, so that the run's end restores it, or `tarebench clean` after a crash.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from harness.clock import Deadline, boot_id
from harness.errors import DeadlineExceeded, EnvironmentRefused
from harness.inventory import SETTING
from harness.model import Ledger

FOLDER = Path("/sys/kernel/mm/ksm")
_WANTED = {"smart_scan": "0", "pages_to_scan": "5000", "sleep_millisecs": "10", "run": "1"}
_LOOK_EVERY_S = 0.05
_SETTLED = 0.01
_FEW_PAGES = 256
_QUIET_ROUNDS = 2


class Merging:
    """KSM while it is on."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder

    def _read(self, name: str) -> int:
        return int((self._folder / name).read_text())

    def merged_bytes(self) -> int:
        """Memory that merging has saved: the pages that share another one's place."""
        return self._read("pages_sharing") * os.sysconf("SC_PAGE_SIZE")

    def settle(self, timeout_s: float, go_on: Callable[[], bool] = lambda: True) -> None:
        """Wait until whole scans change nothing more, or `go_on` says no.

        Raises DeadlineExceeded. There is no event to wait for: the kernel keeps counters.
        """
        deadline, quiet = Deadline(timeout_s), 0
        rounds, shared = self._read("full_scans"), self._read("pages_sharing")
        while quiet < _QUIET_ROUNDS and go_on():
            if deadline.over:
                raise DeadlineExceeded(f"KSM did not settle within {timeout_s:g} s")
            time.sleep(_LOOK_EVERY_S)
            if self._read("full_scans") < rounds + 2:  # the first of them was under way already
                continue
            now = self._read("pages_sharing")
            still = abs(now - shared) <= max(_FEW_PAGES, _SETTLED * shared)
            quiet = quiet + 1 if still else 0
            rounds, shared = self._read("full_scans"), now


@contextlib.contextmanager
def merging(inventory: Ledger, folder: Path = FOLDER) -> Iterator[Merging]:
    """KSM on, for as long as this lasts. Raises EnvironmentRefused where it cannot be."""
    changed: dict[Path, str] = {}
    try:
        for name, value in _WANTED.items():
            path = folder / name
            if name != "run" and not path.exists():
                continue  # older kernels have no smart_scan
            try:
                before = path.read_text().strip()
                inventory.will_make(SETTING, str(path), value=before, boot=boot_id())
                changed[path] = before
                path.write_text(value)
            except OSError as error:
                raise EnvironmentRefused(
                    f"KSM cannot be turned on: {path}: {error.strerror}",
                    "run the same command as root, on a kernel with KSM",
                ) from error
        yield Merging(folder)
    finally:
        for path, before in reversed(changed.items()):
            path.write_text(before)
            inventory.removed(SETTING, str(path))
