"""Who is examined: every form that a registered runtime declares, a new one by itself."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harness import registry
from harness.clock import Marks
from harness.model import MIB, Instance, Job, Limits, Mark, Runtime
from tests.lab import Lab

RUNTIMES = [
    form
    for name in registry.names()
    if name not in registry.HIDDEN
    for form in registry.tested(name)
]
GIVEN = Limits(cpus=1, memory_bytes=256 * MIB, pids=128)
SHELL = "/usr/bin/busybox"


@dataclass
class Subject:
    """A runtime under test and one instance of it that runs, for all tests that leave it whole."""

    name: str
    runtime: Runtime
    box: Instance
    marks: Marks

    @property
    def is_machine(self) -> bool:
        """Whether it has a kernel of its own: what goes through it is slow where emulated."""
        return self.runtime.runtime_class.is_machine

    @property
    def is_plain(self) -> bool:
        """Whether it is the first form of its runtime; others differ from it in a parameter."""
        return registry.tested(registry.parse(self.name)[0])[0] == self.name


def shell(script: str, timeout_s: float = 60.0) -> Job:
    """A job that runs a script in the image's shell."""
    return Job([SHELL, "sh", "-c", script], timeout_s=timeout_s)


@contextlib.contextmanager
def leaving_nothing(lab: Lab, name: str, marks: Marks) -> Iterator[Instance]:
    """An instance of a runtime, which afterwards has ended in order and left nothing of its own."""

    def listed() -> set[tuple[str, str]]:
        return {(entry.kind, entry.name) for entry in lab.inventory_entries()}

    before = listed()
    with lab.instance(name, GIVEN, marks) as box:
        own, pids = listed() - before, box.processes()
        groups = [path for path in box.cgroups() if "tb-test" in str(path)]
        yield box
    frozen = marks.freeze()
    order = [Mark.REQUEST, Mark.READY, Mark.STOP, Mark.EXITED, Mark.REMOVED]
    instants = [frozen[mark] for mark in order]
    assert instants == sorted(instants)
    for pid in pids[:1]:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not [path for path in groups if path.exists()]
    assert not own & listed()
