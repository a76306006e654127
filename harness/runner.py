"""Executes a plan: one trial after another, each on disk before the next begins.

The runner reaches runtimes through the registry alone, and never loads pandas or matplotlib:
the process that measures stays small. A trial that fails is a failed record with its reason
and the run goes on; an interruption tears down what is running, records it, and leaves a run
that can be resumed. What a run leaves on its inventory is removed at its end.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from harness import alone, events, manifest, paths, plan
from harness.clock import now_ns
from harness.errors import DeadlineExceeded, EnvironmentRefused, HarnessError, UsageError
from harness.experiments import controls
from harness.experiments.bench import Bench, Measurement
from harness.experiments.catalogue import EXPERIMENTS
from harness.imagecheck import is_owned, provide
from harness.inventory import Inventory, sweep
from harness.journal import Journal, stored, write_manifest
from harness.lineup import Lineup, assemble, prove
from harness.model import Context, Image, Outcome, Trial, TrialRecord
from harness.pace import Pace
from harness.place import Place, make_place
from harness.probes import course, guards, noise, sampling
from harness.probes.cgroups import run_group_name
from harness.probes.conditions import Value, Weather
from harness.process import become_subreaper, run
from harness.scenario import Scenario, Source
from harness.settings import Startup
from harness.stopping import Rule, Stop, Tally, ended
from harness.verification import Verified

log = logging.getLogger(__name__)

_REPORT_TIMEOUT_S = 600.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_heard: list[KeyboardInterrupt] = []
"""The interruption of this process's run, once it has come: a signal is the process's own affair.
One that comes while a box is torn down can be replaced by what fails there next."""


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    scenario: Scenario
    folder: Path
    seed: int
    rule: Rule
    named: frozenset[str] = frozenset()
    strict: bool = False
    force: bool = False
    """Run beside another run, and say so."""
    command: tuple[str, ...] = ()
    source: Source | None = None
    """The file that the scenario was read from, where it was."""
    earlier: Mapping[str, Any] | None = None
    """The manifest of the run that is resumed; its plan and seed are kept."""


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    folder: Path
    interrupted: bool
    failed: int
    differing: Sequence[str]


def new_run_id(scenario: str) -> str:
    """`<UTC>-<scenario>-<id>`: sorts by time, and never collides."""
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return f"{now}-{scenario}-{secrets.token_hex(4)}"


def execute(request: Request, observe: events.Observer) -> Result:
    """Run, from the empty folder to the finished report. Raises HarnessError before the
    first trial; from then on failures are records."""
    with alone.Claim(request.folder, force=request.force) as claim:
        return _alone(request, claim, observe)


def _alone(request: Request, claim: alone.Claim, observe: events.Observer) -> Result:
    """The run, while this host is claimed for it."""
    image = provide(
        request.scenario.image.packages, lambda step: observe(events.Preparing("image", step))
    )
    become_subreaper()
    run_id = request.folder.name
    token = secrets.token_hex(4)
    with _interruptible(), Inventory(f"{run_id}-{token}") as inventory:
        try:
            with ExitStack() as stack:
                watching = stack.enter_context(
                    sampling.start(request.folder, request.scenario.sampler.hz)
                )
                place = replace(make_place(token, inventory, stack), sampling=watching)
                context = Context(
                    run_id=run_id, cache=paths.cache(), state=place.state,
                    cgroup=run_group_name(token), inventory=inventory,
                )  # fmt: skip
                result = _execute(request, image, context, place, claim, observe, stack)
        finally:
            _ignore_stop_signals()
            for entry, why in sweep(inventory):
                log.error("left behind: %s %s: %s", entry.kind, entry.name, why)
    return result


def _execute(
    request: Request,
    image: Image,
    context: Context,
    place: Place,
    claim: alone.Claim,
    observe: events.Observer,
    stack: ExitStack,
) -> Result:
    scenario = request.scenario
    found = [*guards.read(), *course.alone(claim.others())]
    if request.strict:
        _refuse_noise(found)
    lineup = assemble(scenario, image, context, place, request.named, observe, stack)
    trials = _trials(request, lineup)
    document = manifest.begin(request, context.run_id, image, lineup, trials, found)
    executed, verified, interrupted = trials, dict[str, Verified](), False
    stopped: Mapping[str, object] | None = None
    with Journal(request.folder) as journal:
        write_manifest(request.folder, document)
        observe(events.Planned(trials))
        done = dict[str, TrialRecord]()
        if request.earlier is not None:
            done = {record.trial: record for record in finished(request.folder)}
        try:
            with Weather() as weather:
                executed, stopped = _run_trials(
                    request, lineup, trials, done, journal, weather, observe
                )
            verified |= prove(lineup, scenario, is_owned(image), observe)
            _ignore_stop_signals()  # what is left is tearing down
        except KeyboardInterrupt:
            interrupted = True
        late = [*course.alone(claim.others()), *course.retried(finished(request.folder))]
        write_manifest(
            request.folder,
            manifest.end(request, document, executed, verified, stopped, interrupted, late),
        )
    return Result(
        folder=request.folder,
        interrupted=interrupted,
        failed=sum(record.outcome is not Outcome.OK for record in finished(request.folder)),
        differing=[name for name, found in verified.items() if not found.identical],
    )


def _refuse_noise(found: Sequence[guards.Guard]) -> None:
    """Raises EnvironmentRefused on a host that spoils what is measured, with all that does."""
    reasons = [f"{guard.name}: {guard.text}" for guard in found if guard.severity == guards.BLOCK]
    reasons += [f"{bad.name}: {bad.text}: {bad.remedy}" for bad in noise.listen() if bad.noisy]
    if reasons:
        lines = "".join(f"\n  {reason}" for reason in reasons)
        raise EnvironmentRefused(
            f"--strict: this host is not fit to measure on{lines}",
            "tarebench doctor tells how to quieten it",
        )


def _trials(request: Request, lineup: Lineup) -> Sequence[Trial]:
    """A new plan, or the earlier one of a run that is resumed."""
    offers = {n: e.experiments(request.scenario) for n, e in lineup.entrants.items()}
    trials = plan.make_plan(request.scenario, offers, request.seed)
    earlier = request.earlier
    if earlier is not None and msgspec.convert(earlier["plan"], list[Trial]) != list(trials):
        raise UsageError(
            "the run cannot be resumed: other runtimes are available than when it began",
            "tarebench doctor says what has changed",
        )
    if all(trial.runtime == plan.HOST for trial in trials):
        raise UsageError(
            "no runtime here can do what the scenario asks for", "tarebench doctor says why"
        )
    return trials


def finished(folder: Path) -> Iterator[TrialRecord]:
    """The run's trials that need not be done again, one after another from the disk."""
    return (each for each in stored(folder) if each.outcome is not Outcome.INTERRUPTED)


def _run_trials(
    request: Request,
    lineup: Lineup,
    trials: Sequence[Trial],
    done: dict[str, TrialRecord],
    journal: Journal,
    weather: Weather,
    observe: events.Observer,
) -> tuple[Sequence[Trial], Mapping[str, object]]:
    """Execute what is not done; returns the trials that were planned in the end, and which rule
    ended the run. Time that an earlier part of the run took counts.

    No record is kept, that of a long run's trials least of all: what the rule and the estimates
    need is counted, and the record of what is `done` is taken out of it.
    """
    begin, spent_s = now_ns(), sum(record.wall_s for record in done.values())
    executed: list[Trial] = []
    tally, pace = Tally(request.rule.metrics), Pace(trials)
    stop: Stop | None = None
    goal = request.rule.goal(tally)
    for number, trial in enumerate(trials, 1):
        last = executed[-1] if executed else trial
        elapsed_s = spent_s + (now_ns() - begin) / 1e9
        if (
            stop is None
            and trial.block != last.block
            and not last.warmup
            and trial.trial not in done
        ):
            stop = request.rule.stops(tally, elapsed_s)
            goal = request.rule.goal(tally)
        if stop is not None and trial.experiment != "repeat":
            continue
        if stop is not None:  # the last block is now another one than was planned
            trial = msgspec.structs.replace(trial, block=last.block)
        executed.append(trial)
        record = done.pop(trial.trial, None)
        if record is None:
            planned_s = pace.left_s() if stop is None else 0.0  # then only the repetition is left
            left_s = request.rule.left_s(planned_s, elapsed_s)
            total = None if request.rule.is_open else len(trials)
            observe(events.Began(trial, number, total, left_s, goal))
            record = run_trial(trial, lineup, request.scenario, journal, weather)
            observe(events.Ended(record))
        pace.add(record)
        if record.runtime != plan.HOST:
            tally.add(record)
    elapsed_s = spent_s + (now_ns() - begin) / 1e9
    return executed, ended(request.rule, stop or Stop.BLOCKS, tally, elapsed_s)


def run_trial(
    trial: Trial, lineup: Lineup, scenario: Scenario, journal: Journal, weather: Weather
) -> TrialRecord:
    """One trial, recorded whatever happens; an interruption is recorded and goes on."""
    bench = _bench(trial, lineup)
    begin, started = now_ns(), datetime.now(UTC).isoformat(timespec="milliseconds")
    outcome, reason, found = Outcome.OK, "", Measurement()
    conditions: dict[str, Value] = {}
    try:
        found = _tried(trial, bench, scenario, weather, conditions)
    except (Exception, KeyboardInterrupt) as error:
        # What fails while an interruption tears down comes here in its stead.
        ended_by = next(iter(_heard), error)
        if ended_by is not error:
            log.error("trial %s, after the interruption: %s", trial.trial, error)
        outcome, reason = _ended_by(ended_by, trial)
    host = trial.runtime == plan.HOST
    record = TrialRecord(
        trial=trial.trial, experiment=trial.experiment, runtime=trial.runtime,
        runtime_class="host" if host else str(bench.runtime.runtime_class),
        accel="none" if host else bench.facts.accel,
        block=trial.block, position=trial.position, warmup=trial.warmup,
        outcome=outcome, reason=reason, started_utc=started, wall_s=(now_ns() - begin) / 1e9,
        marks=dict(found.marks), samples=list(found.samples), identity=found.identity,
        conditions={**conditions, **found.conditions},
    )  # fmt: skip
    journal.append(record)
    # Also where what stood in an interruption's stead was passed over, in this trial or before.
    if _heard or outcome is Outcome.INTERRUPTED:
        raise KeyboardInterrupt
    return record


def _ended_by(error: BaseException, trial: Trial) -> tuple[Outcome, str]:
    match error:
        case KeyboardInterrupt():
            return Outcome.INTERRUPTED, "interrupted by the user"
        case DeadlineExceeded():
            return Outcome.TIMEOUT, error.message
        case HarnessError():
            return Outcome.FAILED, error.message
    log.error("trial %s", trial.trial, exc_info=error)
    return Outcome.FAILED, f"{type(error).__name__}: {error}"


def _tried(
    trial: Trial, bench: Bench, scenario: Scenario, weather: Weather, conditions: dict[str, Value]
) -> Measurement:
    """The trial, and again from its beginning where a launch failed and the scenario allows it.

    How often, and why, goes to `conditions`, also when the last try fails too.
    """
    reasons: list[str] = []
    while True:
        try:
            with weather.trial(conditions), bench.sampling.trial(trial):
                return _experiment(trial.experiment, scenario)(bench)
        except HarnessError as error:
            if _heard or not error.at_launch or len(reasons) >= scenario.retries:
                raise
            log.exception("trial %s is tried again", trial.trial)
            reasons.append(error.message)
        finally:
            if reasons:
                conditions |= {"retries": len(reasons), "retried": "; ".join(reasons)}


def _bench(trial: Trial, lineup: Lineup) -> Bench:
    """The runtime's bench; controls need only its image and folders, so any will do."""
    if trial.runtime == plan.HOST:
        return next(iter(lineup.entrants.values())).bench
    return lineup.entrants[trial.runtime].bench


def _experiment(name: str, scenario: Scenario) -> Callable[[Bench], Measurement]:
    """The function that executes a trial of an experiment or of a control."""
    chosen = scenario.experiments
    if name == "canary":
        return controls.canary
    if name == "floor":
        return controls.floor
    if name == "repeat":
        return lambda bench: controls.repeat(bench, chosen.startup or Startup())
    measure, settings = EXPERIMENTS[name].measure, chosen.chosen()[name]
    return lambda bench: measure(bench, settings)


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """The first stop signal interrupts; further ones do not disturb the tearing down.

    Under `nohup` the terminal may go, and the run goes on.
    """

    def interrupt(number: int, frame: object) -> None:
        _ignore_stop_signals()
        _heard.append(KeyboardInterrupt())
        raise _heard[0]

    under_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    heard = [each for each in _STOP_SIGNALS if each != signal.SIGHUP or not under_nohup]
    before = {each: signal.signal(each, interrupt) for each in heard}
    try:
        yield
    finally:
        _heard.clear()
        for each, handler in before.items():
            signal.signal(each, handler)


def _ignore_stop_signals() -> None:
    for each in _STOP_SIGNALS:
        signal.signal(each, signal.SIG_IGN)


def make_report(folder: Path, drawn: bool = True) -> None:
    """Let a child process write samples, and charts and report if they are to be drawn."""
    writer = "harness.report" if drawn else "harness.analysis.storing"
    run(
        [sys.executable, "-m", writer, str(folder)],
        timeout_s=_REPORT_TIMEOUT_S, hint=f"tarebench report {folder} tries again",
    )  # fmt: skip
