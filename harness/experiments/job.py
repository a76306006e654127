"""A workload of the user's own: one fresh instance, one job, and what its output tells.

The job's duration is the host's, from the agent's word that it started to its word that it
ended; its CPU seconds are those of its processes as the box's kernel counts them.
"""

from __future__ import annotations

from harness.clock import Marks
from harness.experiments import identity
from harness.experiments.bench import Bench, Measurement
from harness.experiments.jobs import WorkloadFailed, run_workload
from harness.metrics import METRICS
from harness.model import Sample
from harness.parsers import chosen
from harness.settings import Job


def measure(bench: Bench, settings: Job) -> Measurement:
    """One trial. Raises HarnessError, with the end of the output, when the job did not do what
    it should: its program is missing, it failed, it took too long, its output is garbage."""
    workload = bench.workload
    identity.executed_files(bench.image, workload.argv[0])
    with bench.instance(Marks(), settings.ready_timeout_s) as instance:
        done = run_workload(instance, workload)
        if done.ended_ns <= done.started_ns:  # a guest's job: its own clock is not believed
            raise WorkloadFailed("its start and its end were heard at once: too short to be timed")
        found = [] if workload.parser is None else chosen.read(
            workload.parser, done.stdout, done.stderr
        )  # fmt: skip
        proof = bench.prove(instance, workload.argv[0])
    own = {"job.duration": (done.ended_ns - done.started_ns) / 1e9, "job.cpu": done.cpu_s}
    samples = [Sample(name, value, METRICS[name].unit) for name, value in own.items()]
    return Measurement(samples=(*samples, *found), identity=proof)
