"""A box's clock against the host's: the more jobs are looked at, the less a late stamp excuses."""

from __future__ import annotations

import pytest

from harness.experiments.jobs import WorkloadFailed, check_clock
from harness.model import Completed
from harness.spool import SpooledOutput

TRIP_S = 0.001


def job(host_s: float, box_s: float) -> Completed:
    out, ended_ns = SpooledOutput(), round(host_s * 1e9)
    return Completed(0, None, False, out, SpooledOutput(), 0.0, box_s, 0, ended_ns)


def test_a_clock_that_runs_as_the_host_s_is_right() -> None:
    check_clock(TRIP_S, job(1.0, 1.0))
    check_clock(TRIP_S, job(1.1, 1.0))  # one late wake-up
    check_clock(TRIP_S, *[job(1.012, 1.0)] * 14)  # a little late each time


@pytest.mark.parametrize("box_s", [0.95, 1.05])
def test_what_one_short_job_excuses_many_do_not(box_s: float) -> None:
    check_clock(TRIP_S, job(1.0, box_s))
    with pytest.raises(WorkloadFailed, match=r"the box's clock says 13\.3|says 14\.7"):
        check_clock(TRIP_S, *[job(1.0, box_s)] * 14)
