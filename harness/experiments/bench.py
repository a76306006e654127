"""What an experiment works with: one runtime, one image, one workload, and fresh instances.

`Bench.instance` is the only way to an instance, and `Bench.spec` to what a runtime can make
without one: it makes the private folders that a runtime needs, and removes them afterwards.
"""

from __future__ import annotations

import contextlib
import itertools
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.clock import Marks
from harness.cpuid import patience
from harness.errors import HarnessError
from harness.experiments import identity
from harness.model import (
    HasDaemon,
    Identity,
    Image,
    Instance,
    InstanceSpec,
    Ledger,
    Limits,
    Runtime,
    RuntimeFacts,
    Sample,
)
from harness.probes import cpu
from harness.probes.cgroups import Group, cpu_ns
from harness.probes.sampling import Sampling
from harness.workload import Workload

Conditions = Mapping[str, str | float | int | bool | None]


@runtime_checkable
class Elsewhere(Protocol):
    """Runtimes that may make their boxes on another host."""

    @property
    def elsewhere(self) -> bool: ...


@dataclass(frozen=True)
class Measurement:
    """What an experiment found out in one trial."""

    marks: Mapping[str, int] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    identity: Identity = field(default_factory=Identity)
    conditions: Conditions = field(default_factory=dict)


@contextlib.contextmanager
def _launched(launch: AbstractContextManager[Instance]) -> Iterator[Instance]:
    """A launch whose failure says that it is one: what goes wrong later is no launch's."""
    with contextlib.ExitStack() as stack:
        try:
            instance = stack.enter_context(launch)
        except HarnessError as error:
            error.at_launch = True
            raise
        yield instance


@dataclass(frozen=True)
class Bench:
    """One runtime under test, and where its instances may keep their things.

    `outside` is what the audit of bare-metal jobs found beyond the image. `group` is the run's
    control group or None; `sampling` watches the instances. `tell` shows the user, in a line,
    what a long trial is at. What an experiment changes on the host goes to `inventory` first.
    """

    runtime: Runtime
    facts: RuntimeFacts
    image: Image
    limits: Limits
    workload: Workload
    outside: tuple[str, ...]
    run_id: str
    scratch: Path
    state: Path
    group: Group | None
    tell: Callable[[str], None] = lambda text: None
    numbers: Iterator[int] = field(default_factory=itertools.count)
    sampling: Sampling = field(default_factory=Sampling.off)
    inventory: Ledger | None = None

    @contextlib.contextmanager
    def spec(self, ready_timeout_s: float, *, whole: bool = False) -> Iterator[InstanceSpec]:
        """What a runtime needs for one more instance; its folders are removed after it."""
        name = f"tb-{self.run_id[-12:]}-{next(self.numbers)}"
        directory, sockets = self.scratch / name, self.state / name
        directory.mkdir(mode=0o711)
        sockets.mkdir(mode=0o700)
        try:
            yield InstanceSpec(
                name=name, run_id=self.run_id, image=self.image, limits=self.limits,
                directory=directory, sockets=sockets,
                ready_timeout_s=ready_timeout_s * patience(), whole=whole,
            )  # fmt: skip
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            shutil.rmtree(sockets, ignore_errors=True)

    @contextlib.contextmanager
    def instance(
        self,
        marks: Marks,
        ready_timeout_s: float,
        runtime: Runtime | None = None,
        *,
        whole: bool = False,
    ) -> Iterator[Instance]:
        """A fresh instance, ready."""
        with (
            self.spec(ready_timeout_s, whole=whole) as spec,
            _launched((runtime or self.runtime).launch(spec, marks)) as instance,
            self.sampling.instance(spec.name, instance),
        ):
            yield instance

    def prove(self, instance: identity.HashesFiles, *programs: str) -> Identity:
        """That the agent and these programs, which it ran, are those of the image.

        Their files are hashed from inside. Raises ImageError for a program that it lacks.
        """
        return identity.prove(instance, self.image, programs, self.outside)

    def cpu_s(self, instance: Instance | None = None) -> float | None:
        """CPU seconds of everything that this run has started, itself included.

        By the run's control group, which also counts a private engine. Without one, by what
        the kernel tells of this process, of its ended children and of the living `instance`.
        """
        if self.group is not None:
            ns = self.group.cpu_ns()
            return None if ns is None else (ns + self._apart_ns(instance)) / 1e9
        who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        usages = [resource.getrusage(each) for each in who]
        living = () if instance is None else map(cpu.process_s, instance.processes())
        return sum(usage.ru_utime + usage.ru_stime for usage in usages) + sum(
            seconds or 0.0 for seconds in living
        )

    def _apart_ns(self, instance: Instance | None) -> int:
        """CPU time of a box in a group that another made for it beside the run's: on v2, where no
        thread of ours can be in one, libvirt makes its machines' with the service manager."""
        if instance is None or self.group is None or self.group.layout.version != "v2":
            return 0
        own = self.group.paths()
        apart = [p for p in instance.cgroups() if not any(p.is_relative_to(o) for o in own)]
        return sum(cpu_ns(path) or 0 for path in apart)

    @property
    def elsewhere(self) -> bool:
        """Whether the boxes are on another host, of which only the channel is seen here."""
        return isinstance(self.runtime, Elsewhere) and self.runtime.elsewhere

    def counts_cpu(self) -> bool:
        """Whether `cpu_s` sees the whole launch: not where a daemon is shared with others,
        nor where it is on another host."""
        shared = isinstance(self.runtime, HasDaemon) and self.runtime.shared_daemon
        return not shared and not self.elsewhere
