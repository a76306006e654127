"""A scripted runtime, for tests of the engine alone: no box, no process, and no listing.

`ready_ms` is what it claims READY took; `fail` says where it breaks; `hang` makes the launch
wait for an interruption, `silent` the probe for ever, and `stuck` the preparation. It is never
offered to users.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from harness.clock import HEARS_EVERY_S, now_ns
from harness.errors import DeadlineExceeded, LaunchFailed, RuntimeUnavailable, UsageError
from harness.image.manifest import parse_manifest
from harness.model import (
    Completed,
    Context,
    Image,
    InstanceSpec,
    Job,
    Limits,
    Mark,
    Marks,
    Parameter,
    RuntimeClass,
    RuntimeFacts,
)
from harness.spool import SpooledOutput
from runtimes.box import check_parameters

log = logging.getLogger(__name__)

_FAILURES = ("never", "probe", "launch", "time", "job", "odd", "digest", "hang",
             "silent", "stuck", "bug", "limits")  # fmt: skip


class FakeBox:
    """Answers as the image says it must, unless it is told to fail."""

    def __init__(self, image: Image, fail: str) -> None:
        self._image = image
        self._fail = fail
        self._held = 0

    def run(self, job: Job) -> Completed:
        out = SpooledOutput()
        out.add(" ".join(job.argv[1:]).encode() + b"\n")
        at = now_ns()
        status = 1 if self._fail == "job" else 0
        return Completed(status, None, False, out, SpooledOutput(), 0.0, 0.0, at, at)

    def round_trip_ns(self) -> tuple[int, int | None]:
        return 1000, 500

    def facts(self) -> Mapping[str, str]:
        return {"kernel": "scripted", "cpus": "1"}

    def derive_manifest(self) -> bytes:
        manifest = self._image.manifest.read_bytes()
        return manifest[: len(manifest) // 2] if self._fail == "digest" else manifest

    def hash_files(self, paths: Sequence[str]) -> Mapping[str, str]:
        listed = parse_manifest(self._image.manifest.read_bytes())
        return {path: listed[path].content for path in paths}

    def drop_cached(self, paths: Sequence[str]) -> None:
        """It has no cache."""

    def touch(self, size_bytes: int, seed: int | None = None) -> int:
        self._held += size_bytes
        return self._held

    def release(self) -> int:
        self._held = 0
        return self._held

    def scratch(self) -> str:
        return "/tmp"

    def processes(self) -> Sequence[int]:
        return ()

    def cgroups(self) -> Sequence[Path]:
        return ()


class Fake:
    """See the module."""

    runtime_class = RuntimeClass.CONTAINER
    parameters: Mapping[str, Parameter] = {
        "ready_ms": Parameter("10", description="what READY is said to take"),
        "fail": Parameter("never", _FAILURES, "where it breaks"),
    }

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        given = check_parameters("fake", parameters, self.parameters)
        self.name = name
        try:
            self._ready_ns = int(float(given["ready_ms"]) * 1e6)
        except (ValueError, OverflowError):
            raise UsageError(f"{given['ready_ms']!r} is no ready_ms", "give a number") from None
        self._fail = given["fail"]
        self._launches = 0

    def probe(self) -> RuntimeFacts:
        if self._fail == "probe":
            raise RuntimeUnavailable("this fake was told to be unavailable", "ask for another")
        if self._fail == "silent":
            threading.Event().wait()
        if self._fail == "bug":
            raise ZeroDivisionError("an adapter with a bug")
        return RuntimeFacts(versions={"fake": "1"})

    def prepare(self, image: Image) -> None:
        """Nothing is derived."""
        del image
        if self._fail == "stuck":
            threading.Event().wait()

    def check_limits(self, limits: Limits) -> None:
        if self._fail == "limits":
            raise RuntimeUnavailable(f"this fake needs more than {limits.cpus:g} CPUs", "give more")

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[FakeBox]:
        number = self._launches = self._launches + 1
        request = marks.stamp(Mark.REQUEST)
        if self._fail == "launch" or (self._fail == "odd" and number % 2):
            raise LaunchFailed("this fake was told to fail")
        if self._fail == "time":
            raise DeadlineExceeded("this fake was told to be late")
        if self._fail == "hang":
            log.debug("hanging until it is interrupted")
            while not threading.Event().wait(HEARS_EVERY_S):
                pass
        marks.at(Mark.READY, request + self._ready_ns)
        yield FakeBox(spec.image, self._fail)
        for offset, mark in enumerate((Mark.STOP, Mark.EXITED, Mark.REMOVED), 1):
            marks.at(mark, max(now_ns(), request + self._ready_ns) + offset)

    def close(self) -> None:
        """Nothing is held."""
