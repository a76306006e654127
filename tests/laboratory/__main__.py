"""The lab's profiles beside each other: `python -m tests.laboratory [PROFILE ...] [-- WORDS]`.

What runs inside is mostly one program after another, so a machine of the lab gains little by a
second processor. Each profile is a session of pytest of its own, in a lane: a processor, with the
memory that its machine needs. WORDS go to each session; LAB_MINUTES (60) is the time of all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import psutil

from harness.clock import Deadline
from harness.lab.recipe import PROFILES
from harness.model import MIB

LONGEST_FIRST = ("cgroup2", "fresh", "fresh13", "ubuntulike", "xen", "kvm")
LANE_BYTES = 6 * 1024 * MIB
"""A machine, the emulator's own memory, and the harness around it."""
_AFTER_S = 900.0
"""What a session may take beyond its time: pytest then ends it by force."""


class Lanes:
    """The profiles that are left, and what those that are done have said."""

    def __init__(self, profiles: Sequence[str], words: Sequence[str], minutes: float) -> None:
        self._left = deque(sorted(profiles, key=LONGEST_FIRST.index))
        self._words = words
        self._deadline = Deadline(minutes * 60)
        self._print = threading.Lock()
        self.rows: dict[str, str] = {}
        self.bad: list[str] = []
        self.head = ""

    def run(self, processors: Sequence[int]) -> None:
        """Every profile, at most as many at once as there are processors."""
        with ThreadPoolExecutor(len(processors)) as pool:
            lanes = [pool.submit(self._lane, each) for each in processors]
            try:
                for lane in lanes:
                    lane.result()
            except KeyboardInterrupt:  # the sessions have it too, and are waited for
                self._left.clear()
                raise

    def _lane(self, processor: int) -> None:
        os.sched_setaffinity(threading.get_native_id(), {processor})  # its children inherit it
        while self._left:
            self._session(self._left.popleft())

    def _session(self, profile: str) -> None:
        left_s = self._deadline.left_s()
        argv = [
            sys.executable, "-m", "pytest", f"tests/laboratory/test_{profile}.py", "-v",
            "--timeout", f"{left_s + _AFTER_S:.0f}", *self._words,
        ]  # fmt: skip
        with subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            text=True, errors="replace", env={**os.environ, "LAB_MINUTES": f"{left_s / 60:.2f}"},
        ) as child:  # fmt: skip
            assert child.stdout is not None
            for line in child.stdout:
                self._say(profile, line.rstrip())
        if child.returncode != 0:
            self.bad.append(profile)

    def _say(self, profile: str, line: str) -> None:
        first, *_ = line.split() or [""]
        with self._print:
            if first == "profile":
                self.head = line
            elif first == profile:
                self.rows[profile] = line
            elif line:
                print(f"{profile:<10} {line}", flush=True)


def processors() -> Sequence[int]:
    """Those for lanes: as many as this process may use and the memory suffices for, or one."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[: max(1, psutil.virtual_memory().available // LANE_BYTES)]


def main(words: Sequence[str]) -> int:
    """All profiles or those named; returns an exit code."""
    cut = words.index("--") if "--" in words else len(words)
    profiles = list(words[:cut]) or list(PROFILES)
    unknown = sorted({*profiles} - {*PROFILES})
    if unknown:
        print(f"the lab has no profile {', '.join(unknown)}: one of {', '.join(PROFILES)}")
        return 2
    lanes = Lanes(profiles, words[cut + 1 :], float(os.environ.get("LAB_MINUTES", "60")))
    try:
        lanes.run(processors()[: len(profiles)])
    except KeyboardInterrupt:
        return 130
    finally:
        for line in (lanes.head, *(lanes.rows.get(name, "") for name in PROFILES)):
            if line:
                print(line)
    return 1 if lanes.bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
