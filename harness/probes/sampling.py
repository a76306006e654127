"""The harness's side of the sampler: starts it, and tells it of trials and instances.

Telling is one small write to a pipe that never waits: a sampler that does not keep up loses
its run's time series, never a trial. Nothing is told within a timed part but that an instance
has come, right after READY, and scenarios that time what follows leave the sampler off.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import series
from harness.model import Instance, Trial
from harness.process import Process, spawn
from harness.series import Cost

log = logging.getLogger(__name__)

_END_S = 10.0
_PIPE_BYTES = 1 << 20


class Sampling:
    """A sampler that runs, or none: `Sampling.off()`."""

    def __init__(self, pipe: int | None = None) -> None:
        self._pipe = pipe

    @classmethod
    def off(cls) -> Sampling:
        """Samples nothing."""
        return cls()

    @contextlib.contextmanager
    def trial(self, trial: Trial) -> Iterator[None]:
        """Counters are read for as long as this lasts."""
        named = {"trial": trial.trial, "experiment": trial.experiment, "runtime": trial.runtime}
        self._tell(trial=named)
        try:
            yield
        finally:
            self._tell(trial={})

    @contextlib.contextmanager
    def instance(self, name: str, instance: Instance) -> Iterator[None]:
        """An instance is watched from its first job until just before its end is asked for."""
        if self._pipe is None:
            yield
            return
        self._tell(add=name, pids=[*instance.processes()])
        try:
            yield
        finally:
            self._tell(gone=name)

    def close(self) -> None:
        """Tell no more: the sampler ends."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def _tell(self, **said: Any) -> None:
        if self._pipe is None:
            return
        try:
            os.write(self._pipe, json.dumps(said).encode() + b"\n")
        except OSError as error:  # it does not read any more, or has died
            log.error("the sampler is lost: %s", error)
            self.close()


@contextlib.contextmanager
def start(folder: Path, hz: int | None) -> Iterator[Sampling]:
    """A sampler that writes into a run folder; none without `hz`.

    It must be started before the harness joins the run's control group, so that its CPU time
    is not counted as that of the run.
    """
    if hz is None:
        yield Sampling.off()
        return
    theirs, ours = os.pipe()
    with contextlib.closing(Sampling(ours)) as sampling:
        try:
            os.set_inheritable(theirs, True)
            os.set_blocking(ours, False)
            with contextlib.suppress(OSError):  # room for the end of a thousand instances at once
                fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            process = _spawn(theirs, folder, hz)
        finally:
            os.close(theirs)
        with process:
            try:
                yield sampling
            finally:
                sampling.close()
                _expect_end(process)


def _expect_end(process: Process) -> None:
    try:
        if status := process.wait(_END_S):
            log.error("the sampler ended with status %d", status)
    except TimeoutError:
        log.exception("the sampler does not end")


def _spawn(pipe: int, folder: Path, hz: int) -> Process:
    with (folder / "log.txt").open("ab") as errors:
        argv = [sys.executable, "-m", __name__.replace("sampling", "sampler"), str(pipe),
                str(folder / series.RAW), str(hz)]  # fmt: skip
        return spawn(argv, stderr=errors.fileno(), keep=[pipe])


def cost(folder: Path) -> Cost | None:
    """What the run's last sampler has cost; None where there was none."""
    path = folder / series.RAW
    return series.last_cost(path) if path.exists() else None
