"""The sampler: reads counters of living instances a few times a second, in a process of its own.

`python -m harness.probes.sampler PIPE FILE HZ`. A process, and not a thread, so that reading
never holds the interpreter of the one that measures and stamps. It is told of instances over a
pipe, one JSON object a line (harness/probes/sampling.py writes them), and appends what it reads
to FILE in the form of harness/series.py. It ends when the pipe is closed, however the harness
dies: the kernel closes it.

It is bounded by what it costs, however many live: up to 10 Hz at most 2 % of a core, above that
0.2 % for each Hz, over a few rounds. Where rounds of reading cost more, they come less often,
and the rate that was achieved is recorded. PSS holds a process's memory lock while it is
counted, so that of each instance is read at most every ten seconds, in turn.
"""

from __future__ import annotations

import contextlib
import ctypes
import heapq
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Mapping
from operator import sub
from pathlib import Path
from typing import IO, Any

from harness import series
from harness.probes import memory
from harness.probes.cgroups import Layout
from harness.probes.counters import Counters, Gone, HostIo, descendants, of_host, of_instance
from harness.series import HOST, Cost

MOST_OF_A_CORE = 0.02
_MOST_A_HZ = 0.002
_READING = 0.95
"""The part of it that goes to reading; the rest is for learning of instances."""
PSS_EVERY_S = 10.0
_COST_EVERY_NS = 2_000_000_000
_SPARED_NS = 250_000_000
"""What was not spent in so long may be spent at once: rounds with a PSS in them cost more."""
_PR_SET_PDEATHSIG = 1
_NO_TRIAL: Mapping[str, str] = {}


class Watched:
    """One instance under observation, and what was last written of it."""

    def __init__(self, number: int, counters: Counters, pids: tuple[int, ...]) -> None:
        self.number = number
        self.counters = counters
        self.pids = pids
        self.lives = True
        self._read_ns = 0
        self._values = [0] * len(counters.names)

    def row(self, pss_bytes: int | None) -> bytes:
        """Read the counters and say what has changed. Raises Gone."""
        now_ns, values = time.monotonic_ns(), self.counters.read()
        grown = map(sub, values, self._values)
        row = series.row(self.number, [now_ns - self._read_ns, *grown], pss_bytes)
        self._read_ns, self._values = now_ns, values
        return row

    def close(self) -> None:
        """It is read no more."""
        self.lives = False
        self.counters.close()

    def pss_bytes(self) -> int | None:
        """PSS of every process of the box; None when one that was told has ended, or one may not
        be looked into."""
        inside = (pid for root in self.pids for pid in descendants(root))
        try:
            sizes = {pid: memory.process_memory(pid) for pid in (*self.pids, *inside)}
        except PermissionError:
            return None
        if any(sizes[pid] is None for pid in self.pids):
            return None
        return sum(size.pss_bytes for size in sizes.values() if size is not None)


class Sampler:
    """The state between two rounds of reading."""

    def __init__(self, out: IO[bytes], hz: int, harness: int) -> None:
        self._out = out
        self._period_ns = 1_000_000_000 // hz
        self._share = max(MOST_OF_A_CORE, _MOST_A_HZ * hz) * _READING
        self._harness = harness
        self._layout = Layout.detect()
        self._host_io = HostIo()
        self._watched: dict[str, Watched] = {}
        self._turns: list[tuple[int, int, Watched]] = []
        """When the PSS of which instance is due, the next first; heapq keeps the order."""
        self._trial = _NO_TRIAL
        self._numbers = 0
        self._active_since_ns = 0
        self._due_ns = self._paid_ns = 0
        self._cost_due_ns = 0
        self._cost = {name: 0 for name in Cost.__struct_fields__} | {"hz": hz}
        self._cpu_before_ns = self._asked_ns = 0
        self._write(series.event("S", {"hz": hz, "utc": time.time(), "now": time.monotonic_ns()}))

    def told(self, said: Mapping[str, Any]) -> None:
        """Heed a message: `trial` (an empty one is a pause), `add` or `gone`."""
        if "trial" in said:
            self._begin(said["trial"])
        elif "add" in said:
            self._add(str(said["add"]), tuple(said["pids"]))
        elif "gone" in said:
            self._drop(str(said["gone"]))
        self._cpu_since_ns()  # that was once, and delays no reading

    def _begin(self, trial: Mapping[str, str]) -> None:
        for name in list(self._watched):
            self._drop(name)
        self._count_active()
        self._trial = trial
        if trial:
            self._write(series.event("T", dict(trial)))
            self._active_since_ns = self._due_ns = time.monotonic_ns()
            self._cpu_before_ns = time.process_time_ns()
            self._watch(HOST, of_host(), ())
        else:
            self._tell_cost()

    def _add(self, name: str, pids: tuple[int, ...]) -> None:
        if self._trial:
            with contextlib.suppress(Gone):
                counters = of_instance(pids, self._layout, self._harness, self._host_io)
                self._watch(name, counters, pids)

    def _watch(self, name: str, counters: Counters, pids: tuple[int, ...]) -> None:
        self._numbers += 1
        self._watched[name] = watched = Watched(self._numbers, counters, pids)
        if pids:
            heapq.heappush(self._turns, (0, watched.number, watched))
        said = {"n": self._numbers, "instance": name, "counters": counters.names}
        self._write(series.event("A", said))
        self._cost["instances"] = max(self._cost["instances"], len(self._watched) - 1)

    def _drop(self, name: str) -> None:
        gone = self._watched.pop(name, None)
        if gone is not None:
            gone.close()
            self._write(series.event("R", gone.number))

    @property
    def wait_s(self) -> float | None:
        """Seconds until the next round; None while no trial goes on."""
        if not self._trial:
            return None
        return max(0.0, (self._due_ns - time.monotonic_ns()) / 1e9)

    def tick(self) -> None:
        """A round of reading, when it is due."""
        begin_ns = time.monotonic_ns()
        if not self._trial or begin_ns < self._due_ns:
            return
        pss = self._whose_turn(begin_ns)
        self._host_io.begin_round()
        rows = []
        for name, watched in list(self._watched.items()):
            try:
                rows.append(watched.row(watched.pss_bytes() if watched is pss else None))
            except Gone:
                self._drop(name)
        self._write(b"".join(rows))
        cpu_ns = self._cpu_since_ns()  # waking up for it counts as well
        self._paid_ns = max(self._paid_ns, begin_ns - _SPARED_NS) + int(cpu_ns / self._share)
        following = max(self._due_ns + self._period_ns, self._paid_ns)
        missed = max(0, time.monotonic_ns() - following) // self._period_ns
        self._due_ns = following + missed * self._period_ns
        self._cost["ticks"] += 1
        self._cost["late"] += (self._due_ns - begin_ns) // self._period_ns - 1 if missed else 0
        self._cost["tick_ns_max"] = max(self._cost["tick_ns_max"], time.monotonic_ns() - begin_ns)
        if begin_ns >= self._cost_due_ns:
            self._tell_cost()

    def _whose_turn(self, now_ns: int) -> Watched | None:
        """The instance whose PSS is read in this round: one a round, each seldom enough."""
        while self._turns and self._turns[0][0] <= now_ns:
            _, number, watched = heapq.heappop(self._turns)
            if watched.lives:
                due_ns = now_ns + int(PSS_EVERY_S * 1e9)
                heapq.heappush(self._turns, (due_ns, number, watched))
                return watched
        return None

    def _cpu_since_ns(self) -> int:
        """CPU time since this was asked last."""
        before_ns, self._asked_ns = self._asked_ns, time.process_time_ns()
        return self._asked_ns - before_ns

    def _count_active(self) -> None:
        now_ns, cpu_ns = time.monotonic_ns(), time.process_time_ns()
        if self._trial:
            self._cost["active_ns"] += now_ns - self._active_since_ns
            self._cost["cpu_ns"] += cpu_ns - self._cpu_before_ns
        self._active_since_ns, self._cpu_before_ns = now_ns, cpu_ns

    def _tell_cost(self) -> None:
        self._count_active()
        self._cost_due_ns = time.monotonic_ns() + _COST_EVERY_NS
        self._write(series.event("C", self._cost))

    def _write(self, data: bytes) -> None:
        self._out.write(data)

    def close(self) -> None:
        """The last word: what it has cost."""
        self._begin(_NO_TRIAL)
        self._host_io.close()


def run(pipe: int, out: IO[bytes], hz: int, harness: int) -> None:
    """Sample until the pipe is closed."""
    sampler, rest = Sampler(out, hz, harness), b""
    while True:
        readable, _, _ = select.select([pipe], [], [], sampler.wait_s)
        if readable:
            data = os.read(pipe, 65536)
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                sampler.told(json.loads(line))
        sampler.tick()
    sampler.close()


def open_series(path: Path) -> IO[bytes]:
    """The file, to append to; what a killed sampler has torn is cut off first."""
    file = path.open("a+b", buffering=0)
    end = file.seek(0, os.SEEK_END)
    whole = 0
    while end and not whole:
        begin = max(0, end - 65536)
        file.seek(begin)
        newline = file.read(end - begin).rfind(b"\n")
        whole, end = (begin + newline + 1 if newline >= 0 else 0), begin
    file.truncate(whole)
    return file


def main(arguments: list[str]) -> None:
    """See the module. Dies with the harness even where something else holds the pipe."""
    harness = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    pipe, path, hz = int(arguments[0]), Path(arguments[1]), int(arguments[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # each instance keeps several files open
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with open_series(path) as out:
        run(pipe, out, hz, harness)


if __name__ == "__main__":
    main(sys.argv[1:])
