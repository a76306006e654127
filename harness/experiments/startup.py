"""How long until a box is ready for its first job, and what the launch costs the host.

One instance, from the request to nothing left. Right after READY the channel is silent; then
the first job runs, its output is checked, the limits are verified from inside, and, after the
last sample, the executed files are hashed. `startup.stop` and what follows hold all of this;
`startup.teardown` does not.
"""

from __future__ import annotations

from harness.clock import Marks
from harness.errors import HarnessError
from harness.experiments import limits
from harness.experiments.bench import Bench, Conditions, Measurement
from harness.metrics import METRICS
from harness.model import Completed, Instance, Mark, Sample
from harness.probes import cpu
from harness.settings import Startup
from harness.workload import Workload

_CLOCK_TOLERANCE = 0.01
_PINGS = 5
_SCHEDULING_S = 0.1
"""A stamp may be late by what the host's scheduler takes; see `_check_clock`."""


class WorkloadFailed(HarnessError):
    """The job inside did not do what the workload says it does."""


def measure(bench: Bench, settings: Startup) -> Measurement:
    """One trial of `startup`. Raises HarnessError when anything is not as it must be."""
    before: dict[str, float | None] = {}

    def note() -> None:
        before["cpu"] = bench.cpu_s()
        before["busy"], before["steal"] = cpu.busy_s(), cpu.steal_s()

    marks = Marks(before_request=note)
    with bench.instance(marks, settings.ready_timeout_s) as instance:
        conditions = _spent(bench, before, instance)
        job_ended_ns = first_job(instance, bench.workload)
        init_ns = getattr(getattr(instance, "agent", None), "init_ns", lambda: None)()
        if init_ns is not None:
            marks.at(Mark.INIT, init_ns)
        wrong = limits.mismatches(
            instance, bench.runtime.runtime_class, bench.limits, bench.facts.limits
        )
        if wrong:
            raise HarnessError(f"limits do not hold: {'; '.join(wrong)}")
        proof = bench.prove(instance, bench.workload.argv[0])
    return Measurement(marks.freeze(), _samples(marks, job_ended_ns, conditions), proof, conditions)


def first_job(instance: Instance, workload: Workload) -> int:
    """Run the workload, check what it printed, and return the host's stamp of its end."""
    done = instance.run(workload.job(instance.scratch()))
    _check_output(done, workload)
    _check_clock(done, max(instance.round_trip_ns()[0] for _ in range(_PINGS)) / 1e9)
    return done.ended_ns


def _check_output(done: Completed, workload: Workload) -> None:
    if done.timed_out:
        raise WorkloadFailed(f"{workload.argv[0]} did not end within {workload.timeout_s:g} s")
    if done.exit_status != 0:
        how = f"signal {done.signal}" if done.signal else f"exit status {done.exit_status}"
        said = done.stderr.read().decode(errors="replace").strip()[-300:]
        raise WorkloadFailed(f"{workload.argv[0]} ended with {how}: {said or 'it said nothing'}")
    expected = workload.expected_output
    if expected is not None and done.stdout.read() != expected.encode():
        raise WorkloadFailed(f"{workload.argv[0]} printed something else than it must")


def _check_clock(done: Completed, round_trip_s: float) -> None:
    """The agent's own duration against the host's stamps: a guest's clock can run wrong.

    More than 1 % beyond the channel's round trip and a late wake-up is a wrong clock.
    """
    host_s = (done.ended_ns - done.started_ns) / 1e9
    allowed_s = _CLOCK_TOLERANCE * host_s + round_trip_s + _SCHEDULING_S
    if abs(host_s - done.duration_s) > allowed_s:
        raise WorkloadFailed(
            f"the box's clock says {done.duration_s:.3f} s where the host's says {host_s:.3f} s"
        )


def _spent(bench: Bench, before: dict[str, float | None], instance: Instance) -> Conditions:
    """What the launch cost, read as soon as the instance is ready and the call returned."""
    after, cpu_before = bench.cpu_s(instance), before["cpu"]
    busy, steal = before["busy"], before["steal"]
    assert busy is not None
    assert steal is not None
    counted = after is not None and cpu_before is not None and bench.counts_cpu()
    return {
        "cpu_s": after - cpu_before if counted else None,  # type: ignore[operator]
        "cpu_method": "cgroup" if bench.group is not None else "rusage",
        "host_busy_s": cpu.busy_s() - busy,
        "steal_s": cpu.steal_s() - steal,
    }


def _samples(marks: Marks, job_ended_ns: int, conditions: Conditions) -> tuple[Sample, ...]:
    frozen = marks.freeze()
    request = frozen[Mark.REQUEST]
    values = {
        f"startup.{mark}": (ns - request) / 1e9
        for mark, ns in frozen.items()
        if mark != Mark.REQUEST
    }
    values["startup.job"] = (job_ended_ns - request) / 1e9
    values["startup.teardown"] = (frozen[Mark.REMOVED] - frozen[Mark.STOP]) / 1e9
    if isinstance(conditions["cpu_s"], float):
        values["startup.cpu"] = conditions["cpu_s"]
    return tuple(
        Sample(metric=name, value=value, unit=METRICS[name].unit) for name, value in values.items()
    )
