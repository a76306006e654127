"""What is asked of a machine is bounded: one that hangs is killed, and no other."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from harness.errors import DeadlineExceeded
from runtimes.domain_parts import bounded


@contextmanager
def process_of(uuid: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like the QEMU of a machine, and waits for its end."""
    argv = ["qemu-stand-in", "-c", "import signal; signal.pause()", "-uuid", uuid]
    with subprocess.Popen(argv, executable=sys.executable) as process:
        try:
            yield process
        finally:
            process.kill()


def test_machine_that_does_not_answer_is_killed_and_told_of_as_late() -> None:
    """libvirt's call fails when its QEMU ends; here that is the end of the process itself."""
    uuid = str(uuid4())

    def ask(process: subprocess.Popen[bytes]) -> None:
        with bounded(uuid, 0.2):
            process.wait(30)
            raise OSError("the monitor is closed")

    with process_of(uuid) as asked, process_of(str(uuid4())) as other:
        with pytest.raises(DeadlineExceeded, match=r"did not answer within 0\.2 s, and was killed"):
            ask(asked)
        assert asked.returncode == -signal.SIGKILL
        assert other.poll() is None, "another machine is left alone"


def test_machine_that_answers_is_left_alone() -> None:
    uuid = str(uuid4())
    with process_of(uuid) as process:
        with bounded(uuid, 30.0):
            pass
        with pytest.raises(OSError, match="its own fault"), bounded(uuid, 30.0):
            raise OSError("its own fault")
        assert process.poll() is None
