"""The sampler as a real process: it reads while a trial lasts, and never outlives its harness."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from harness import series
from harness.errors import CommandFailed
from harness.model import Instance, Trial
from harness.probes import sampling
from harness.probes.sampling import Sampling
from harness.series import HOST, Reader, Reading

TRIAL = Trial("00003", "density", "bare", 0, 0)
WAIT_S = 20.0


class Box:
    """An instance of which only the processes are known."""

    def __init__(self, *pids: int) -> None:
        self._pids = pids

    def processes(self) -> tuple[int, ...]:
        return self._pids


def box(*pids: int) -> Instance:
    return cast("Instance", Box(*pids))


@contextmanager
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE) as child:
        yield child


def readings(folder: Path) -> list[Reading]:
    path = folder / series.RAW
    lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    return list(Reader().read(lines))


def wait_for(folder: Path, instance: str, count: int) -> None:
    """Until so many readings of an instance are there: the file tells nobody that it grows."""
    over = threading.Event()
    for _ in range(int(WAIT_S / 0.02)):
        if sum(reading.instance == instance for reading in readings(folder)) >= count:
            return
        over.wait(0.02)
    raise AssertionError(f"{instance} was not read {count} times")


def test_instances_are_read_while_they_live_and_a_trial_lasts(tmp_path: Path) -> None:
    with sampling.start(tmp_path, 50) as watching, sleeper() as child:
        with watching.instance("early", box(child.pid)):
            pass
        with watching.trial(TRIAL):
            with watching.instance("box", box(child.pid)):
                wait_for(tmp_path, "box", 5)
            wait_for(tmp_path, HOST, len(readings(tmp_path)) // 2 + 5)
        with watching.instance("late", box(child.pid)):
            pass
    found = readings(tmp_path)
    assert {reading.instance for reading in found} == {"box", HOST}
    assert {(r.trial, r.experiment, r.runtime) for r in found} == {("00003", "density", "bare")}
    times = [reading.t_ns for reading in found if reading.instance == "box"]
    assert times == sorted(set(times))
    pss = [r.pss_bytes for r in found if r.instance == "box" and r.pss_bytes is not None]
    assert len(pss) == 1, "seldom: it locks the process's memory"
    cost = sampling.cost(tmp_path)
    assert cost is not None
    assert cost.ticks >= 5
    assert 0 < cost.cpu_ns < cost.active_ns


def test_an_instance_that_vanishes_between_two_readings_is_no_harm(tmp_path: Path) -> None:
    with sampling.start(tmp_path, 50) as watching, watching.trial(TRIAL):
        with sleeper() as child:
            stays = watching.instance("gone", box(child.pid))
            stays.__enter__()
            wait_for(tmp_path, "gone", 2)
        wait_for(tmp_path, HOST, 20)
        with (
            watching.instance("never", box(child.pid)),
            sleeper() as other,
            watching.instance("after", box(other.pid)),
        ):
            wait_for(tmp_path, "after", 2)
        stays.__exit__(None, None, None)
    assert {reading.instance for reading in readings(tmp_path)} == {"gone", "after", HOST}


def test_a_sampler_that_has_died_costs_no_trial(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with sampling.start(tmp_path, 50) as watching, sleeper() as child:
        with watching.trial(TRIAL), watching.instance("box", box(child.pid)):
            wait_for(tmp_path, "box", 2)
            sampler = _sampler_of(os.getpid())
            os.kill(sampler, signal.SIGKILL)
            os.waitid(os.P_PID, sampler, os.WEXITED | os.WNOWAIT)
        with watching.trial(TRIAL):
            pass
    assert "the sampler is lost" in caplog.text
    assert readings(tmp_path)


def test_it_dies_with_a_harness_that_is_killed_and_its_series_is_read(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\n"
        "from harness.model import Trial\n"
        "from harness.probes import sampling\n"
        "with sampling.start(pathlib.Path(sys.argv[1]), 50) as watching:\n"
        "    with watching.trial(Trial('00003', 'density', 'bare', 0, 0)):\n"
        "        print('begun', flush=True)\n"
        "        input()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as harness:
        assert harness.stdout is not None
        harness.stdout.readline()
        wait_for(tmp_path, HOST, 3)
        sampler = os.pidfd_open(_sampler_of(harness.pid))
        harness.kill()
        assert select.select([sampler], [], [], WAIT_S)[0], "it outlives its harness"
        os.close(sampler)
    before = len(readings(tmp_path))
    assert before >= 3
    with sampling.start(tmp_path, 50) as watching, watching.trial(TRIAL):
        wait_for(tmp_path, HOST, before + 3)
    with (tmp_path / series.RAW).open("rb") as lines:
        reader = Reader()
        assert len(list(reader.read(lines))) >= before + 3
    assert reader.damaged == 0, "what was torn is cut off when a series goes on"
    assert len(reader.costs) == 2


def test_off_is_off(tmp_path: Path) -> None:
    with (
        sampling.start(tmp_path, None) as watching,
        watching.trial(TRIAL),
        watching.instance("box", box()),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
    assert Sampling.off()._pipe is None


def _sampler_of(harness: int) -> int:
    children = Path(f"/proc/{harness}/task/{harness}/children").read_text().split()
    (found,) = [
        int(pid) for pid in children
        if b"harness.probes.sampler" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]  # fmt: skip
    return found


def test_a_sampler_that_cannot_be_started_leaves_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(CommandFailed, match="could not be started"), sampling.start(tmp_path, 5):
        raise AssertionError("it was started")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
