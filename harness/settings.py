"""The settings of each experiment: the tables under `[experiments]` of a scenario file.

One class an experiment, and a field of `Experiments` of the same name. What an experiment
does is in harness/experiments/, by the same name again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, ClassVar, Literal, get_args

import msgspec
from msgspec import Meta

from harness.model import MIB, Frozen
from harness.rungs import Rung, check
from harness.sizes import size_bytes

PositiveInt = Annotated[int, Meta(ge=1)]
Launchers = Annotated[int, Meta(ge=1, le=64)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
Share = Annotated[float, Meta(gt=0, le=1)]
Size = str | PositiveInt
"""Bytes, or a text such as "64 MiB" (see harness/sizes.py)."""

MemoryState = Literal["idle", "touched", "freed", "ballooned", "cache"]
_MEMORY_NEEDS = {"touched": "idle", "freed": "touched", "ballooned": "freed"}


class Sampler(Frozen, frozen=True):
    """`[sampler]`: how many times a second counters of living instances are read; off without.

    It disturbs what is timed in milliseconds, so scenarios about startup leave it off.
    """

    hz: Annotated[int, Meta(ge=1, le=50)] | None = None


class Settings(Frozen, frozen=True):
    """What every experiment's table has.

    It is done on all of the scenario's runtimes but those that it is `without`, in all of its
    blocks or in the first `blocks`. `warmed` says whether warm-up blocks hold trials of it.
    """

    warmed: ClassVar[bool] = False
    ready_timeout_s: Seconds = 60.0
    without: tuple[str, ...] = ()
    blocks: PositiveInt | None = None

    def within(self, block: int) -> bool:
        """Whether it is done in a measured block, by its number."""
        return self.blocks is None or block < self.blocks

    def named(self) -> Sequence[str]:
        """Runtimes that the table itself names, in order."""
        return ()

    def held(self) -> Size:
        """How much memory each instance is asked to write and hold, as it is written."""
        return "0 B"

    def renamed(self, canonical: Callable[[str], str]) -> Settings:
        """The same with runtimes by their canonical names."""
        return msgspec.structs.replace(self, without=tuple(map(canonical, self.without)))


class Startup(Settings, frozen=True):
    """`startup`: how long until a box is ready, one instance after another.

    With the regime `cold` the page cache is dropped, and proven dropped, before each request.
    """

    warmed = True
    regime: Literal["warm", "cold"] = "warm"


class Memory(Settings, frozen=True):
    """`memory`: what instances hold in each of the `states` asked for, in this order.

    `instances` (of engines and of machines their own number) are launched and are `idle`;
    each writes `touched` bytes, and `settle_s` after it has freed them the state is `freed`;
    where machines have a balloon it then takes as much (`ballooned`). `cache` has fresh
    instances read the same files, at least `read` bytes of the image.
    """

    instances: Annotated[int, Meta(ge=2, le=64)] = 8
    engine_instances: Annotated[int, Meta(ge=2, le=64)] = 4
    machine_instances: Annotated[int, Meta(ge=1, le=64)] = 2
    states: Annotated[list[MemoryState], Meta(min_length=1)] = msgspec.field(
        default_factory=lambda: ["idle"]
    )
    touched: Size = "32 MiB"
    read: Size = "32 MiB"
    settle_s: Annotated[float, Meta(ge=0, le=600)] = 3.0

    def __post_init__(self) -> None:
        for name in ("touched", "read"):
            if size_bytes(getattr(self, name)) == 0:
                raise ValueError(f"{name} must be more than nothing")
        for state, before in _MEMORY_NEEDS.items():
            if state in self.states and before not in self.states:
                raise ValueError(f'"{state}" in states needs "{before}" before it')

    def held(self) -> Size:
        """The touched set, where that state is asked for."""
        return self.touched if "touched" in self.states else super().held()


class Phases(Settings, frozen=True):
    """`phases`: instrumented boots of machines."""

    warmed = True
    ready_timeout_s: Seconds = 90.0


FEW_REQUESTS = 1000
"""How many a 99th percentile needs: 10 / (1 - q), METHOD."""


class Density(Settings, frozen=True):
    """`density`: a ramp of instances until a stop rule holds; a trial is one ramp.

    So many are launched `at_once`, and each then holds `touched` bytes. The ramp ends with
    `max_instances`, before less than `reserve` of the host's memory would be available, when
    tasks waited for memory or the CPU for more than a share of the last seconds, when the 99th
    percentile of the latencies is over `latency_bound_s`, or, with `stop_at_failure`, when an
    instance cannot be launched; without it such a trial has failed. At each reading `requests`
    are sent to running instances at `requests_per_s`. Each instance also reads `read` bytes of the
    image's files; with `images` distinct it has a copy of the image of its own, so that no page
    of the cache is shared. `ksm` lets the kernel merge the RAM of machines, and waits for it.
    """

    max_instances: Annotated[int, Meta(ge=1, le=100_000)] = 8
    at_once: Annotated[int, Meta(ge=1, le=256)] = 1
    touched: Size = "4 MiB"
    reserve: Size = "2 GiB"
    memory_pressure: Share | None = 0.25
    cpu_pressure: Share | None = None
    latency_bound_s: Seconds | None = None
    stop_at_failure: bool = False
    requests: Annotated[int, Meta(ge=0, le=1_000_000)] = 1000
    requests_per_s: Annotated[float, Meta(ge=1, le=100_000)] = 500.0
    read: Size = "0 B"
    images: Literal["same", "distinct"] = "same"
    ksm: bool = False

    def __post_init__(self) -> None:
        size_bytes(self.touched)
        size_bytes(self.reserve)
        size_bytes(self.read)
        if self.latency_bound_s is not None and self.requests < FEW_REQUESTS:
            raise ValueError(f"a bound for the latency needs {FEW_REQUESTS} requests a reading")

    def held(self) -> Size:
        """The touched set."""
        return self.touched


class Ladder(Settings, frozen=True):
    """`ladder`: what each mechanism of a box adds, one launch a trial.

    `machines` are launched in the same way; their rungs are the marks of `phases`.
    """

    warmed = True
    rungs: Annotated[list[Rung], Meta(min_length=2)] = msgspec.field(default_factory=list)
    machines: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check(self.rungs)

    def named(self) -> Sequence[str]:
        return [*(rung.runtime for rung in self.rungs), *self.machines]

    def renamed(self, canonical: Callable[[str], str]) -> Ladder:
        rungs = [
            msgspec.structs.replace(rung, runtime=canonical(rung.runtime)) for rung in self.rungs
        ]
        return msgspec.structs.replace(
            self,
            rungs=rungs,
            machines=tuple(map(canonical, self.machines)),
            without=tuple(map(canonical, self.without)),
        )

    def rung_of(self, runtime: str) -> Rung | None:
        """The rung that a runtime is."""
        return next((rung for rung in self.rungs if rung.runtime == runtime), None)


class Parallel(Settings, frozen=True):
    """`parallel`: `launches` instances a trial (`machine_launches` of machines), of which
    `launchers` are launched at a time."""

    warmed = True
    launchers: Launchers = 4
    launches: Annotated[int, Meta(ge=1, le=256)] = 24
    machine_launches: Annotated[int, Meta(ge=1, le=64)] = 4


ALL_CPUS = "all"

CpuTest = Literal["events", "memory", "syscalls", "switches", "forks", "faults", "compress"]


class Cpu(Settings, frozen=True):
    """`cpu`: which tests, with how many threads each (`"all"`: the CPUs that a box has)."""

    tests: Annotated[tuple[CpuTest, ...], Meta(min_length=1)] = get_args(CpuTest)
    threads: Annotated[tuple[PositiveInt | Literal["all"], ...], Meta(min_length=1)] = (1, "all")
    seconds: Annotated[int, Meta(ge=1, le=600)] = 1
    timeout_s: Seconds = 120.0


class Io(Settings, frozen=True):
    """`io`: a file of `size` in each box, and fio on it, each pattern for `runtime_s`.

    `depths` are those of the random requests, `seed` decides about their offsets. `timeout_s`
    is what a job may take beyond its run time, the writing of the file included.
    """

    size: Size = "128 MiB"
    runtime_s: Annotated[float, Meta(ge=0.1, le=3600)] = 1.0
    depths: Annotated[tuple[Annotated[int, Meta(ge=1, le=1024)], ...], Meta(min_length=1)] = (1, 16)
    seed: Annotated[int, Meta(ge=0, lt=1 << 31)] = 1
    timeout_s: Seconds = 60.0

    def __post_init__(self) -> None:
        if self.size_bytes < MIB or self.size_bytes % MIB:
            raise ValueError(f"{self.size!r} is not a whole number of MiB")
        if len(set(self.depths)) < len(self.depths):
            raise ValueError(f"the depths {list(self.depths)} name one twice")

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        return size_bytes(self.size)


class Isolation(Settings, frozen=True):
    """`isolation`: what a box keeps apart. A probe inside may take `timeout_s`."""

    timeout_s: Seconds = 120.0


Load = Literal["cpu", "memory", "disk", "fork"]
Loads = Annotated[tuple[Load, ...], Meta(min_length=1)]


class Interference(Settings, frozen=True):
    """`interference`: each of the `victims` beside each of the `aggressors`, two boxes at once.

    A victim's `iterations` are what its quantiles are those of: 0.5 needs 20 of them, 0.9
    needs 100 and 0.99 needs 1,000. `limits` says whether both boxes are held to the scenario's
    limits (`on`), or whether either may have all that the host has (`off`). A job may take
    `timeout_s`.
    """

    victims: Loads = get_args(Load)
    aggressors: Loads = get_args(Load)
    limits: Annotated[tuple[Literal["on", "off"], ...], Meta(min_length=1)] = ("on", "off")
    iterations: Annotated[int, Meta(ge=20, le=100_000)] = 100
    timeout_s: Seconds = 60.0


class Cow(Settings, frozen=True):
    """`cow`: roots of one image, as layers and as copies, for `instances` boxes at once.

    In one of them a page is written of the file of the image that is nearest to each of `sizes`.
    """

    warmed = True
    instances: Annotated[int, Meta(ge=1, le=64)] = 3
    machine_instances: Annotated[int, Meta(ge=1, le=64)] = 2
    sizes: Annotated[tuple[Size, ...], Meta(min_length=1)] = ("64 KiB", "16 MiB")

    def __post_init__(self) -> None:
        for size in self.sizes:
            if size_bytes(size) == 0:
                raise ValueError("sizes must be more than nothing")


class Registry(Settings, frozen=True):
    """`registry`: the image to a registry and back, and one with a layer of `added` bytes more."""

    added: Size = "1 MiB"

    def __post_init__(self) -> None:
        size_bytes(self.added)


class Lifecycle(Settings, frozen=True):
    """`lifecycle`: stop, pause, save. A paused box must not answer for `silence_s`; a machine, or a
    container where CRIU works, is saved while it holds `touched` bytes."""

    warmed = True
    touched: Size = "32 MiB"
    silence_s: Annotated[float, Meta(gt=0, le=60)] = 0.2

    def __post_init__(self) -> None:
        if size_bytes(self.touched) == 0:
            raise ValueError("touched must be more than nothing")


class System(Settings, frozen=True):
    """`system`: one application of several processes, in each of the `layouts`: a box for each
    part, or one box with all."""

    warmed = True
    layouts: Annotated[tuple[Literal["one-each", "one-box"], ...], Meta(min_length=1)] = (
        "one-each", "one-box",
    )  # fmt: skip


class Job(Settings, frozen=True):
    """`job`: the scenario's workload once in a fresh instance, its output read by its parser."""

    warmed = True


class Experiments(Frozen, frozen=True):
    """Which experiments the scenario runs; an absent one is not run.

    `parallel = 4` is short for a table with so many launchers.
    """

    startup: Startup | None = None
    memory: Memory | None = None
    phases: Phases | None = None
    io: Io | None = None
    density: Density | None = None
    ladder: Ladder | None = None
    parallel: Parallel | Launchers | None = None
    cpu: Cpu | None = None
    job: Job | None = None
    isolation: Isolation | None = None
    interference: Interference | None = None
    cow: Cow | None = None
    registry: Registry | None = None
    lifecycle: Lifecycle | None = None
    system: System | None = None

    def chosen(self) -> Mapping[str, Settings]:
        """What the scenario names, with its settings."""
        found = {name: getattr(self, name) for name in self.__struct_fields__}
        if isinstance(self.parallel, int):
            found["parallel"] = Parallel(launchers=self.parallel)
        return {name: settings for name, settings in found.items() if settings is not None}
