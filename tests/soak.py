"""A run of hours, watched from outside: does the harness grow, does the host keep anything?

`python -m tests.soak [--minutes 120] [--trials 5000]`, or `make soak`. One real run of many
small trials is started as a user starts it. While it lasts, the memory and the descriptors of its
two processes, the harness and its sampler, are read four times a second. At the end its journal,
its report and the host are looked at, and the slopes are printed with their intervals.

Readings that follow each other are alike, so a slope is fitted to one value of each batch (batch
means, as for simulations) after a beginning in which caches fill; its interval is Student's. What
comes after the last trial (proofs, tearing down) holds less, and is left out.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from scipy import stats

from harness import journal
from harness.analysis.frames import RunData, load_run
from harness.analysis.thin import MOST_SAMPLES
from harness.model import MIB, Outcome
from harness.paths import JOURNAL, MANIFEST
from runtimes.daemon_parts import argv_of, children_of
from tests.command import PROGRAM, Place
from tests.hoststate import of_any_run, settled

RUNTIMES = ("bare", "chroot", "crun", "runc")
SCENARIO = """
name = "soak"
title = "Soak"
question = "Does anything grow?"
runtimes = [{names}]
workload = "hello"
warmup_blocks = 1
[limits]
memory = "128 MiB"
[sampler]
hz = 2
[experiments.startup]
regime = "warm"
"""
EVERY_S = 0.25
"""Often enough that in each batch some readings fall between two trials."""
BEGINNING = 0.2
BATCHES = 20
MOST_BYTES_A_TRIAL = 512
"""The runner keeps doubles of a trial, some ten bytes each, and no record. What is above that is
how an allocator's pages lie, and what a few hundred trials cannot tell from nothing; a record that
is kept is some KiB."""
MOST_DESCRIPTORS = 1.0
"""Over the whole soak, by the interval's upper end. So of children."""
FEW = 8
"""Batches of what is there for a moment between two trials: each is long enough to have seen it."""
_GRACE_S = 900.0


@dataclass(frozen=True)
class Slope:
    """Growth over the whole watched time, with its 95 % interval."""

    level: float
    growth: float
    low: float
    high: float


@dataclass(frozen=True)
class Soaked:
    """What was seen."""

    trials: int
    minutes: float
    memory: Slope
    descriptors: Slope
    faults: Sequence[str]

    def told(self) -> str:
        """The figures in lines."""
        memory, files = self.memory, self.descriptors
        return "\n".join([
            f"soak: {self.trials} trials in {self.minutes:.1f} minutes",
            f"memory: {memory.level / MIB:.1f} MiB; growth {memory.growth / MIB:+.2f} MiB "
            f"[{memory.low / MIB:+.2f}, {memory.high / MIB:+.2f}], "
            f"{memory.growth / max(1, self.trials):+.0f} bytes a trial",
            f"descriptors: {files.level:.0f}; growth {files.growth:+.2f} "
            f"[{files.low:+.2f}, {files.high:+.2f}]",
            *(f"FAULT: {fault}" for fault in self.faults or ()),
        ])  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What the two processes hold at an instant, and how much is in the journal by then."""

    second: float
    memory_bytes: int
    descriptors: int
    journal_bytes: int
    children: int = 0


def of_trials(readings: Sequence[Reading]) -> Sequence[Reading]:
    """Those until the last record was stored."""
    whole = max((each.journal_bytes for each in readings), default=0)
    return [each for each in readings if each.journal_bytes < whole]


def slope(
    times: Sequence[float],
    values: Sequence[float],
    of_batch: Callable[[Sequence[float]], float] = statistics.median,
    batches: int = BATCHES,
) -> Slope:
    """The slope of a series after its beginning, as growth over that time. Raises ValueError for
    fewer readings than two a batch."""
    first = int(len(times) * BEGINNING)
    times, values = times[first:], values[first:]
    size = len(times) // batches
    if size < 2:
        raise ValueError(f"{len(times)} readings are too few for {batches} batches")
    cuts = [slice(i * size, (i + 1) * size) for i in range(batches)]
    x = [statistics.fmean(times[cut]) for cut in cuts]
    y = [of_batch(values[cut]) for cut in cuts]
    fit = stats.linregress(x, y)
    error = float(fit.stderr) if len(set(y)) > 1 else 0.0  # of what never changes it is no number
    wide = float(stats.t.ppf(0.975, batches - 2)) * error
    span = times[-1] - times[0]
    grown = float(fit.slope)
    ends = ((grown - wide) * span, (grown + wide) * span)
    return Slope(of_batch(values), grown * span, *ends)


def soak(minutes: float, wanted: int, folder: Path) -> Soaked:
    """Run, watch and look; `folder` is an empty one that stays."""
    place = Place(folder)
    names = ", ".join(f'"{name}"' for name in available())
    (folder / "soak.toml").write_text(SCENARIO.format(names=names))
    before = of_any_run()
    begin = time.monotonic()
    argv = [PROGRAM, "run", "soak.toml", "--repeat", "10000", "--time-budget", f"{minutes}m",
            "--quiet", "--out", str(folder / "run")]  # fmt: skip
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            argv, cwd=folder, env=place.env, stdout=said, stderr=said, stdin=subprocess.DEVNULL
        )
        try:
            readings = watched(process, folder / "run", minutes * 60 + _GRACE_S)
        finally:
            process.kill()
            process.wait()
    faults = looked_at(folder / "run", process.returncode, (folder / "said").read_text())
    left = settled(lambda: sorted(of_any_run() - before))
    faults += [f"left on the host: {line}" for line in left]
    dry = place.tarebench("clean", "--dry-run")
    faults += [f"left on the inventory: {line}" for line in dry.out.splitlines()]
    records = journal.records(folder / "run")
    readings = of_trials(readings)
    times = [each.second for each in readings]
    held = slope(times, [each.memory_bytes for each in readings])
    opened = slope(times, [each.descriptors for each in readings], min, FEW)
    children = slope(times, [each.children for each in readings], min, FEW)
    trials = len(records)
    if trials < wanted:
        faults.append(f"only {trials} of {wanted} trials")
    if held.low > trials * MOST_BYTES_A_TRIAL:
        faults.append("the harness's memory grows")
    if opened.high > MOST_DESCRIPTORS:
        faults.append("the harness's descriptors grow")
    if children.high > MOST_DESCRIPTORS:
        faults.append(f"children that have ended are not collected: {children}")
    return Soaked(trials, (time.monotonic() - begin) / 60, held, opened, faults)


def available() -> Sequence[str]:
    """The soak's runtimes that can be here; the run itself says why another is not."""
    if os.geteuid() != 0:
        return RUNTIMES[:1]
    return [name for name in RUNTIMES if name in RUNTIMES[:2] or shutil.which(name)]


def watched(process: subprocess.Popen[bytes], run: Path, limit_s: float) -> Sequence[Reading]:
    """The run's processes, read until it ends. Raises TimeoutError if it does not."""
    found = list[Reading]()
    begin = time.monotonic()
    ended = os.pidfd_open(process.pid)
    both: Sequence[int] = ()
    try:
        while not select.select([ended], [], [], EVERY_S)[0]:
            second = time.monotonic() - begin
            if second > limit_s:
                raise TimeoutError("the run does not end")
            both = both or with_sampler(process.pid)
            if not both:
                continue
            with suppress(OSError):  # one has just ended, or the first record is not there yet
                journal_bytes = (run / JOURNAL).stat().st_size
                sizes = [resident_bytes(pid) for pid in both]
                counts = [len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in both]
                children = len(children_of(process.pid))
                found.append(Reading(second, sum(sizes), sum(counts), journal_bytes, children))
    finally:
        os.close(ended)
    process.wait()
    return found


def with_sampler(harness: int) -> Sequence[int]:
    """The harness and its sampler; empty while that is not there yet."""
    for pid in children_of(harness):
        if "harness.probes.sampler" in argv_of(pid):
            return harness, pid
    return ()


def resident_bytes(pid: int) -> int:
    """Its pages in memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def looked_at(run: Path, status: int, said: str) -> list[str]:
    """What is not whole of the journal, the manifest and the report."""
    faults = [f"status {status}: {said[-500:]}"] if status != 0 else []
    if not (run / MANIFEST).exists():
        return [*faults, "there is no run"]
    manifest = json.loads((run / MANIFEST).read_bytes())
    planned = [trial["trial"] for trial in manifest["plan"]]
    found = journal.records(run)
    if sorted(record.trial for record in found) != sorted(planned):
        faults.append(f"{len(planned)} trials were planned and {len(found)} are in the journal")
    bad = [record for record in found if record.outcome is not Outcome.OK]
    faults += [f"{record.trial} {record.runtime}: {record.reason}" for record in bad[:5]]
    data = load_run(run)
    if data.notes or len(data.trials) != len(planned):
        faults.append(f"the run is not read whole: {data.notes}")
    report = run / "report.html"
    if not report.is_file() or "</html>" not in report.read_text()[-200:]:
        faults.append("the report is not whole")
    else:
        faults += carried(load_run(report), data)
    return faults


def carried(report: RunData, run: RunData) -> list[str]:
    """What is wrong with what a report carries: all of a run, or of a very long one a part, and it
    says so."""
    if len(run.samples) <= MOST_SAMPLES and len(report.trials) != len(run.trials):
        return ["the report does not carry the whole run"]
    if len(report.trials) != len(run.trials) and not report.notes:
        return ["the report carries a part of the run, and does not say so"]
    return []


def main() -> int:
    """The soak as the command line asks for it; status 1 for a fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--trials", type=int, help="at least; by default 5000 in two hours")
    asked = parser.parse_args()
    wanted = asked.trials or int(5000 * asked.minutes / 120)
    folder = Path(tempfile.mkdtemp(prefix="tarebench-soak-"))
    seen = soak(asked.minutes, wanted, folder)
    print(seen.told())
    if seen.faults:
        print(f"kept for a look: {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
