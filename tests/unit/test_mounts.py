"""A mount namespace of a thread's own, and what an interruption leaves of what runs there."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from runtimes.mounts import PrivateMounts

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mount namespaces take root")


def test_an_interruption_is_passed_on_after_the_end_of_what_was_begun() -> None:
    ended = threading.Event()

    def work() -> None:
        time.sleep(0.3)  # until who called waits, of which nothing tells
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        ended.set()

    with PrivateMounts() as mounts:
        with pytest.raises(KeyboardInterrupt):
            mounts.call(work)
        assert ended.is_set()


def test_what_fails_there_fails_here() -> None:
    with PrivateMounts() as mounts, pytest.raises(ZeroDivisionError):
        mounts.call(lambda: 1 // 0)
