"""Runs that are cut off: by Ctrl-C at any moment, or killed; nothing lost, nothing left."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.frames import load_run
from harness.analysis.timeseries import load
from harness.clock import Deadline
from harness.imagecheck import built
from harness.journal import records
from harness.model import Outcome
from harness.process import find_program
from tests.command import Place, finish, read_lines

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(built() is None, reason="the image is not built: tarebench image build"),
]

REAL = ["bare", "chroot", "runc"] if os.geteuid() == 0 and shutil.which("runc") else ["bare"]
MONITORED = {"lxc": "lxc-start", "nspawn": "systemd-nspawn"}
BOXES = [*REAL, *(name for name in MONITORED if "chroot" in REAL and find_program(MONITORED[name]))]
NAMED = [word for name in REAL for word in ("--runtime", name)]
HANGING = ["run", "quick", "--runtime", "fake,fail=hang", "--repeat", "1"]
MOMENTS = 6
LATEST_LINE = 45
UP_TO_S = 0.05


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def check_stored(place: Place, run: Path) -> Counter[str]:
    """What is stored is whole: each planned trial once; returns how many ended how."""
    manifest = json.loads((run / "manifest.json").read_bytes())
    walls = [row for row in place.rows(run) if row["metric"] == "trial.wall"]
    assert [row["trial"] for row in walls] == [trial["trial"] for trial in manifest["plan"]]
    stored = {record.trial: record.outcome for record in records(run)}
    for row in walls:
        assert row["outcome"] == stored.get(row["trial"], Outcome.INTERRUPTED)
        assert row["outcome"] == "ok" or row["reason"]
    return Counter(row["outcome"] for row in walls)


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3, 4)), 2, MOMENTS - 1]
)
def test_interruption_at_any_moment_tears_down_and_keeps(place: Place, number: int) -> None:
    """The debug log names each launch and removal, so a line of it is a moment of its own."""
    chance = random.Random(number)
    line = 1 + (LATEST_LINE * number + chance.randrange(LATEST_LINE)) // MOMENTS
    with place.started("--debug", "run", "quick", *NAMED, "--repeat", "20") as process:
        read_lines(process, count=line)
        tokens = place.tokens()
        threading.Event().wait(chance.uniform(0, UP_TO_S))  # a moment between two lines
        tokens |= place.tokens()
        said = finish(process, signal.SIGINT)
    assert said.status == 130, said.err
    assert "Traceback" not in said.err
    assert place.left_behind(tokens) == []
    assert place.to_clean() == []
    if said.out:
        counts = check_stored(place, said.folder)
        assert set(counts) <= {"ok", "interrupted"}
        assert counts["interrupted"] > 0
        assert "tarebench resume" in said.err
    else:
        assert "Interrupted before the first trial; nothing was left behind." in said.err
        assert not list((place.folder / "results").rglob("*.json*"))


@contextlib.contextmanager
def hanging_up(handler: signal.Handlers) -> Iterator[None]:
    """What is started meanwhile does with SIGHUP as `handler` says, however we were started."""
    before = signal.signal(signal.SIGHUP, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.slow)],
)
def test_box_that_hangs_can_be_interrupted(place: Place, number: signal.Signals) -> None:
    with hanging_up(signal.SIG_DFL), place.started("--debug", *HANGING) as process:
        read_lines(process, until="hanging")
        tokens = place.tokens()
        said = finish(process, number)
    assert said.status == 130, said.err
    assert "Traceback" not in said.err
    assert place.left_behind(tokens) == []
    counts = check_stored(place, said.folder)
    assert counts["ok"] == 0
    (record,) = records(said.folder)
    assert (record.outcome, record.reason) == (Outcome.INTERRUPTED, "interrupted by the user")
    assert place.to_clean() == []


@pytest.mark.slow
def test_under_nohup_a_run_ignores_that_the_terminal_goes(place: Place) -> None:
    with hanging_up(signal.SIG_IGN), place.started("--debug", *HANGING) as process:
        read_lines(process, until="hanging")
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert finish(process, signal.SIGTERM).status == 130
    masks = dict(re.findall(r"^(Sig\w+):\s*([0-9a-f]+)$", status, re.M))
    assert int(masks["SigIgn"], 16) >> (signal.SIGHUP - 1) & 1
    assert not int(masks["SigCgt"], 16) >> (signal.SIGHUP - 1) & 1


def test_killed_run_is_cleaned_and_resumed(place: Place) -> None:
    run = place.folder / "run"
    arguments = ["run", "quick", *NAMED, "--repeat", "2", "--seed", "11", "--out", str(run)]
    arguments += ["--set", "sampler.hz=50"]
    with place.started("--debug", *arguments) as process:
        read_lines(process, until="block 1: ")
        read_lines(process, count=2)
        tokens = place.tokens()
        living = place.tarebench("clean", "--dry-run")
        assert (living.status, living.out) == (0, ""), "a living run is never cleaned"
        assert process.poll() is None
        assert finish(process, signal.SIGKILL).status == -signal.SIGKILL
    assert len(tokens) == 1
    kept = list(records(run))
    assert kept
    with (run / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"trial":"torn')

    listed = place.tarebench("clean", "--dry-run").out.splitlines()
    assert {line.split("\t")[0] for line in listed} >= {"directory"}
    assert all(len(line.split("\t")) == 2 for line in listed)
    assert place.tarebench("clean", "--dry-run").out.splitlines() == listed
    cleaned = place.tarebench("clean")
    assert (cleaned.status, cleaned.out.splitlines()) == (0, listed), cleaned.err
    assert place.tarebench("clean", "--dry-run").out == ""
    assert place.tarebench("clean").out == ""
    place.wait_until_gone(tokens)
    assert place.left_behind(tokens) == []

    plan = json.loads((run / "manifest.json").read_bytes())["plan"]
    said = place.tarebench("resume", run)
    assert said.status == 0, said.err
    assert said.folder == run
    sampled = load(load_run(run))
    assert sampled is not None
    assert len(sampled.costs) == 2, "the series of both parts"
    assert {part.trial for part in kept} <= set(sampled.table["trial"].to_pylist())
    assert list(records(run))[: len(kept)] == kept, "finished trials are kept as they are"
    finished = [record.trial for record in records(run) if record.outcome is Outcome.OK]
    assert finished == [trial["trial"] for trial in plan], "each once, in the plan's order"
    assert check_stored(place, run) == {"ok": len(plan)}
    manifest = json.loads((run / "manifest.json").read_bytes())
    assert (manifest["plan"], manifest["outcome"]) == (plan, "complete")
    assert "resumed" in {guard["name"] for guard in manifest["guards"]}


@pytest.mark.parametrize(
    "name",
    [n if n in ("runc", "lxc") else pytest.param(n, marks=pytest.mark.slow) for n in BOXES],
)
def test_box_of_a_killed_run_is_found_and_removed(place: Place, name: str) -> None:
    job = 'workload={argv=["/usr/bin/sleep", "1000"], timeout_s=900.0}'
    arguments = ["run", "quick", "--runtime", name, "--set", job, "--set", "warmup_blocks=1"]
    with place.started("--debug", *arguments, "--repeat", "1") as process:
        read_lines(process, until="looking")
        tokens = place.tokens()
        deadline = Deadline(60.0)
        while not (asleep := sleepers(place, tokens)):
            assert process.poll() is None
            assert not deadline.over, "the job inside does not sleep"
            threading.Event().wait(0.02)  # the job inside tells nobody that it has begun
        assert finish(process, signal.SIGKILL).status == -signal.SIGKILL
    kinds = {line.split("\t")[0] for line in place.tarebench("clean", "--dry-run").out.splitlines()}
    own = {"runc": "container", "lxc": "cgroup", "nspawn": "cgroup"}
    assert kinds >= {"directory", own.get(name, "directory")}
    cleaned = place.tarebench("clean")
    assert cleaned.status == 0, cleaned.err
    place.wait_until_gone(tokens)
    assert place.left_behind(tokens) == []
    assert not [pid for pid in asleep if Path(f"/proc/{pid}").exists()]
    assert place.tarebench("clean", "--dry-run").out == ""


def sleepers(place: Place, tokens: set[str]) -> list[int]:
    """The jobs of our runs that sleep now."""
    found = []
    for pid in place.processes(tokens):
        with contextlib.suppress(OSError):
            if b"\x001000\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.append(pid)
    return found


def test_interrupted_run_is_resumed_by_its_own_rule(place: Place) -> None:
    """Also one that was to go on until it knows enough: its budget holds after the resume."""
    run = place.folder / "run"
    arguments = ["run", "quick", "--runtime", "fake", "--time-budget", "5s", "--out", str(run)]
    with place.started(*arguments) as process:
        read_lines(process, until="block 1: ")
        assert finish(process, signal.SIGINT).status == 130
    said = place.tarebench("resume", run)
    assert said.status == 0, said.err
    manifest = json.loads((run / "manifest.json").read_bytes())
    assert manifest["outcome"] == "complete"
    assert manifest["rule"]["budget_s"] == 5.0
    assert check_stored(place, run) == {"ok": len(manifest["plan"])}
    blocks = {trial["block"] for trial in manifest["plan"] if trial["experiment"] != "repeat"}
    assert 1 <= max(blocks) < 100


def test_run_that_goes_on_elsewhere_is_not_resumed(place: Place) -> None:
    run = place.folder / "run"
    arguments = [*HANGING, "--out", str(run)]
    with place.started(*arguments) as process:
        read_lines(process, until="trial 1 of")
        said = place.tarebench("resume", run, "--quiet")
        assert (said.status, said.err.count("still going on")) == (2, 1), said.err
        assert finish(process, signal.SIGINT).status == 130


def test_run_is_not_resumed_with_another_image_or_scenario(place: Place) -> None:
    run = place.folder / "run"
    arguments = [*HANGING, "--out", str(run)]
    with place.started(*arguments) as process:
        read_lines(process, until="trial 1 of")
        assert finish(process, signal.SIGINT).status == 130
    manifest = json.loads((run / "manifest.json").read_bytes())
    changes: dict[str, dict[str, Any]] = {
        "the image has changed": {"image": {**manifest["image"], "digest": "sha256:0"}},
        "another schema": {"schema": 999},
        "its manifest lacks what is needed": {"scenario": {}},
        "other runtimes are available": {"plan": manifest["plan"][:-1]},
    }
    for message, change in changes.items():
        (run / "manifest.json").write_text(json.dumps({**manifest, **change}))
        said = place.tarebench("resume", run, "--quiet")
        assert said.status == 2, said.err
        assert message in said.err
        assert "  hint: " in said.err
        assert "Traceback" not in said.err
