"""How long until a box is ready for its first job, and what the launch costs the host.

One instance, from the request to nothing left. Right after READY the channel is silent; then
the first job runs and its output is checked, or a service is started and asked until it
answers. The limits are verified from inside and, after the last sample, the executed files
are hashed. `startup.stop` and what follows hold all of this; `startup.teardown` does not.
"""

from __future__ import annotations

from harness.clock import Marks
from harness.errors import HarnessError
from harness.experiments import cold, limits
from harness.experiments.bench import Bench, Conditions, Measurement
from harness.experiments.jobs import run_workload, start_service
from harness.metrics import METRICS
from harness.model import Instance, Mark, Sample
from harness.probes import cpu
from harness.settings import Startup
from harness.workload import Workload


def measure(bench: Bench, settings: Startup) -> Measurement:
    """One trial of `startup`. Raises HarnessError when anything is not as it must be."""
    before: dict[str, float | None] = {}
    listed = cold.files(bench) if settings.regime == "cold" else ()
    chilled: list[cold.Cold] = []

    def note() -> None:
        if listed:
            chilled.append(cold.chill(listed))
        before["cpu"] = bench.cpu_s()
        before["busy"], before["steal"] = cpu.busy_s(), cpu.steal_s()

    marks = Marks(before_request=note)
    with bench.instance(marks, settings.ready_timeout_s) as instance:
        conditions = _spent(bench, before, instance)
        for each in chilled:
            conditions |= cold.warmed(each, bench, instance)
        job_ended_ns = None
        if bench.workload.service is None:
            job_ended_ns = first_job(instance, bench.workload)
        else:
            conditions |= first_answer(instance, bench.workload, marks)
        init_ns = getattr(getattr(instance, "agent", None), "init_ns", lambda: None)()
        if init_ns is not None:
            marks.at(Mark.INIT, init_ns)
        wrong = limits.mismatches(
            instance, bench.runtime.runtime_class, bench.limits, bench.facts.limits
        )
        if wrong:
            raise HarnessError(f"limits do not hold: {'; '.join(wrong)}")
        proof = bench.prove(instance, bench.workload.argv[0])
    samples = _samples(marks, job_ended_ns, conditions)
    return Measurement(marks.freeze(), samples, proof, conditions)


def require(settings: Startup) -> None:
    """Raises EnvironmentRefused where the regime cannot be had here."""
    if settings.regime == "cold":
        cold.require()


def first_job(instance: Instance, workload: Workload) -> int:
    """Run the workload, check what it printed, and return the host's stamp of its end."""
    return run_workload(instance, workload).ended_ns


def first_answer(
    instance: Instance, workload: Workload, marks: Marks
) -> dict[str, str | float | int | bool | None]:
    """Start the service, and mark its first answer. Raises WorkloadFailed, with its words."""
    service, found = start_service(instance, workload)
    marks.at(Mark.SERVED, found.served_ns)
    return {"served_poll_s": service.poll_s, "served_tries": found.tries}


def _spent(
    bench: Bench, before: dict[str, float | None], instance: Instance
) -> dict[str, str | float | int | bool | None]:
    """What the launch cost, read as soon as the instance is ready and the call returned."""
    after, cpu_before = bench.cpu_s(instance), before["cpu"]
    busy, steal = before["busy"], before["steal"]
    assert busy is not None
    assert steal is not None
    counted = after is not None and cpu_before is not None and bench.counts_cpu()
    return {
        "regime": "warm",
        "cpu_s": after - cpu_before if counted else None,  # type: ignore[operator]
        "cpu_method": "cgroup" if bench.group is not None else "rusage",
        "host_busy_s": cpu.busy_s() - busy,
        "steal_s": cpu.steal_s() - steal,
    }


def _samples(marks: Marks, job_ended_ns: int | None, conditions: Conditions) -> tuple[Sample, ...]:
    frozen = marks.freeze()
    request = frozen[Mark.REQUEST]
    values = {
        f"startup.{mark}": (ns - request) / 1e9
        for mark, ns in frozen.items()
        if mark != Mark.REQUEST
    }
    if job_ended_ns is not None:
        values["startup.job"] = (job_ended_ns - request) / 1e9
    values["startup.teardown"] = (frozen[Mark.REMOVED] - frozen[Mark.STOP]) / 1e9
    if isinstance(conditions["cpu_s"], float):
        values["startup.cpu"] = conditions["cpu_s"]
    is_cold = conditions["regime"] == "cold"
    if is_cold:
        values["startup.read"] = float(conditions["device_read_bytes"] or 0)
    return tuple(
        Sample(
            metric=name,
            value=value,
            unit=METRICS[name].unit,
            dimensions=dict(cold.DIMENSION) if is_cold else {},
        )
        for name, value in values.items()
    )
