"""A run of days costs no more memory than one of minutes: records are on the disk, and no trial
leaves more behind than the doubles that rules and tables look at.

The runner's own loop, its journal, an experiment and a terminal's progress, with a scripted box.
"""

from __future__ import annotations

import gc
import io
import shutil
import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from harness import events, runner
from harness.experiments.bench import Bench
from harness.image.manifest import ManifestEntry, digest_of, render_manifest
from harness.image.tree import LOADER
from harness.inventory import Inventory
from harness.journal import Journal, stored
from harness.lineup import Entrant, Lineup
from harness.model import AGENT_PATH, Context, Image, Outcome, Sample, Trial, TrialRecord
from harness.pace import Pace
from harness.probes.conditions import Weather
from harness.scenario import load
from harness.stopping import Rule
from harness.terminal import LiveProgress
from runtimes.fake import Fake

BEGINNING, TRIALS, BLOCK = 60, 300, 3
MOST_BYTES_A_TRIAL = 200
"""A record is some KiB; doubles, with the room of their arrays to grow, are 67 bytes as seen."""
_NOT_OURS = [
    tracemalloc.Filter(False, tracemalloc.__file__),
    tracemalloc.Filter(False, "*/pathlib.py"),  # the table of interned names grows in leaps
]


def image_in(folder: Path) -> Image:
    """As much of an image as a scripted box and the proof of what it executed look at."""
    entries: dict[bytes, ManifestEntry] = {}
    for path, source in (("/usr/bin/echo", Path("/usr/bin/echo")), (LOADER, Path(LOADER))):
        inside = folder / "rootfs" / path.lstrip("/")
        inside.parent.mkdir(parents=True)
        shutil.copy(source, inside)
        entries[path.encode()] = ManifestEntry(0o100755, 0, 0, 1, f"{len(entries):064x}")
    entries[AGENT_PATH.encode()] = ManifestEntry(0o100755, 0, 0, 1, "a" * 64)
    manifest = render_manifest(entries)
    (folder / "manifest.txt").write_bytes(manifest)
    return Image(digest_of(manifest), folder, "a" * 64, ())


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A scripted runtime on a bench of its own."""
    folders = [tmp_path / name for name in ("image", "cache", "scratch", "state")]
    for folder in folders:
        folder.mkdir()
    made, cache, scratch, state = folders
    scenario = load("quick", runtimes=["fake"])
    with Inventory("long", tmp_path / "inventories") as inventory:
        context = Context("long", cache, state, "none", inventory)
        runtime = Fake("fake", {}, context)
        yield Bench(
            runtime=runtime, facts=runtime.probe(), image=image_in(made), limits=scenario.limits,
            workload=scenario.workload, outside=(), run_id="long", scratch=scratch, state=state,
            group=None, inventory=inventory,
        )  # fmt: skip


def planned(count: int, runtime: str = "fake") -> Sequence[Trial]:
    return [
        Trial(f"{n:05d}", "startup", runtime, block=n // BLOCK, position=n % BLOCK)
        for n in range(count)
    ]


def held_bytes() -> int:
    gc.collect()
    found = tracemalloc.take_snapshot().filter_traces(_NOT_OURS)
    return sum(trace.size for trace in found.traces)


def test_a_trial_leaves_doubles_behind_and_no_record(bench: Bench, tmp_path: Path) -> None:
    request = runner.Request(
        scenario=load("quick", runtimes=["fake"]), folder=tmp_path, seed=1, rule=Rule(TRIALS)
    )
    held: dict[int, int] = {}
    ended = 0
    progress = LiveProgress(Console(file=io.StringIO(), force_terminal=True))

    def observe(event: events.Event) -> None:
        nonlocal ended
        progress(event)
        if isinstance(event, events.Ended):
            ended += 1
            if ended in (BEGINNING, TRIALS):
                held[ended] = held_bytes()

    tracemalloc.start()
    try:
        with Journal(tmp_path) as journal, Weather() as weather:
            executed, stopped = runner._run_trials(
                request, Lineup({"fake": Entrant(bench)}, {}), planned(TRIALS), {}, journal,
                weather, observe,
            )  # fmt: skip
    finally:
        tracemalloc.stop()
    on_disk = [(each.trial, each.outcome) for each in stored(tmp_path)]
    assert on_disk == [(trial.trial, Outcome.OK) for trial in executed]
    assert stopped["blocks"] == TRIALS // BLOCK
    (known,) = msgspec.convert(stopped["known"], list[dict[str, object]])
    assert known["values"] == TRIALS, "and the rule has looked at each of them"
    grown = (held[TRIALS] - held[BEGINNING]) / (TRIALS - BEGINNING)
    assert grown < MOST_BYTES_A_TRIAL, f"{grown:.0f} bytes a trial"


def record(trial: Trial, wall_s: float) -> TrialRecord:
    return TrialRecord(
        trial=trial.trial, experiment=trial.experiment, runtime=trial.runtime,
        runtime_class="jail", accel="none", block=trial.block, position=trial.position,
        warmup=False, outcome=Outcome.OK, reason="", started_utc="", wall_s=wall_s,
        samples=[Sample("startup.ready", 0.01, "s")],
    )  # fmt: skip


def test_what_an_earlier_part_has_done_is_counted_and_let_go(bench: Bench, tmp_path: Path) -> None:
    """A run that is resumed begins with all its records, and does not keep them."""
    trials = planned(9)
    done = {trial.trial: record(trial, 2.0) for trial in trials[:6]}
    request = runner.Request(
        scenario=load("quick", runtimes=["fake"]), folder=tmp_path, seed=1, rule=Rule(3)
    )
    began: list[events.Began] = []
    with Journal(tmp_path) as journal, Weather() as weather:
        executed, stopped = runner._run_trials(
            request, Lineup({"fake": Entrant(bench)}, {}), trials, done, journal, weather,
            lambda event: began.append(event) if isinstance(event, events.Began) else None,
        )  # fmt: skip
    assert (done, list(executed)) == ({}, list(trials))
    assert [each.number for each in began] == [7, 8, 9]
    assert began[0].left_s == pytest.approx(6.0), "three more like the six before"
    (known,) = msgspec.convert(stopped["known"], list[dict[str, object]])
    assert known["values"] == 9
    assert [each.trial for each in stored(tmp_path)] == [trial.trial for trial in trials[6:]]


def test_time_left_is_that_of_like_trials_once_half_of_them_are_known() -> None:
    slow, quick = planned(4, "qemu"), planned(4, "crun")
    last = Trial("00008", "repeat", "qemu", 0, 8)
    pace = Pace([*slow, *quick, last])
    assert pace.left_s() is None
    pace.add(record(slow[0], 10.0))
    assert pace.left_s() is None, "three of seven are known"
    pace.add(record(quick[0], 1.0))
    assert pace.left_s() == pytest.approx(3 * 10.0 + 3 * 1.0)
    pace.add(record(slow[1], 20.0))
    assert pace.left_s() == pytest.approx(2 * 15.0 + 3 * 1.0)
    for each in (*slow[2:], *quick[1:]):
        pace.add(record(each, 1.0))
    assert pace.left_s() == 0.0, "the repetition at the very end is left out"


def test_a_kind_that_is_not_known_yet_is_taken_for_one_like_the_others() -> None:
    pace = Pace([*planned(4, "crun"), *planned(1, "qemu")])
    pace.add(record(planned(1, "crun")[0], 1.0))
    assert pace.left_s() == pytest.approx(4.0)
