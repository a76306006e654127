"""A job that must succeed: run inside, checked at its end, and its clock against the host's.

Every experiment that measures by a tool inside a box runs it by `run_job`. What the tool says
of durations is worth what the box's clock is worth, so the agent's own duration of the job is
held against the host's stamps (METHOD: guest clock).
"""

from __future__ import annotations

from harness.errors import ChannelError, HarnessError
from harness.model import Completed, Instance, Job, Output
from harness.parsers import end_of
from harness.serving import Served, Serves, Service
from harness.workload import Workload

_CLOCK_TOLERANCE = 0.01
_PINGS = 5
_TAIL_BYTES = 4096
_SCHEDULING_S = 0.1
"""One stamp may be late by what the host's scheduler takes; see `check_clock`."""


class WorkloadFailed(HarnessError):
    """The job inside did not do what the workload says it does."""


def run_job(instance: Instance, job: Job) -> Completed:
    """Run a job that must end by itself, with status 0, by a clock that runs as the host's.

    Raises WorkloadFailed with the reason and the end of the output, and ChannelError or
    OSError when the program is not there.
    """
    done = instance.run(job)
    check_end(done, job)
    check_clock(longest_round_trip_s(instance), done)
    return done


def longest_round_trip_s(instance: Instance) -> float:
    """Of a few messages to the agent and back."""
    return max(instance.round_trip_ns()[0] for _ in range(_PINGS)) / 1e9


def run_workload(instance: Instance, workload: Workload) -> Completed:
    """Run a scenario's workload, which must print what it is said to print, where it is said."""
    done = run_job(instance, workload.job(instance.scratch()))
    expected = workload.expected_output
    if expected is not None and done.stdout.read() != expected.encode():
        said = end_of(_tail(done.stdout))
        raise WorkloadFailed(f"{workload.argv[0]} printed something else than it must: {said}")
    return done


def start_service(instance: Instance, workload: Workload) -> tuple[Service, Served]:
    """Start the scenario's service, to stay until the end of the box, once it has answered.

    Raises WorkloadFailed, with its words, where it does not.
    """
    service = workload.serving(instance.scratch())
    if service is None or not isinstance(instance, Serves):
        raise WorkloadFailed("this runtime's boxes cannot hold a service")
    try:
        return service, instance.serve(service)
    except ChannelError as error:
        raise WorkloadFailed(f"{workload.argv[0]}: {error.message}") from error


def check_end(done: Completed, job: Job) -> None:
    """Raises WorkloadFailed for a job that was ended or that failed."""
    if done.timed_out:
        how = f"did not end within {job.timeout_s:g} s"
    elif done.exit_status != 0:
        signalled = f"signal {done.signal}"
        how = f"ended with {signalled if done.signal else f'exit status {done.exit_status}'}"
    else:
        return
    said = end_of(_tail(done.stderr if done.stderr.size else done.stdout))
    raise WorkloadFailed(f"{job.argv[0]} {how}; the end of its output: {said}")


def _tail(output: Output) -> bytes:
    """The last few KiB: what a job wrote may be more than fits in memory."""
    with output.open() as file:
        file.seek(max(0, output.size - _TAIL_BYTES))
        return file.read()


def check_clock(round_trip_s: float, *done: Completed) -> None:
    """The agent's own durations of jobs against the host's stamps: a guest's clock can run wrong.

    More than 1 % of their sum, beyond the channel's round trips and one late wake-up, is a wrong
    clock: the more jobs are looked at together, the less that one wake-up excuses.
    """
    host_s = sum(each.ended_ns - each.started_ns for each in done) / 1e9
    box_s = sum(each.duration_s for each in done)
    allowed_s = _CLOCK_TOLERANCE * host_s + len(done) * round_trip_s + _SCHEDULING_S
    if abs(host_s - box_s) > allowed_s:
        raise WorkloadFailed(
            f"the box's clock says {box_s:.3f} s where the host's says {host_s:.3f} s"
        )
