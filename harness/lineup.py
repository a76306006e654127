"""Who takes part in a run: runtimes found, prepared and proven before anything is timed.

A runtime that the user named and that cannot work here ends the run before it begins; one
that only the scenario names is skipped, with its reason and its remedy in the manifest.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from harness import events, registry
from harness.errors import HarnessError, RuntimeUnavailable
from harness.experiments import identity
from harness.experiments.bench import Bench
from harness.model import Context, Image, Instruments, RuntimeFacts
from harness.place import Place
from harness.scenario import Scenario
from harness.verification import Channel, Verified, verify

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Entrant:
    """A runtime that takes part, on its bench, and what was proven of it."""

    bench: Bench
    verified: Verified

    @property
    def name(self) -> str:
        return self.bench.runtime.name

    def experiments(self, scenario: Scenario) -> Sequence[str]:
        """What this runtime can do of what the scenario asks for."""
        able = {"startup", "memory"}
        if isinstance(self.bench.runtime, Instruments):
            able.add("phases")
        return [name for name in scenario.experiments.names() if name in able]


@dataclass(frozen=True)
class Lineup:
    """Everybody who takes part, and who was skipped and why."""

    entrants: Mapping[str, Entrant]
    skipped: Mapping[str, RuntimeUnavailable]


def assemble(
    scenario: Scenario,
    image: Image,
    context: Context,
    place: Place,
    named: frozenset[str],
    owned: bool,
    observe: events.Observer,
    stack: ExitStack,
) -> Lineup:
    """Create, probe, prepare and verify each runtime; runtimes are closed by `stack`.

    Raises RuntimeUnavailable for a named runtime, or when none is left.
    """
    expected = identity.executed_files(image, scenario.workload.argv)
    entrants: dict[str, Entrant] = {}
    skipped: dict[str, RuntimeUnavailable] = {}
    for name in scenario.runtimes:
        try:
            observe(events.Preparing(name, "looking"))
            runtime = registry.create(name, context)
            stack.callback(runtime.close)
            runtime.probe()
            observe(events.Preparing(name, "preparing its form of the image"))
            runtime.prepare(image)
            facts = runtime.probe()
        except RuntimeUnavailable as error:
            if name in named:
                raise
            skipped[name] = error
            observe(events.Skipped(name, error.message, error.hint))
            continue
        bench = Bench(
            runtime=runtime, facts=facts, image=image, limits=scenario.limits,
            workload=scenario.workload, expected=expected, outside=(), run_id=place.run_id,
            scratch=place.scratch, state=place.state, group=place.group,
        )  # fmt: skip
        entrants[name] = _prove(bench, scenario, owned, observe)
    if not entrants:
        reasons = "; ".join(f"{name}: {error.message}" for name, error in skipped.items())
        raise RuntimeUnavailable(f"no runtime works here ({reasons})", "tarebench doctor says more")
    return Lineup(entrants, skipped)


def _prove(bench: Bench, scenario: Scenario, owned: bool, observe: events.Observer) -> Entrant:
    """The unmeasured instance. A runtime that fails here stays in the plan and says so."""
    name = bench.runtime.name
    observe(events.Preparing(name, "proving that it runs the identical image"))
    timeout_s = (scenario.experiments.startup or scenario.experiments.memory
                 or scenario.experiments.phases).ready_timeout_s  # type: ignore[union-attr]  # fmt: skip
    try:
        verified = verify(bench, timeout_s, owned=owned)
    except HarnessError as error:
        log.exception("verifying %s", name)
        verified = Verified(
            digest="", identical=False, note=f"not verified: {error.message}", outside=[],
            channel=Channel(round_trip_ns=[], send_to_stamp_ns=[]),
        )  # fmt: skip
    observe(events.Proven(name, verified.identical, verified.note))
    trips = verified.channel
    facts: RuntimeFacts = bench.runtime.probe()
    return Entrant(
        replace(
            bench, facts=facts, outside=tuple(verified.outside),
            round_trip_s=trips.p99_s() if trips.round_trip_ns else 0.0,
        ),
        verified,
    )  # fmt: skip
