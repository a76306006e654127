"""Feeds a target until its time is over, and tells what came of it.

Two engines: hypothesis bends the seeds with what it knows of their form; atheris, where it is
installed, is led by the coverage of the code that reads.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import hypothesis
from hypothesis import HealthCheck, given

from tests.fuzz.mutants import mutants
from tests.fuzz.promises import Broken, Target, hold

ROUND = 200
"""Inputs between two looks at the clock; each round has a seed of its own."""

SETTINGS = hypothesis.settings(
    max_examples=ROUND, deadline=None, database=None, print_blob=False,
    suppress_health_check=list(HealthCheck), report_multiple_bugs=False,
    phases=[hypothesis.Phase.generate],
)  # fmt: skip

_DONE = re.compile(rb"Done (\d+) runs? in (\d+) second")
_SLOW_S, _MEMORY_MIB = 30, 3000


@dataclass
class Tally:
    """What came of one target's inputs: those read, those refused, and the one that broke."""

    target: str
    inputs: int = 0
    read: int = 0
    broken: str = ""
    culprit: bytes = b""


def by_hypothesis(target: Target, seconds: float, first_seed: int = 0) -> Tally:
    """Rounds of inputs until the time is over, or a promise is broken."""
    tally, end, number = Tally(target.name), time.monotonic() + seconds, first_seed
    while time.monotonic() < end and not tally.broken:
        once(target, tally, ROUND, number)
        number += 1
    return tally


def once(target: Target, tally: Tally, count: int, seed: int) -> None:
    """One round, which ends at the first input that breaks a promise."""

    @hypothesis.seed(seed)
    @hypothesis.settings(SETTINGS, max_examples=count)
    @given(mutants(target.seeds))
    def feed(data: bytes) -> None:
        tally.inputs += 1
        try:
            tally.read += hold(target, data)
        except Broken:
            tally.culprit = data
            raise

    try:
        feed()
    except Broken as error:
        tally.broken = str(error)


def by_atheris(target: Target, seconds: int, folder: Path) -> Tally:
    """A child process that atheris drives; raises subprocess.TimeoutExpired where it hangs."""
    corpus, kept = folder / "corpus", folder / "broken"
    for each in (corpus, kept):
        each.mkdir(parents=True)
    for number, seed in enumerate(target.seeds):
        (corpus / str(number)).write_bytes(seed)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", target.name, str(corpus),
         f"-max_total_time={seconds}", f"-timeout={_SLOW_S}", f"-rss_limit_mb={_MEMORY_MIB}",
         f"-artifact_prefix={kept}{os.sep}", "-max_len=65536", "-close_fd_mask=1"],
        capture_output=True, check=False, timeout=seconds + 240,
    )  # fmt: skip
    tally = Tally(target.name)
    if (counted := _DONE.search(done.stderr)) is not None:
        tally.inputs = int(counted[1])
    found = sorted(kept.iterdir())
    if done.returncode != 0 or found or not tally.inputs:
        tally.broken = _last_words(done.stderr)
        tally.culprit = found[0].read_bytes() if found else b""
    return tally


def _last_words(stderr: bytes) -> str:
    """What the child said, without libFuzzer's own lines of progress."""
    lines = stderr.decode(errors="replace").splitlines()
    return "\n".join(line for line in lines if not line.startswith(("#", "INFO")))[-3000:]


def table(tallies: Sequence[Tally]) -> str:
    """A line a target, and the sum; what was read, atheris does not tell."""
    lines = [f"{'target':12} {'inputs':>9} {'read':>9}  broken"]
    for each in tallies:
        broken = each.broken.splitlines()[0] if each.broken else "-"
        lines.append(f"{each.target:12} {each.inputs:9} {each.read or '':>9}  {broken}")
    inputs, broken_ones = sum(t.inputs for t in tallies), sum(bool(t.broken) for t in tallies)
    lines.append(f"{'all':12} {inputs:9} {'':>9}  {broken_ones}")
    return "\n".join(lines)
