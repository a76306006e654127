"""One application of several processes: a box for each of them, or one box with all.

The application has three parts that stay and answer: a web server (nginx), a store and a queue
(redis, twice). They are those of the scenarios' own workloads. In the layout `one-each` three
boxes are asked for in one instant, and in each a part is started as soon as it is ready; in
`one-box` there is one, in which a shell starts all three. Either is up when the last part has
given its first answer, on the host's clock, and what it holds is read then, from the same ledger.
The one box has the limits of the three together, of processors no more than the host has. Parts
do not speak with each other: what a network between boxes costs is not in it.

Bare metal has no box, and so no such thing as one box with all: there, three bare processes
stand beside.
"""

from __future__ import annotations

import contextlib
import random
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from harness.clock import Deadline, Marks, now_ns
from harness.errors import ChannelError, DeadlineExceeded, HarnessError
from harness.experiments import ledger
from harness.experiments.bench import Bench, Measurement
from harness.experiments.cpu import BUSYBOX
from harness.experiments.fleet import Fleet
from harness.experiments.identity import combined
from harness.experiments.jobs import WorkloadFailed, start_service
from harness.metrics import METRICS
from harness.model import Identity, Instance, Limits, Mark, Runtime, RuntimeClass, Sample
from harness.probes import cpu
from harness.scenario import shared_workloads
from harness.serving import Serves, Service
from harness.settings import System
from harness.workload import Workload

PARTS: Mapping[str, str] = {"web": "nginx", "store": "redis", "queue": "redis"}
"""Each part by the name of its workload."""

EACH, ONE = "one-each", "one-box"


def executes(settings: System, workload: Workload) -> Sequence[Workload]:
    """Each program once."""
    del settings, workload
    return [_workloads()[name] for name in dict.fromkeys(PARTS.values())]


def fits(runtime: Runtime, settings: System) -> None:
    """Raises HarnessError where no layout is left."""
    if not _layouts(runtime, settings):
        raise HarnessError("bare metal has no box to put all parts in", f'add "{EACH}" to layouts')


def measure(bench: Bench, settings: System) -> Measurement:
    """One trial: each layout once, in random order. Raises HarnessError when a part fails."""
    layouts = _layouts(bench.runtime, settings)
    chance = random.Random(f"{bench.run_id} {bench.runtime.name} {next(bench.numbers)}")
    order = chance.sample(layouts, len(layouts))
    samples: list[Sample] = []
    proofs: list[Identity] = []
    for layout in order:
        bench.tell(layout)
        found = (_each if layout == EACH else _one)(bench, settings)
        samples += found.samples
        proofs.append(found.identity)
    return Measurement(
        samples=tuple(samples), identity=combined(proofs),
        conditions={"parts": " ".join(f"{part}={name}" for part, name in PARTS.items()),
                    "order": " ".join(order)},
    )  # fmt: skip


def _layouts(runtime: Runtime, settings: System) -> Sequence[str]:
    bare = runtime.runtime_class is RuntimeClass.BARE
    return [layout for layout in settings.layouts if layout == EACH or not bare]


def _workloads() -> Mapping[str, Workload]:
    shared = shared_workloads()
    return {name: shared[name] for name in PARTS.values()}


def _each(bench: Bench, settings: System) -> Measurement:
    """A box for each part."""
    todo = [_workloads()[name] for name in PARTS.values()]

    @contextlib.contextmanager
    def part(marks: Marks) -> Iterator[Instance]:
        workload = todo.pop()
        with bench.instance(marks, settings.ready_timeout_s) as box:
            _, served = start_service(box, workload)
            marks.at(Mark.SERVED, served.served_ns)
            yield box
            proofs.append(bench.prove(box, workload.argv[0]))

    proofs: list[Identity] = []
    before = ledger.read_point(bench, ())
    with Fleet(part) as fleet:
        all_marks = [member.marks.freeze() for member in fleet.launch(len(PARTS))]
        after = ledger.read_point(bench, fleet.boxes)
    asked = min(marks[Mark.REQUEST] for marks in all_marks)
    served = max(marks[Mark.SERVED] for marks in all_marks)
    return Measurement(
        samples=_samples(EACH, served - asked, before, after), identity=combined(proofs)
    )


def _one(bench: Bench, settings: System) -> Measurement:
    """All parts in one box, which has the limits of all."""
    whole = replace(bench, limits=_times(bench.limits, len(PARTS), cpu.count()))
    marks = Marks()
    before = ledger.read_point(bench, ())
    with whole.instance(marks, settings.ready_timeout_s) as box:
        served = _start_all(box)
        after = ledger.read_point(bench, [box])
        programs = [each.argv[0] for each in _workloads().values()]
        proof = bench.prove(box, BUSYBOX, *programs)
    asked = marks.freeze()[Mark.REQUEST]
    return Measurement(samples=_samples(ONE, served - asked, before, after), identity=proof)


def _times(limits: Limits, count: int, host_cpus: int) -> Limits:
    """So many times the limits; of processors no more than the host has, for an engine refuses
    more, and nobody could have them."""
    cpus, memory, pids = limits.cpus, limits.memory_bytes, limits.pids
    return Limits(
        None if cpus is None else min(cpus * count, max(host_cpus, cpus)),
        None if memory is None else memory * count,
        None if pids is None else pids * count,
    )


def script(scratch: str) -> str:
    """What a shell does that starts all parts, each in a folder of its own below `scratch`.

    They are the parts of a pipe, through which nothing goes: a command in the background would
    be given /dev/null, which not every box has.
    """
    parts = []
    for part, name in PARTS.items():
        folder, workload = f"{scratch}/{part}", _workloads()[name]
        assert workload.service is not None
        words = " ".join(shlex.quote(each) for each in workload.job(folder).argv)
        given = shlex.quote(workload.service.input)
        parts.append(
            f"{{ mkdir {folder} && cd {folder} && printf %s {given} > input "
            f"&& exec {words} < input >&2; }}"
        )
    return " | ".join(parts)


def _start_all(box: Instance) -> int:
    """Start the shell, and return when the last part gave its first answer."""
    if not isinstance(box, Serves):
        raise WorkloadFailed("this runtime's boxes cannot hold a service")
    scratch = box.scratch()
    first, *others = [_asked(part, scratch) for part in PARTS]
    try:
        served = [box.serve(first).served_ns]
        served += [_answer(box, each) for each in others]
    except ChannelError as error:
        raise WorkloadFailed(f"all parts in one box: {error.message}") from error
    return max(served)


def _asked(part: str, scratch: str) -> Service:
    """A part as a service whose job is the shell that starts all."""
    workload = _workloads()[PARTS[part]]
    own = workload.serving(scratch)
    assert own is not None
    shell = Workload(
        [BUSYBOX, "sh", "-c", script(scratch)], env=workload.env, timeout_s=workload.timeout_s
    )
    return replace(own, job=shell.job(scratch), socket=f"{part}/{own.socket}", input="")


def _answer(box: Serves, service: Service) -> int:
    """When a further part of the running shell answered; it may not listen yet, which nothing
    tells, so it is asked again. Raises ChannelError after the job's time."""
    deadline = Deadline(service.job.timeout_s)
    while True:
        try:
            box.send_request(service, now_ns())
            found = box.take_pong(deadline.left_s())
            if found is None:
                raise DeadlineExceeded(f"{service.socket} did not answer in time")
            return found[1]
        except ChannelError:
            if deadline.over:
                raise
            time.sleep(service.poll_s)


def _samples(
    layout: str, served_ns: int, before: ledger.Point, after: ledger.Point
) -> tuple[Sample, ...]:
    values = {"served": served_ns / 1e9}
    if "charged" in before and "charged" in after:
        values["memory"] = after["charged"] - before["charged"]
    return tuple(
        Sample(f"system.{name}", value, METRICS[f"system.{name}"].unit, {"layout": layout})
        for name, value in values.items()
    )
