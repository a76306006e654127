"""The suite of the lab: its lanes, and its table, without time for a machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from harness.lab.recipe import PROFILES
from tests.laboratory.__main__ import LONGEST_FIRST, Lanes, main, processors


def test_profiles_go_beside_each_other_and_their_rows_come_together() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.laboratory", "kvm", "xen", "--", "-p", "no:cacheprovider"],
        capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "LAB_MINUTES": "0", "AGAIN": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    *said, head, kvm, xen = done.stdout.splitlines()
    assert head.split() == ["profile", "passed", "failed", "left", "checks", "min"]
    for name, row, least in (("kvm", kvm, 8), ("xen", xen, 6)):
        profile, passed, failed, left, *_ = row.split()
        assert (profile, failed) == (name, "0")
        assert int(passed) + int(left) >= least
        assert any(
            line.startswith(f"{name} ") and line.endswith("make test-lab goes on with it")
            for line in said
        )


class Interrupted(Lanes):
    """Ctrl-C comes in the first session, which takes a while to end what it has started."""

    def _session(self, profile: str) -> None:
        time.sleep(0.3)  # until who started the lanes waits for them, of which nothing tells
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.3)
        self.rows[profile] = "ended"


def test_an_interruption_waits_for_sessions_and_begins_none() -> None:
    lanes = Interrupted(["kvm", "xen"], [], 1)
    # Who starts the tests in the background may have had the signal ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            lanes.run(processors()[:1])
    finally:
        signal.signal(signal.SIGINT, before)
    assert lanes.rows == {"xen": "ended"}


def test_a_profile_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["hyperv", "--", "-v"]) == 2
    assert "the lab has no profile hyperv: one of kvm, " in capsys.readouterr().out


def test_each_has_its_place_in_the_order_and_a_lane_its_processor() -> None:
    assert sorted(LONGEST_FIRST) == sorted(PROFILES)
    assert set(processors()) <= os.sched_getaffinity(0)
    assert processors()
