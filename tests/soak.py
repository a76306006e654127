"""A run of hours, watched from outside: does the harness grow, does the host keep anything?

`python -m tests.soak [--minutes 120] [--trials 5000]`, or `make soak`. One real run of many
small trials is started as a user starts it. While it lasts, the memory and the descriptors of its
process are read every second. At the end its journal, its report and the host are looked at, and
the slopes are printed with their intervals.

Readings that follow each other are alike, so a slope is fitted to medians of batches (batch
means, as for simulations) after a beginning in which caches fill; its interval is Student's.
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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scipy import stats

from harness import journal
from harness.analysis.frames import load_run
from harness.model import MIB, Outcome
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
[experiments.startup]
regime = "warm"
"""
EVERY_S = 1.0
BEGINNING = 0.2
BATCHES = 20
MOST_BYTES_A_TRIAL = 16 * 1024
"""The runner keeps each trial's record, of a few KiB, for its rules of stopping and the tables at
the end: that much is memory put to use. Growth above this is a leak."""
MOST_DESCRIPTORS = 1.0
"""Over the whole soak, by the interval's upper end."""
_GRACE_S = 900.0


@dataclass(frozen=True)
class Slope:
    """Growth over the whole watched time, with its 95 % interval."""

    median: float
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
            f"memory: {memory.median / MIB:.1f} MiB; growth {memory.growth / MIB:+.2f} MiB "
            f"[{memory.low / MIB:+.2f}, {memory.high / MIB:+.2f}], "
            f"{memory.growth / max(1, self.trials):+.0f} bytes a trial",
            f"descriptors: {files.median:.0f}; growth {files.growth:+.2f} "
            f"[{files.low:+.2f}, {files.high:+.2f}]",
            *(f"FAULT: {fault}" for fault in self.faults or ()),
        ])  # fmt: skip


def slope(times: Sequence[float], values: Sequence[float]) -> Slope:
    """The slope of a series after its beginning, as growth over that time. Raises ValueError for
    fewer readings than two a batch."""
    first = int(len(times) * BEGINNING)
    times, values = times[first:], values[first:]
    size = len(times) // BATCHES
    if size < 2:
        raise ValueError(f"{len(times)} readings are too few for {BATCHES} batches")
    cuts = [slice(i * size, (i + 1) * size) for i in range(BATCHES)]
    x = [statistics.fmean(times[cut]) for cut in cuts]
    y = [statistics.median(values[cut]) for cut in cuts]
    fit = stats.linregress(x, y)
    wide = float(stats.t.ppf(0.975, BATCHES - 2)) * float(fit.stderr)
    span = times[-1] - times[0]
    grown = float(fit.slope)
    ends = ((grown - wide) * span, (grown + wide) * span)
    return Slope(statistics.median(values), grown * span, *ends)


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
            times, memory, descriptors = watched(process, minutes * 60 + _GRACE_S)
        finally:
            process.kill()
            process.wait()
    faults = looked_at(folder / "run", process.returncode, (folder / "said").read_text())
    left = settled(lambda: sorted(of_any_run() - before))
    faults += [f"left on the host: {line}" for line in left]
    dry = place.tarebench("clean", "--dry-run")
    faults += [f"left on the inventory: {line}" for line in dry.out.splitlines()]
    records = journal.records(folder / "run")
    held, opened = slope(times, memory), slope(times, descriptors)
    trials = len(records)
    if trials < wanted:
        faults.append(f"only {trials} of {wanted} trials")
    if held.low > trials * MOST_BYTES_A_TRIAL:
        faults.append("the harness's memory grows")
    if opened.high > MOST_DESCRIPTORS:
        faults.append("the harness's descriptors grow")
    return Soaked(trials, (time.monotonic() - begin) / 60, held, opened, faults)


def available() -> Sequence[str]:
    """The soak's runtimes that can be here; the run itself says why another is not."""
    if os.geteuid() != 0:
        return RUNTIMES[:1]
    return [name for name in RUNTIMES if name in RUNTIMES[:2] or shutil.which(name)]


def watched(
    process: subprocess.Popen[bytes], limit_s: float
) -> tuple[list[float], list[float], list[float]]:
    """Seconds, bytes and descriptors of the process, every second until its report is begun.

    The report is made by a child at the end. Raises TimeoutError where it does not end.
    """
    times, memory, descriptors = list[float](), list[float](), list[float]()
    begin = time.monotonic()
    ended = os.pidfd_open(process.pid)
    own = Path(f"/proc/{process.pid}")
    page = os.sysconf("SC_PAGESIZE")
    try:
        while not select.select([ended], [], [], EVERY_S)[0]:
            if time.monotonic() - begin > limit_s:
                raise TimeoutError("the run does not end")
            try:
                bytes_now = int((own / "statm").read_text().split()[1]) * page
                count = len(os.listdir(own / "fd"))  # noqa: PTH208
            except OSError:  # it has just ended
                break
            times.append(time.monotonic() - begin)
            memory.append(float(bytes_now))
            descriptors.append(float(count))
    finally:
        os.close(ended)
    process.wait()
    return times, memory, descriptors


def looked_at(run: Path, status: int, said: str) -> list[str]:
    """What is not whole of the journal, the manifest and the report."""
    faults = [f"status {status}: {said[-500:]}"] if status != 0 else []
    manifest = json.loads((run / "manifest.json").read_bytes())
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
    elif len(load_run(report).trials) != len(planned):
        faults.append("the report does not carry the whole run")
    return faults


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
