"""A run is killed at two hundred instants: nothing is lost, nothing doubled, nothing left.

A first run of each box, which lives, tells the events of its course (tests/killing.py). Then it is
killed at events spread evenly over all of them, and at instants between two: in the course of what
lies between. After each kill everything that had been stored is there, once; `clean` leaves nothing
of it on the host; and `resume` completes the same plan, with what was there before as it was.

`make test` does a few; `make test-all` all of them. The figures are printed at the end, and
docs/robustness.md holds them.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from harness import paths
from harness.cli import app
from harness.imagecheck import built
from harness.journal import records
from harness.model import Outcome
from harness.process import find_program
from tests.command import Place
from tests.conftest import Figures
from tests.hoststate import HostState, Ours, settled
from tests.killing import TORN, Event, Job, Kill, Killers, read_trace

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(built() is None, reason="the image is not built: tarebench image build"),
    pytest.mark.skipif(os.geteuid() != 0, reason="real boxes need root"),
]

KILLS = {"runc": 40, "crun": 40, "docker": 25, "qemu": 10, "chroot": 30, "bare": 30, "fake": 30}
"""How many of each: 205 in all, 115 of them on runc, crun, docker and qemu."""
FEW = {"runc": 3, "crun": 2, "fake": 2}
"""Those of `make test`."""
NEEDED = {"docker": "dockerd", "qemu": "qemu-system-x86_64", "runc": "runc", "crun": "crun"}
CHUNK = 5
SEED = 7
SCENARIO = """\
name = "killed"
title = "A run to be killed"
question = "What is left?"
blocks = 1
warmup_blocks = 0
[experiments.startup]
"""
NEVER = Kill()


@dataclass(frozen=True)
class Yard:
    """Where runs are killed: a folder, an inventory of its own, the server of runs, and what the
    host has of the session's other tests (their daemons are our descendants too)."""

    place: Place
    killers: Killers
    before: HostState

    def tarebench(self, trace: str, *argv: str, kill: Kill = NEVER) -> tuple[int, Path]:
        """The status of a command, and its trace."""
        path = self.place.folder / f"{trace}.trace"
        path.unlink(missing_ok=True)
        job = Job(argv, str(self.place.folder), self.place.env, str(path), kill.at, kill.after_s)
        return self.killers.run(job), path

    def begin(self, runtime: str, run: str, kill: Kill = NEVER) -> tuple[int, Sequence[Event]]:
        """A run of the scenario on one box."""
        argv = ["run", "killed.toml", "--runtime", runtime, "--out", run, "--seed", str(SEED)]
        status, trace = self.tarebench(run, *argv, "--quiet", kill=kill)
        return status, read_trace(trace)

    def said(self, run: str) -> str:
        """What a command wrote to its standard error."""
        return (self.place.folder / f"{run}.trace.said").read_text()


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Yard]:
    place = Place(tmp_path_factory.mktemp("kills"))
    (place.folder / "killed.toml").write_text(SCENARIO)
    with pytest.MonkeyPatch.context() as patch, Killers(place.env) as killers:
        patch.setenv("TAREBENCH_STATE", place.env["TAREBENCH_STATE"])
        yield Yard(place, killers, Ours((), ()).look())


@pytest.fixture(scope="module")
def courses() -> dict[str, Sequence[Event]]:
    """The course of a run that lives, by runtime; taken when it is first asked for."""
    return {}


def course_of(runtime: str, yard: Yard, known: dict[str, Sequence[Event]]) -> Sequence[Event]:
    if runtime not in known:
        status, known[runtime] = yard.begin(runtime, f"{runtime}-lives")
        assert status == 0, yard.said(f"{runtime}-lives")
    return known[runtime]


def instants(course: Sequence[Event], count: int) -> Sequence[Kill]:
    """So many kills, spread evenly over the course: every second at an event, the rest somewhere
    before the next one."""
    chance = random.Random(SEED)
    found = []
    for number in range(count):
        at = 1 + (2 * number + 1) * len(course) // (2 * count)
        gap_s = (course[min(at, len(course) - 1)].ns - course[at - 1].ns) / 1e9
        found.append(Kill(at, chance.random() * gap_s if number % 2 else 0.0))
    return found


def chunks(kills: Mapping[str, int]) -> Sequence[Any]:
    return [
        pytest.param(
            runtime, range(begin, min(begin + CHUNK, count)), count, id=f"{runtime}-{begin}"
        )
        for runtime, count in kills.items()
        for begin in range(0, count, CHUNK)
    ]


@pytest.mark.parametrize(("runtime", "numbers", "count"), chunks(FEW))
def test_some_kills(
    runtime: str, numbers: range, count: int, yard: Yard, courses: dict[str, Sequence[Event]],
    figures: Figures,
) -> None:  # fmt: skip
    kill_all(runtime, numbers, count, yard, courses, figures)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(("runtime", "numbers", "count"), chunks(KILLS))
def test_kills_at_two_hundred_instants(
    runtime: str, numbers: range, count: int, yard: Yard, courses: dict[str, Sequence[Event]],
    figures: Figures,
) -> None:  # fmt: skip
    kill_all(runtime, numbers, count, yard, courses, figures)


def kill_all(
    runtime: str, numbers: range, count: int, yard: Yard, courses: dict[str, Sequence[Event]],
    figures: Figures,
) -> None:  # fmt: skip
    program = NEEDED.get(runtime)
    if program is not None and find_program(program) is None:
        pytest.skip(f"{program} is not installed")
    course = course_of(runtime, yard, courses)
    kills = instants(course, count)
    for number in numbers:
        gap = survive(yard, runtime, f"{runtime}-{count}-{number}", kills[number])
        figures.count("kills survived", runtime, gap)


def survive(yard: Yard, runtime: str, run: str, kill: Kill) -> str:
    """One kill and all that is proven after it; returns in which gap it was.

    One that was to come between two events may come after the end, and is counted as that.
    """
    status, events = yard.begin(runtime, run, kill)
    assert status in (0, -9), (kill, yard.said(run))
    folder = yard.place.folder / run
    kept = list(records(folder))
    check_kept(events, [record.trial for record in kept])
    check_cleaned(yard)
    if not (folder / "manifest.json").exists():
        assert kept == []
        assert yard.tarebench("refused", "resume", run)[0] == 2
        return gap_of(events, status)
    before = json.loads((folder / "manifest.json").read_bytes())
    if before.get("outcome") != "complete":
        resumed, _ = yard.tarebench(f"{run}-resumed", "resume", run, "--quiet")
        assert resumed == 0, (kill, events[-1], yard.said(f"{run}-resumed"))
    check_complete(folder, before, kept)
    check_cleaned(yard)
    return gap_of(events, status)


def check_kept(events: Sequence[Event], kept: Sequence[str]) -> None:
    """Whatever the harness had stored is there, once; at most one more was just being stored."""
    stored = [
        e.name.split()[1] for e in events if e.name.startswith("record") and e.name[-1] == ">"
    ]
    assert kept[: len(stored)] == stored
    assert len(kept) - len(stored) in (0, 1)
    assert len(set(kept)) == len(kept)


def check_cleaned(yard: Yard) -> None:
    """`clean` succeeds, and then neither inventory nor host have anything of our runs."""
    tokens = yard.place.tokens()
    said = CliRunner().invoke(app, ["clean"])
    assert said.exit_code == 0, said.output
    assert CliRunner().invoke(app, ["clean", "--dry-run"]).stdout == ""
    assert list(paths.inventories().glob("*")) == []
    scratch = [paths.scratch(token) for token in tokens]
    ours = Ours(tuple(tokens), (*scratch, *map(paths.run_state, tokens)))
    if tokens:
        assert settled(lambda: left(ours, yard.before)) == []


def left(ours: Ours, before: HostState) -> list[str]:
    """What of ours is on the host that was not before the runs. An interface that does not name
    us is another's."""
    found = ours.look().since(before, but=("thread", "descriptor"))
    return [line for line in found if not line.startswith("interface") or "tb-" in line]


def check_complete(folder: Path, before: Mapping[str, Any], kept: Sequence[Any]) -> None:
    """The same plan, seed and image, each trial once and well, what was there as it was."""
    after = json.loads((folder / "manifest.json").read_bytes())
    assert after["outcome"] == "complete"
    same = ("run", "seed", "plan", "scenario", "started_utc")
    assert {key: after[key] for key in same} == {key: before[key] for key in same}
    assert after["image"] == before["image"]
    stored = list(records(folder))
    assert stored[: len(kept)] == kept
    assert [record.trial for record in stored] == [trial["trial"] for trial in after["plan"]]
    assert {record.outcome for record in stored} == {Outcome.OK}
    if before.get("outcome") != "complete":
        assert "resumed" in {guard["name"] for guard in after["guards"]}


def gap_of(events: Sequence[Event], status: int) -> str:
    """Between which of its promises the run was when it died."""
    if status == 0:
        return "it had just ended"
    gap = "before the inventory's first line"
    for event in events:
        kind, _, rest = event.name.partition(" ")
        mark = rest.partition(" ")[0]
        if kind == "make":
            gap = "written down, not yet made"
        elif kind == "mark" and mark == "request":
            gap = "in the creation"
        elif kind == "gone" or (kind == "mark" and mark in ("stop", "exited", "removed")):
            gap = "in the teardown"
        elif kind == "mark":
            gap = "between the marks"
        elif kind in ("record", TORN, "manifest"):
            gap = "in the storing of a record"
    return gap
