"""How many instances a host holds: a ramp that goes on until a declared rule stops it.

A trial is one ramp. Instances are added, each touches its declared set, and at a growing
number of them (1, 2, 4, 8, … and at the last) both sides of the memory ledger are read and
requests are sent to those that run: to the service that runs in each where the scenario's workload
is one, else to the agent. The slope of the ledger is what one more instance costs;
several ramps give it an interval. A rule that was declared and holds is the end of a ramp and
not a failure; an instance that is lost on the way fails the trial.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.clock import Marks, now_ns
from harness.errors import ChannelError, HarnessError, RuntimeUnavailable
from harness.experiments import ledger, openloop
from harness.experiments.bench import Bench, Measurement
from harness.experiments.fleet import Fleet, Member
from harness.experiments.identity import combined
from harness.experiments.jobs import start_service
from harness.experiments.openloop import Customer, Heard
from harness.experiments.pagecache import chosen_files
from harness.experiments.watch import Bounds, Stop, Watch
from harness.image.copies import copied
from harness.ksm import Merging, merging
from harness.metrics import METRICS
from harness.model import (
    MIB,
    Answers,
    HasDaemon,
    Instance,
    Mark,
    OnTree,
    Runtime,
    Sample,
)
from harness.probes import memory as probe
from harness.serving import Serves, Service
from harness.settings import Density
from harness.sizes import size_bytes

QUANTILES = (0.5, 0.9, 0.99)
_GROWTH = 2
_TELL_EVERY_S = 2.0
_SETTLE_S = 300.0
_MACHINE_BYTES = 128 * MIB
_MACHINE_OVERHEAD_BYTES = 96 * MIB


LaunchContext = AbstractContextManager[Instance]


class InstanceLost(HarnessError):
    """A box ended by itself in the middle of a ramp."""


@dataclass(frozen=True)
class Reading:
    """What was read at one size of the ramp."""

    n: int
    point: ledger.Point
    available_bytes: int
    heard: Heard | None
    merged_bytes: int | None = None


@dataclass
class Ramp:
    """One ramp under way: what it holds, and what it has seen."""

    bench: Bench
    settings: Density
    fleet: Fleet
    watch: Watch
    paths: Sequence[str] = ()
    services: dict[int, Service] = field(default_factory=dict)
    chance: random.Random = field(default_factory=random.Random)
    readings: list[Reading] = field(default_factory=list)
    ready_s: list[float] = field(default_factory=list)
    merging: Merging | None = None
    launching_ns: int = 0
    began_ns: int = field(default_factory=now_ns)
    told_ns: int = 0

    def grow(self) -> Stop:
        """Add instances until a rule holds, and say which. Raises HarnessError."""
        self.read()
        stop = None
        while stop is None:
            stop = self._no_more()
            if stop is None:
                stop = self._add(min(self.settings.at_once, self._missing()))
            if len(self.fleet) >= self._next_reading() or stop is not None:
                stop = self.read() or stop
        return stop

    @property
    def asked(self) -> Mapping[str, str]:
        """The service that is asked, by its program's name, as a dimension; none of the agent."""
        workload = self.bench.workload
        return {} if workload.service is None else {"service": Path(workload.argv[0]).name}

    def _missing(self) -> int:
        return self.settings.max_instances - len(self.fleet)

    def _next_reading(self) -> int:
        last = self.readings[-1].n
        return max(1, last * _GROWTH)

    def _no_more(self) -> Stop | None:
        """The rule that forbids the next step, looked at before it is taken."""
        if self._missing() <= 0:
            return Stop("max_instances", f"{len(self.fleet)} were asked for")
        more = min(self.settings.at_once, self._missing())
        stop = self.watch.ahead(len(self.fleet), more, self._first_bytes())
        if stop is not None and not len(self.fleet):
            raise HarnessError(f"there is no room for the first instance: {stop.text}")
        return stop

    def _first_bytes(self) -> int:
        """What the very first instance may take, before any has told."""
        touched = size_bytes(self.settings.touched)
        if not self.bench.runtime.runtime_class.is_machine:
            return touched
        return (self.bench.limits.memory_bytes or _MACHINE_BYTES) + _MACHINE_OVERHEAD_BYTES

    def _add(self, count: int) -> Stop | None:
        """One step. A failed launch is the end of the ramp where that was declared."""
        before = len(self.fleet)
        stop = None
        try:
            self.fleet.launch(count)
        except HarnessError as error:
            if not self.settings.stop_at_failure or len(self.fleet) == 0:
                raise
            stop = Stop("failure", error.message)
        added = self.fleet.members[before:]
        for member in added:
            self._work(member)
        self._note(added)
        self._tell()
        return stop

    def _work(self, member: Member) -> None:
        """What an instance does before it is counted: it touches its set, reads files, serves."""
        touched = size_bytes(self.settings.touched)
        if touched:
            member.box.touch(touched)
        if self.paths:
            member.box.hash_files(self.paths)
        if self.bench.workload.service is not None:
            service = start_service(member.box, self.bench.workload)[0]
            job = replace(service.job, timeout_s=openloop.PATIENCE_S)
            self.services[id(member)] = replace(service, job=job)

    def _note(self, added: Sequence[Member]) -> None:
        requests = [_ns(member, Mark.REQUEST) for member in added]
        readies = [_ns(member, Mark.READY) for member in added]
        self.ready_s += [(r - q) / 1e9 for q, r in zip(requests, readies, strict=True)]
        if added:
            self.launching_ns += max(readies) - min(requests)

    def read(self) -> Stop | None:
        """Read the ledger and send requests; the latency's bound may end the ramp."""
        boxes = self.fleet.boxes
        if self.readings and self.readings[-1].n == len(boxes):
            return None
        check_alive(boxes)
        if self.merging is not None and boxes:
            self.merging.settle(_SETTLE_S, lambda: self.watch.stop is None)
        merged = self.merging.merged_bytes() if self.merging is not None else None
        point = {**ledger.read_point(self.bench, boxes), "harness": _harness_bytes()}
        available = probe.host_memory().get("MemAvailable", probe.host_available_bytes())
        heard = self._ask()
        self.readings.append(Reading(len(boxes), point, available, heard, merged))
        bound = self.settings.latency_bound_s
        if bound is None or heard is None:
            return None
        found = heard.quantile_s(QUANTILES[-1])
        if heard.unanswered:
            return Stop("latency", f"{heard.unanswered} requests were never answered")
        if found is not None and found > bound:
            return Stop("latency", f"one request in a hundred took {found:.3g} s or longer, "
                                   f"and {bound:g} s is the bound")  # fmt: skip
        return None

    def _ask(self) -> Heard | None:
        able = [each for each in map(self._asked, self.fleet.members) if each is not None]
        if not able or not self.settings.requests:
            return None
        return openloop.ask(
            able, self.settings.requests, self.settings.requests_per_s, self.chance,
            lambda: self.watch.stop is None,
        )  # fmt: skip

    def _asked(self, member: Member) -> Answers | None:
        """What answers in an instance: its service, or else its agent where it can."""
        box, service = member.box, self.services.get(id(member))
        if service is not None and isinstance(box, Serves):
            return Customer(box, service)
        return box if isinstance(box, Answers) else None

    def _tell(self) -> None:
        """A line now and then: how many run, what they hold, how long the last one took."""
        now, n = now_ns(), len(self.fleet)
        if not n or now - self.told_ns < _TELL_EVERY_S * 1e9:  # the guard may have ended all
            return
        self.told_ns, free = now, probe.host_memory().get("MemAvailable", 0)
        left_s = (now - self.began_ns) / 1e9 / n * self._missing()
        self.bench.tell(
            f"{n} of at most {self.settings.max_instances} running, {free / MIB:.0f} MiB free, "
            f"the last ready in {self.ready_s[-1] * 1000:.0f} ms, about {left_s:.0f} s left"
        )


def fits(runtime: Runtime, settings: Density) -> None:
    """Raises RuntimeUnavailable for one whose boxes cannot be given distinct images."""
    if settings.images == "same" or isinstance(runtime, OnTree):
        return
    if runtime.runtime_class.is_machine:
        why = "a guest reads its disk past the host's page cache, and shares none of it anyway"
    elif isinstance(runtime, HasDaemon):
        why = "its engine knows layers by their content, so copies of the image are one to it"
    else:
        why = "its boxes do not run on the image's own tree"
    raise RuntimeUnavailable(
        f"{runtime.name} cannot be given distinct images: {why}", "leave it out, or images = same"
    )


def measure(bench: Bench, settings: Density) -> Measurement:
    """One ramp, to its stop, and its end. Raises HarnessError when an instance is lost."""
    begin, variation = probe.host_available_bytes(), ledger.idle_variation()
    fleet = Fleet(_launcher(bench, settings))
    folders, reserve = (bench.scratch, bench.state), size_bytes(settings.reserve)
    bounds = Bounds(reserve, settings.memory_pressure, settings.cpu_pressure)
    with (
        Watch(folders, bounds, lambda: fleet.end(abruptly=True)) as watch,
        _merging(bench, settings) as ksm,
    ):
        paths = chosen_files(bench.image, size_bytes(settings.read))[0]
        ramp = Ramp(bench, settings, fleet, watch, paths, merging=ksm)
        try:
            with fleet:
                with _blaming_the_lost(fleet):
                    stop = ramp.grow()
                held = len(fleet)
                ran = [] if bench.workload.service is None else bench.workload.argv[:1]
                proof = combined([bench.prove(box, *ran) for box in fleet.boxes])
                teardown_s = fleet.end()
        except Exception as error:
            if watch.emergency is None or not ramp.ready_s:
                raise
            raise _ended_at_once(ramp, watch.emergency) from error
        if watch.emergency is not None:  # it came after the ramp had stopped by itself
            raise _ended_at_once(ramp, watch.emergency)
    drift = float(abs(probe.host_available_bytes() - begin))
    variation = max(variation, drift, ledger.counter_drift_bytes())
    samples = [
        _sample("density.instances", held, stop=stop.rule),
        _sample("density.rate", held / (ramp.launching_ns / 1e9)),
        _sample("density.teardown", teardown_s),
        *(_sample("density.ready", s, n=n) for n, s in enumerate(ramp.ready_s, start=1)),
        *_slopes(ramp.readings, variation),
        *(s for reading in ramp.readings for s in _series(ramp.readings[0], reading, ramp.asked)),
    ]
    return Measurement(
        samples=tuple(samples), identity=proof, conditions=_conditions(ramp, stop, variation)
    )


def _ended_at_once(ramp: Ramp, emergency: Stop) -> HarnessError:
    return HarnessError(
        f"the guard ended all {len(ramp.ready_s)} instances at once: {emergency.text}"
    )


def _launcher(bench: Bench, settings: Density) -> Callable[[Marks], LaunchContext]:
    """What launches the next instance: on the image, or on a copy that is its own."""
    if settings.images == "same":
        return lambda marks: bench.instance(marks, settings.ready_timeout_s)
    numbers = itertools.count()

    def launch(marks: Marks) -> LaunchContext:
        image = copied(bench.image, bench.scratch / f"image-{next(numbers)}")
        return replace(bench, image=image).instance(marks, settings.ready_timeout_s)

    return launch


@contextlib.contextmanager
def _merging(bench: Bench, settings: Density) -> Iterator[Merging | None]:
    """KSM where it was asked for and has an effect: only machines offer their memory to it."""
    if not settings.ksm or not bench.runtime.runtime_class.is_machine:
        yield None
        return
    assert bench.inventory is not None
    with merging(bench.inventory) as found:
        yield found


@contextlib.contextmanager
def _blaming_the_lost(fleet: Fleet) -> Iterator[None]:
    """A channel that broke because its box has ended is told as a lost instance."""
    try:
        yield
    except ChannelError as error:
        check_alive(fleet.boxes, f"; {error.message}")
        raise


def check_alive(boxes: Sequence[Instance], seen: str = "") -> None:
    """Raises InstanceLost when the first process of a box (its init or VMM) has ended."""
    for number, box in enumerate(boxes, start=1):
        for pid in box.processes()[:1]:
            if _has_ended(pid):
                raise InstanceLost(
                    f"instance {number} of {len(boxes)} was lost: "
                    f"its process {pid} ended by itself{seen}"
                )


def _has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


def _harness_bytes() -> float:
    """This process's own memory: it grows with what it holds, and is no box's cost."""
    found = probe.together([os.getpid()])
    return float(found.pss_bytes) if found else 0.0


def _ns(member: Member, mark: Mark) -> int:
    ns = member.marks.get(mark)
    assert ns is not None
    return ns


def _slopes(readings: Sequence[Reading], variation: float) -> Sequence[Sample]:
    """The cost of one instance on both sides; the host's is absent where it moved too little."""
    found = {
        key: ledger.slope([(r.n, r.point[key]) for r in readings])
        for key in ("charged", "harness", "host_delta")
        if all(key in r.point for r in readings)
    }
    fell = readings[-1].point["host_delta"] - readings[0].point["host_delta"]
    samples = [_sample("density.harness", found["harness"])]
    if "charged" in found:
        samples.append(_sample("density.slope", found["charged"]))
    if fell >= ledger.SIGNAL_TO_IDLE * variation:
        samples.append(_sample("density.slope_host", found["host_delta"]))
        if "charged" in found:
            rest = found["host_delta"] - found["charged"] - found["harness"]
            samples.append(_sample("density.remainder", rest))
    return samples


def _series(first: Reading, reading: Reading, asked: Mapping[str, str]) -> Sequence[Sample]:
    """What was read at one size, as samples with the dimension `n`.

    Answers of a service have the dimension `service` too: they are compared with no others.
    """
    n = reading.n
    samples = [
        _sample("density.available", reading.available_bytes, n=n),
        _sample("density.host_delta", reading.point["host_delta"] - first.point["host_delta"], n=n),
    ]
    if "charged" in reading.point and "charged" in first.point:
        grown = reading.point["charged"] - first.point["charged"]
        samples.append(_sample("density.charged", grown, n=n))
    if reading.merged_bytes is not None:
        samples.append(_sample("density.merged", reading.merged_bytes, n=n))
    if reading.heard is not None:
        samples.append(_sample("density.unanswered", reading.heard.unanswered, n=n, **asked))
        for q in QUANTILES:
            if (value := reading.heard.quantile_s(q)) is not None:
                samples.append(_sample("density.latency", value, n=n, quantile=q, **asked))
    return samples


def _conditions(ramp: Ramp, stop: Stop, variation: float) -> Mapping[str, str | float | int]:
    late = sorted(ns for r in ramp.readings if r.heard for ns in r.heard.late_ns)
    found: dict[str, str | float | int] = {
        "stop": stop.rule,
        "stop_text": stop.text,
        "touched_bytes": size_bytes(ramp.settings.touched),
        "reserve_bytes": size_bytes(ramp.settings.reserve),
        "at_once": ramp.settings.at_once,
        "read_bytes": size_bytes(ramp.settings.read),
        "images": ramp.settings.images,
        "asked": ramp.asked.get("service", "the agent"),
        "ksm": ramp.merging is not None,
        "idle_variation_bytes": variation,
        "available_before_bytes": ramp.watch.begin.available_bytes,
    }
    if late:
        found["sender_late_p99_s"] = late[int(0.99 * (len(late) - 1))] / 1e9
    return found


def _sample(metric: str, value: float, **dimensions: object) -> Sample:
    return Sample(
        metric=metric, value=float(value), unit=METRICS[metric].unit,
        dimensions={name: str(each) for name, each in dimensions.items()},
    )  # fmt: skip
