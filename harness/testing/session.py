"""One pytest session's boxes: looked at and prepared when the first test asks, and given back.

It stands to a session as the runner stands to a scenario, and uses the same parts: the image,
the inventory that is written before anything is made, the lineup with its proofs, the weather
of each trial, the journal. Between the parts is pytest, which decides what runs and when.
"""

from __future__ import annotations

import secrets
import signal
import statistics
import threading
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from harness import alone, events, paths
from harness.clock import now_ns
from harness.errors import DeadlineExceeded, HarnessError, RuntimeUnavailable, UsageError
from harness.imagecheck import is_owned, provide
from harness.inventory import Inventory, sweep
from harness.lineup import Entrant, Lineup, assemble, prove
from harness.model import Context, Identity, Image, Limits, Outcome, Sample, Trial, TrialRecord
from harness.place import make_place
from harness.probes import course, guards
from harness.probes.cgroups import run_group_name
from harness.probes.conditions import Value, Weather
from harness.probes.guards import Guard
from harness.process import become_subreaper
from harness.runner import Request, new_run_id
from harness.scenario import ImageText, Scenario
from harness.settings import Experiments
from harness.stopping import Rule
from harness.testing.box import Box, Key
from harness.testing.names import EXPERIMENT, Planned
from harness.testing.store import Store
from harness.verification import Verified
from harness.workload import Workload


@dataclass(frozen=True)
class Wish:
    """What the command line asked for; `named` are the runtimes that must work."""

    named: frozenset[str]
    trials: int
    seed: int
    packages: tuple[str, ...]
    command: tuple[str, ...]
    force: bool = False


@dataclass
class Attempt:
    """A test under way: what is known of its trial so far. `rounds_s` are seconds a round."""

    planned: Planned
    started_utc: str = field(
        default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds")
    )
    begin_ns: int = field(default_factory=now_ns)
    box: Box | None = None
    outcome: Outcome | None = None
    reason: str = ""
    rounds_s: Sequence[float] = ()
    iterations: int = 1
    skipped: bool = False
    conditions: dict[str, Value] = field(default_factory=dict)

    def succeed(self, benchmark: Any) -> None:
        """The test passed; `benchmark` is the fixture of pytest-benchmark, where it had one."""
        self.outcome = Outcome.OK
        stats = getattr(benchmark, "stats", None)
        if stats is not None:
            self.rounds_s, self.iterations = tuple(stats.stats.data), stats.iterations

    def fail(self, error: BaseException) -> None:
        """The test did not pass, or its box did not end well."""
        late = isinstance(error, DeadlineExceeded)
        self.outcome = Outcome.TIMEOUT if late else Outcome.FAILED
        text = error.message if isinstance(error, HarnessError) else str(error)
        kind = "" if isinstance(error, HarnessError) else f"{type(error).__name__}: "
        self.reason = kind + (text.strip().splitlines() or ["without a word"])[0]


class Session:
    """See the module. `told` is what the end of the session has to say, a line each."""

    def __init__(self, wish: Wish, planned: Sequence[Planned]) -> None:
        self._wish = wish
        self._planned = {each.nodeid: each for each in planned}
        self._attempts: dict[str, Attempt] = {}
        self._stack = ExitStack()
        self._refused: HarnessError | None = None
        self._lineup: Lineup | None = None
        self._claim: alone.Claim | None = None
        self._image: Image | None = None
        self._weather: Weather | None = None
        self._guards: Sequence[Guard] = ()
        self._store: Store | None = None
        self._skipped: dict[str, RuntimeUnavailable] = {}
        self._audited: MutableMapping[Key, Sequence[str]] = {}
        self._run_id = new_run_id(EXPERIMENT)
        self.told: list[str] = []

    def is_named(self, runtime: str) -> bool:
        """Whether the user asked for this runtime, so that it must work."""
        return runtime in self._wish.named

    def attempt(self, nodeid: str) -> Attempt:
        """The state of a test, made when it is first asked for."""
        return self._attempts.setdefault(nodeid, Attempt(self._planned[nodeid]))

    @contextmanager
    def box(self, nodeid: str) -> Iterator[Box]:
        """A box with a fresh, running instance.

        Raises RuntimeUnavailable for a runtime that does not work here, and HarnessError
        where nothing does.
        """
        attempt = self.attempt(nodeid)
        lineup = self._ready()
        runtime = attempt.planned.runtime
        if runtime in self._skipped:
            raise self._skipped[runtime]
        box = attempt.box = Box(lineup.entrants[runtime].bench, self._audited)
        assert self._weather is not None
        with self._weather.trial(attempt.conditions):
            try:
                box.open()
                yield box
            finally:
                if attempt.outcome is Outcome.OK:
                    box.stop()
                else:
                    box.abandon()

    def store(self) -> None:
        """A test is about to be measured: from the first one on there is a run folder."""
        if self._store is None:
            lineup, planned = self._ready(), list(self._planned.values())
            assert self._image is not None
            self._store = Store(self._request(), self._image, lineup, planned, self._guards)

    def finish(self, nodeid: str) -> None:
        """The test is over, its fixtures included: write down what it was."""
        attempt = self._attempts.pop(nodeid, None)
        if attempt is None or self._store is None or not attempt.planned.measured:
            return
        box = attempt.box
        nothing = attempt.outcome is Outcome.OK and not (attempt.rounds_s and box and box.used)
        if attempt.skipped or attempt.outcome is None or nothing:
            self._store.drop(attempt.planned)
        elif attempt.planned.runtime not in self._skipped:
            self._store.append(self._record(attempt, self._store.trial(attempt.planned)))

    def close(self, interrupted: bool) -> None:
        """Prove each runtime once, end the run, and remove all that was made."""
        with _undisturbed(), self._stack:
            for attempt in self._attempts.values():
                attempt.outcome, attempt.reason = Outcome.INTERRUPTED, "interrupted by the user"
            for nodeid in list(self._attempts):
                self.finish(nodeid)
            if self._store is not None:
                verified = {} if interrupted else self._proven()
                late = course.alone(self._claim.others() if self._claim else ())
                self._tell(self._store, self._store.close(verified, late), verified)

    def _ready(self) -> Lineup:
        """Everything that is done once, before the first box."""
        if self._refused is not None:
            raise self._refused
        if self._lineup is None:
            try:
                with ExitStack() as stack:
                    self._lineup = self._assemble(stack)
                    self._stack = stack.pop_all()
            except HarnessError as error:
                if not self._skipped:
                    self._refused = error
                    raise
                self._lineup = Lineup({}, self._skipped)  # each runtime has its own reason
        return self._lineup

    def _assemble(self, stack: ExitStack) -> Lineup:
        self._claim = claim = stack.enter_context(
            alone.Claim(self._request().folder, force=self._wish.force)
        )
        self._image = provide(self._wish.packages, lambda step: None)
        self._guards = [*guards.read(), *course.alone(claim.others())]
        become_subreaper()
        token = secrets.token_hex(4)
        inventory = stack.enter_context(Inventory(f"{self._run_id}-{token}"))
        stack.callback(self._sweep, inventory)
        place = make_place(token, inventory, stack)
        self._weather = stack.enter_context(Weather())
        context = Context(
            run_id=self._run_id, cache=paths.cache(), state=place.state,
            cgroup=run_group_name(token), inventory=inventory,
        )  # fmt: skip
        return assemble(
            self._scenario(), self._image, context, place, frozenset(), self._observe, stack
        )

    def _observe(self, event: events.Event) -> None:
        if isinstance(event, events.Skipped):
            self._skipped[event.runtime] = RuntimeUnavailable(event.reason, event.remedy)

    def _sweep(self, inventory: Inventory) -> None:
        for entry, why in sweep(inventory):
            self.told.append(f"left behind: {entry.kind} {entry.name}: {why}")

    def _scenario(self) -> Scenario:
        """What this session asks, in the words of a scenario. Its workload are the tests."""
        return Scenario(
            name=EXPERIMENT, title="Tests of one's own in every box",
            question="How long does a round of each test take in each box?",
            description="Timed by pytest-benchmark; a trial is one test on one runtime.",
            runtimes=list(dict.fromkeys(each.runtime for each in self._planned.values())),
            experiments=Experiments(), workload=Workload(argv=list(self._wish.command)),
            limits=Limits(), blocks=self._wish.trials, warmup_blocks=0, thresholds={},
            image=ImageText(self._wish.packages),
        )  # fmt: skip

    def _request(self) -> Request:
        return Request(
            scenario=self._scenario(), folder=(paths.results() / self._run_id).absolute(),
            seed=self._wish.seed, rule=Rule(self._wish.trials, metrics=()),
            named=self._wish.named, command=self._wish.command,
        )  # fmt: skip

    def _record(self, attempt: Attempt, trial: Trial) -> TrialRecord:
        planned, box = attempt.planned, attempt.box
        good = attempt.outcome is Outcome.OK
        assert self._lineup is not None
        bench = self._lineup.entrants[planned.runtime].bench
        samples = [
            Sample(planned.metric, statistics.median(attempt.rounds_s), "s",
                   dict(planned.dimensions))
        ] if good else []  # fmt: skip
        counted: dict[str, Value] = {
            "test": planned.nodeid, "rounds": len(attempt.rounds_s),
            "iterations": attempt.iterations, "launches": box.launches if box else 0,
        }  # fmt: skip
        return TrialRecord(
            trial=trial.trial, experiment=trial.experiment, runtime=trial.runtime,
            runtime_class=str(bench.runtime.runtime_class), accel=bench.facts.accel,
            block=trial.block, position=trial.position, warmup=False,
            outcome=attempt.outcome or Outcome.FAILED, reason=attempt.reason,
            started_utc=attempt.started_utc, wall_s=(now_ns() - attempt.begin_ns) / 1e9,
            marks=dict(box.marks) if box else {}, samples=samples,
            identity=box.identity() if box else Identity(),
            conditions={**attempt.conditions, **counted},
        )  # fmt: skip

    def _proven(self) -> Mapping[str, Verified]:
        """Each runtime's unmeasured instance; on bare metal with what all jobs opened."""
        assert self._lineup is not None
        assert self._image is not None
        entrants = dict(self._lineup.entrants)
        bare = entrants.get("bare")
        if bare is not None and self._audited:
            opened = sorted({path for seen in self._audited.values() for path in seen})
            outside = (*bare.bench.outside, *opened)
            entrants["bare"] = Entrant(replace(bare.bench, outside=outside))
        lineup = Lineup(entrants, self._lineup.skipped)
        return prove(lineup, self._scenario(), is_owned(self._image), lambda event: None)

    def _tell(
        self, store: Store, stored: Sequence[TrialRecord], verified: Mapping[str, Verified]
    ) -> None:
        if not stored:
            return
        boxes = len({record.runtime for record in stored})
        trials = f"{len(stored)} trial{'s' if len(stored) > 1 else ''}"
        self.told.append(f"{trials} in {boxes} box{'es' if boxes > 1 else ''}: {store.folder}")
        for name, found in verified.items():
            if not found.identical:
                self.told.append(f"{name}: not proven to run the identical image: {found.note}")
        self.told.append(f"tarebench report {store.folder.name} shows them")


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C does not disturb the tearing down."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def checked(packages: Sequence[str]) -> tuple[str, ...]:
    """Names of packages from the command line, in lists. Raises UsageError."""
    names = [name.strip() for text in packages for name in text.split(",")]
    try:
        return msgspec.convert({"packages": [n for n in names if n]}, ImageText).packages
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{', '.join(names)} holds what is no package's name", "give names such as zstd"
        ) from error
