"""Who takes part in a run: runtimes found and prepared before anything is timed, and proven.

A runtime that the user named and that cannot work here ends the run before it begins; one
that only the scenario names is skipped, with its reason and its remedy in the manifest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from harness import events
from harness.errors import HarnessError, RuntimeUnavailable, UsageError
from harness.experiments import identity
from harness.experiments.bench import Bench
from harness.experiments.catalogue import EXPERIMENTS
from harness.model import Context, Image, Limits, RuntimeClass
from harness.place import Place
from harness.readying import ready
from harness.scenario import Scenario
from harness.settings import Settings
from harness.verification import Verified, audit, failed, verify
from harness.workload import Workload

log = logging.getLogger(__name__)


@runtime_checkable
class ChecksLimits(Protocol):
    """Runtimes whose boxes need some of what limits may withhold."""

    def check_limits(self, limits: Limits) -> None:
        """Raises RuntimeUnavailable where no box could start within these."""
        ...


@dataclass(frozen=True)
class Entrant:
    """A runtime that takes part, on its bench."""

    bench: Bench

    @property
    def name(self) -> str:
        return self.bench.runtime.name

    def experiments(self, scenario: Scenario) -> Sequence[str]:
        """What this runtime can do of what the scenario asks for."""
        chosen = scenario.experiments.chosen()
        runtime = self.bench.runtime
        return [
            name
            for name, own in chosen.items()
            if self.name not in own.without and EXPERIMENTS[name].can(runtime, own)
        ]


@dataclass(frozen=True)
class Lineup:
    """Everybody who takes part, and who was skipped and why."""

    entrants: Mapping[str, Entrant]
    skipped: Mapping[str, HarnessError]


def assemble(
    scenario: Scenario,
    image: Image,
    context: Context,
    place: Place,
    named: frozenset[str],
    observe: events.Observer,
    stack: ExitStack,
) -> Lineup:
    """Create, probe and prepare each runtime; runtimes are closed by `stack`.

    Raises RuntimeUnavailable for a named runtime, or when none is left, and
    EnvironmentRefused for an experiment that this host or user cannot do.
    """
    for name, settings in scenario.experiments.chosen().items():
        EXPERIMENTS[name].require(settings)
    executed = _executed(scenario)
    if scenario.workload in executed and scenario.experiments.job is None:
        # A slip of the pen, told before anything is prepared. In `job` it is a failed trial.
        identity.executed_files(image, scenario.workload.argv[0])
    entrants: dict[str, Entrant] = {}
    skipped: dict[str, HarnessError] = {}
    for name in scenario.runtimes:
        try:
            runtime, facts = ready(
                name, context, image, stack, lambda who, step: observe(events.Preparing(who, step))
            )
            if isinstance(runtime, ChecksLimits):
                runtime.check_limits(scenario.limits)
            for each, settings in scenario.experiments.chosen().items():
                if name not in settings.without:
                    EXPERIMENTS[each].fits(runtime, settings)
        except HarnessError as error:
            if isinstance(error, UsageError) or (
                name in named and isinstance(error, RuntimeUnavailable)
            ):
                raise
            if name in named:
                raise RuntimeUnavailable(f"{name}: {error.message}", error.hint) from error
            skipped[name] = error
            observe(events.Skipped(name, error.message, error.hint))
            continue
        bench = Bench(
            runtime=runtime, facts=facts, image=image, limits=scenario.limits,
            workload=scenario.workload, outside=(), run_id=place.run_id, scratch=place.scratch,
            state=place.state, group=place.group, tell=lambda text: observe(events.Step(text)),
            sampling=place.sampling, inventory=context.inventory,
        )  # fmt: skip
        entrants[name] = Entrant(_audited(bench, executed))
    if not entrants:
        reasons = "; ".join(f"{name}: {error.message}" for name, error in skipped.items())
        raise RuntimeUnavailable(f"no runtime works here ({reasons})", "tarebench doctor says more")
    return Lineup(entrants, skipped)


def _executed(scenario: Scenario) -> Sequence[Workload]:
    """What all experiments of a scenario execute inside, each once."""
    found: list[Workload] = []
    for name, settings in scenario.experiments.chosen().items():
        for workload in EXPERIMENTS[name].executes(settings, scenario.workload):
            if workload not in found:
                found.append(workload)
    return found


def _audited(bench: Bench, executed: Sequence[Workload]) -> Bench:
    """On bare metal: what is opened beyond the image, known before the first trial."""
    if bench.runtime.runtime_class is not RuntimeClass.BARE:
        return bench
    try:
        outside = audit(bench, executed)
    except (HarnessError, OSError) as error:  # its trials will say the same, and be recorded
        log.exception("auditing %s", bench.runtime.name)
        outside = (f"the audit failed: {error}",)
    return replace(bench, outside=outside)


def prove(
    lineup: Lineup, scenario: Scenario, owned: bool, observe: events.Observer
) -> Mapping[str, Verified]:
    """The unmeasured instance of each runtime, after the last trial.

    It comes last so that the first trial need not wait for it, and because what was executed
    in the measured instances is proven by each of them. One that fails says so.
    """
    found: dict[str, Verified] = {}
    for name, entrant in lineup.entrants.items():
        observe(events.Preparing(name, "proving that it runs the identical image"))
        try:
            found[name] = verify(entrant.bench, ready_timeout_s(scenario), owned=owned)
        except HarnessError as error:
            log.exception("verifying %s", name)
            found[name] = failed(error.message)
        except Exception as error:  # one runtime's fault must not lose the run
            log.exception("verifying %s", name)
            found[name] = failed(f"{type(error).__name__}: {error}")
        observe(events.Proven(name, found[name].identical, found[name].note))
    return found


def ready_timeout_s(scenario: Scenario) -> float:
    """The time limit of an instance that belongs to no experiment: the longest of them."""
    chosen = scenario.experiments.chosen().values()
    return max((each.ready_timeout_s for each in chosen), default=Settings().ready_timeout_s)
