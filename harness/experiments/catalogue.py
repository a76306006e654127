"""Every experiment by the name that scenarios, plans and records use.

To add one: its settings in harness/settings.py, its metrics in harness/metrics.py, a module
here, a line in `EXPERIMENTS`, and a section in harness/report/sections/.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.experiments import (
    cow,
    cpu,
    density,
    interference,
    io,
    isolation,
    job,
    ladder,
    lifecycle,
    memory,
    parallel,
    phases,
    registry,
    startup,
    system,
)
from harness.experiments.bench import Bench, Measurement
from harness.model import Instruments, Runtime
from harness.settings import Settings
from harness.workload import Workload


def the_workload(settings: Settings, workload: Workload) -> Sequence[Workload]:
    """What an experiment executes that runs the scenario's own workload and nothing else."""
    del settings
    return [workload]


def the_agent_alone(settings: Settings, workload: Workload) -> Sequence[Workload]:
    """What an experiment executes that runs no job: nothing but the agent."""
    del settings, workload
    return []


def the_service(settings: Settings, workload: Workload) -> Sequence[Workload]:
    """What an experiment executes that has no use for a workload but as a service."""
    del settings
    return [] if workload.service is None else [workload]


@dataclass(frozen=True)
class Experiment:
    """One experiment: `measure` turns one trial into marks and samples.

    `executes` names what is run inside, as short jobs that are representative of it: on bare
    metal they are traced, so that every file which they open is known. `can` says whether a
    runtime has what the experiment needs, and is meant by its settings. `require` raises
    EnvironmentRefused, before anything is made, where this host or user cannot do it; `fits`
    raises RuntimeUnavailable for a runtime that the settings ask too much of.
    """

    measure: Callable[[Bench, Any], Measurement]
    executes: Callable[[Any, Workload], Sequence[Workload]] = the_workload
    can: Callable[[Runtime, Any], bool] = lambda runtime, settings: True
    require: Callable[[Any], None] = lambda settings: None
    fits: Callable[[Runtime, Any], None] = lambda runtime, settings: None


EXPERIMENTS: Mapping[str, Experiment] = {
    "startup": Experiment(startup.measure, require=startup.require),
    "memory": Experiment(memory.measure, executes=the_agent_alone),
    "density": Experiment(density.measure, executes=the_service, fits=density.fits),
    "phases": Experiment(
        phases.measure, can=lambda runtime, settings: isinstance(runtime, Instruments)
    ),
    "ladder": Experiment(
        ladder.measure,
        executes=the_agent_alone,
        can=lambda runtime, settings: runtime.name in settings.named(),
    ),
    "parallel": Experiment(parallel.measure, executes=the_agent_alone),
    "cpu": Experiment(cpu.measure, cpu.executes),
    "io": Experiment(io.measure, executes=io.executes),
    "job": Experiment(job.measure),
    "interference": Experiment(
        interference.measure, executes=interference.executes, fits=interference.fits
    ),
    "lifecycle": Experiment(lifecycle.measure, executes=the_agent_alone),
    "system": Experiment(system.measure, executes=system.executes, fits=system.fits),
    "isolation": Experiment(isolation.measure, executes=the_agent_alone),
    "registry": Experiment(registry.measure, executes=the_agent_alone, can=registry.can),
    "cow": Experiment(cow.measure, executes=the_agent_alone, can=cow.can),
}
