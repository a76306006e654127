"""What a test holds: a living instance of one runtime, in which it runs programs of the image.

An instance is started before the test begins, so that no round of a benchmark pays for a
launch that it did not ask for. What a run does once it has ended (the audit of bare metal,
the proof of the files that were executed) happens when the instance is stopped, after the
last sample. Rounds inside one instance are iterations; see docs/pytest.md.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from harness.clock import Marks
from harness.errors import HarnessError, LaunchFailed, UsageError
from harness.experiments import identity
from harness.experiments.bench import Bench
from harness.experiments.jobs import WorkloadFailed, check_clock, check_end
from harness.image.tree import outside_view
from harness.model import Completed, Identity, Instance, Mark, RuntimeClass
from harness.workload import Workload

__all__ = ["Box", "WorkloadFailed"]

_PATH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin")
_READY_TIMEOUT_S = 60.0
_PINGS = 5

Key = tuple[tuple[str, ...], tuple[tuple[str, str], ...]]
"""Arguments and environment of a program, as the test gave them."""

Audited = MutableMapping[Key, Sequence[str]]
"""What programs opened beyond the image on bare metal, over the whole session."""


@dataclass
class _Running:
    """An instance, and what was run in it."""

    instance: Instance
    stack: ExitStack
    marks: Marks
    jobs: dict[Key, Workload] = field(default_factory=dict)


class Box:
    """One box on one runtime; the fixture `box`.

    `runtime` is its canonical name, `runtime_class` the kind of box, `accel` what a machine is
    accelerated by. With `emulated` its processor is software: its times say nothing of machines.
    """

    def __init__(self, bench: Bench, audited: Audited) -> None:
        self._bench = bench
        self._audited = audited
        self._running: _Running | None = None
        self._trip_s = 0.0
        self._programs: dict[str, str] = {}
        self._proofs: list[Identity] = []
        self.launches = 0
        self.jobs = 0
        self.marks: Mapping[str, int] = {}

    @property
    def used(self) -> bool:
        """Whether the test has run or launched anything itself."""
        return self.jobs > 0 or self.launches > 1

    @property
    def runtime(self) -> str:
        return self._bench.runtime.name

    @property
    def runtime_class(self) -> str:
        return str(self._bench.runtime.runtime_class)

    @property
    def accel(self) -> str:
        return self._bench.facts.accel

    @property
    def emulated(self) -> bool:
        kind = self._bench.runtime.runtime_class
        return kind is RuntimeClass.EMULATED or self.accel == "tcg"

    @property
    def image_digest(self) -> str:
        """The one root filesystem that every box has."""
        return self._bench.image.digest

    @property
    def ready_s(self) -> float:
        """What the running instance took from the request to READY: its `startup.ready`."""
        marks = self._required().marks
        request, ready = marks.get(Mark.REQUEST), marks.get(Mark.READY)
        assert request is not None
        assert ready is not None
        return (ready - request) / 1e9

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        check: bool = True,
    ) -> Completed:
        """Run a program of the image inside, and wait for its end.

        `argv[0]` is a path inside the image, or a name that is looked up there; `{scratch}` in
        an argument is a folder that the program may write to. Of the environment it has `env`
        alone. With `check`, raises WorkloadFailed, with the end of the output, for a program
        that fails or exceeds `timeout_s`. Raises UsageError for one that the image lacks.
        """
        __tracebackhide__ = True
        running = self._required()
        if isinstance(argv, str) or not argv:
            raise UsageError(f"{argv!r} is not a list of arguments", 'as in ["sort", "-n"]')
        words = [self._program(argv[0]), *argv[1:]]
        workload = Workload(argv=words, env=dict(env or {}), timeout_s=timeout_s)
        running.jobs[tuple(words), tuple(workload.env.items())] = workload
        self.jobs += 1
        job = workload.job(running.instance.scratch())
        done = running.instance.run(job)
        if check:
            check_end(done, job)
            check_clock(self._trip_s, done)
        return done

    def start(self) -> None:
        """Start a fresh instance and wait until it is ready.

        Raises UsageError while one is running, LaunchFailed or DeadlineExceeded.
        """
        __tracebackhide__ = True
        if self._running is not None:
            raise UsageError(
                f"the box on {self.runtime} is running already",
                "to time launches: benchmark.pedantic(box.start, setup=box.stop, rounds=10)",
            )
        marks = Marks()
        with ExitStack() as stack:
            instance = stack.enter_context(self._bench.instance(marks, _READY_TIMEOUT_S))
            self._running = _Running(instance, stack.pop_all(), marks)
        self.launches += 1

    def stop(self) -> None:
        """Prove what was executed in the instance, and end it. Nothing happens without one.

        It is not meant to be timed.
        """
        running, self._running = self._running, None
        if running is None:
            return
        with running.stack:
            self._proofs.append(self._prove(running))
        self.marks = running.marks.freeze()

    def fresh(self) -> None:
        """Another instance in place of the running one: `stop`, then `start`."""
        self.stop()
        self.start()

    def open(self) -> None:
        """The first instance, before the test; how long its channel takes is found out."""
        self.start()
        instance = self._required().instance
        self._trip_s = max(instance.round_trip_ns()[0] for _ in range(_PINGS)) / 1e9

    def abandon(self) -> None:
        """End the instance at once, whatever it is doing, and prove nothing."""
        running, self._running = self._running, None
        if running is not None:
            reason = LaunchFailed("the test has failed")  # what a box meets that is given up
            running.stack.__exit__(type(reason), reason, None)

    def identity(self) -> Identity:
        """What was proven of all instances that have been stopped."""
        return identity.combined(self._proofs) if self._proofs else Identity()

    def _required(self) -> _Running:
        if self._running is None:
            raise UsageError(f"the box on {self.runtime} has been stopped", "call box.start()")
        return self._running

    def _program(self, name: str) -> str:
        """The path of a program inside the image; raises UsageError."""
        if name not in self._programs:
            wanted = [name] if name.startswith("/") else [posixpath.join(d, name) for d in _PATH]
            root = self._bench.image.root
            found = next((path for path in wanted if outside_view(root, path).is_file()), None)
            if found is None:
                raise UsageError(
                    f"the image has no program {name}",
                    "tarebench image show lists its packages; --box-packages adds one",
                )
            self._programs[name] = found
        return self._programs[name]

    def _prove(self, running: _Running) -> Identity:
        """The agent and every program that ran are those of the image, and on bare metal
        nothing beyond it was opened."""
        outside: Sequence[str] = ()
        if self._bench.runtime.runtime_class is RuntimeClass.BARE:
            outside = self._audit(running)
        programs = dict.fromkeys(argv[0] for argv, _ in running.jobs)
        bench = replace(self._bench, outside=(*self._bench.outside, *outside))
        return bench.prove(running.instance, *programs)

    def _audit(self, running: _Running) -> Sequence[str]:
        """What the jobs open beyond the image: each runs once more, traced, never measured."""
        found: dict[str, None] = {}
        scratch = running.instance.scratch()
        for key, workload in running.jobs.items():
            if key not in self._audited:
                try:
                    opened = running.instance.run(workload.job(scratch, trace=True)).opened
                    seen = identity.opened_outside(self._bench.image, opened, scratch)
                except HarnessError as error:
                    seen = (f"the audit failed: {error.message}",)
                self._audited[key] = seen
            found |= dict.fromkeys(self._audited[key])
        return tuple(found)
