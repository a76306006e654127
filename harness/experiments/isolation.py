"""What a box keeps apart: facts that one probe finds from inside, held against the host.

Two instances a trial. In the first the agent's probe (harness/image/isolation.c) looks around,
as root and as the user that jobs run as, while a *bait* process on the host holds what should
not be seen from a box: a word on a command line, a key, a listener on the loopback that says
the word. The second instance is thrown away: its root tries the classic way out of a chroot,
to read one file beside the box's own folders, whose content only this trial knows.

Facts, not scores: a number each, and in the trial's conditions the words behind it, under the
metric's name and dimensions. What could not be found out has no number, and the words say why.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from harness.clock import Marks
from harness.errors import ChannelError, HarnessError
from harness.experiments.bench import Bench, Measurement
from harness.experiments.identity import combined
from harness.experiments.jobs import WorkloadFailed, check_end
from harness.metrics import METRICS
from harness.model import AGENT_PATH, Identity, Instance, Job, RuntimeClass, Sample
from harness.probes import isolation
from harness.probes.isolation import Fact
from harness.process import spawn
from harness.settings import Isolation

_PLACES = ("/tmp", "/root", "/")
"""Where a box's root may make a node; on bare metal it is its scratch folder alone."""


def measure(bench: Bench, settings: Isolation) -> Measurement:
    """One trial of `isolation`. Raises HarnessError when the probe itself does not work."""
    with bait(bench) as known, bench.instance(Marks(), settings.ready_timeout_s) as instance:
        found = [*_looked(bench, instance, known, settings), _limits(instance)]
        proofs = [bench.prove(instance)]
    escaped, proof = _escape(bench, settings)
    return Measurement(
        samples=tuple(_sample(fact) for fact in (*found, escaped) if fact.value is not None),
        identity=combined([*proofs, *proof]),
        conditions={_key(fact): fact.words for fact in (*found, escaped) if fact.words},
    )


@contextlib.contextmanager
def bait(bench: Bench) -> Iterator[Sequence[str]]:
    """What should not be seen from a box, for as long; yields what the probe is told of it.

    All of it belongs to one process, which ends with this one.
    """
    token = secrets.token_hex(16)
    program = str(bench.image.root / AGENT_PATH.lstrip("/"))
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        process = spawn([program, "--isolation", "bait", token], stdout=writer)
    finally:
        os.close(writer)
    with process, os.fdopen(reader, "rb") as pipe:
        said = dict(line.split("=", 1) for line in pipe.read().decode().splitlines())
        if not {"port", "key"} <= said.keys():
            raise HarnessError("the bait process did not come up", "see the host's loopback")
        yield [token, said["port"], said["key"], isolation.disk_to_try() or "-"]


def _looked(
    bench: Bench, instance: Instance, known: Sequence[str], settings: Isolation
) -> Sequence[Fact]:
    """The facts of each view. Where nobody is root inside, there is one view less."""
    places = (instance.scratch(),) if _is_bare(bench) else _PLACES
    argv = [AGENT_PATH, "--isolation", "facts", *known, *places]
    around = isolation.host()
    seen = {}
    for view, uid in isolation.VIEWS.items():
        job = Job(argv, uid=uid, gid=uid, timeout_s=settings.timeout_s)
        seen[view] = isolation.read(_output(instance, job))
    found = list(isolation.facts(seen["user"], around, "user"))
    if seen["root"].values["uid"] == "0":
        return [*isolation.facts(seen["root"], around, "root"), *found]
    missing = [
        replace(fact, value=None, words=isolation.NO_ROOT, dimensions=_as_root(fact))
        for fact in found
    ]
    return [*isolation.box_facts(seen["user"], around), *missing, *found]


def _output(instance: Instance, job: Job) -> bytes:
    """What a job printed that ended well. Nothing is timed, so the box's clock may be wrong."""
    done = instance.run(job)
    check_end(done, job)
    return done.stdout.read()


def _as_root(fact: Fact) -> tuple[tuple[str, str], ...]:
    return tuple((key, "root" if key == "view" else value) for key, value in fact.dimensions)


def _is_bare(bench: Bench) -> bool:
    return bench.runtime.runtime_class is RuntimeClass.BARE


def _limits(instance: Instance) -> Fact:
    """In which control groups the box's first process is, as the host sees it."""
    pid = next(iter(instance.processes()), None)
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text()
        mine = Path("/proc/self/cgroup").read_text()
    except OSError as error:
        return Fact("limits", None, f"/proc/PID/cgroup: {error.strerror}")
    value, words = isolation.of_host(text, mine)
    return Fact("limits", value, words)


def _escape(bench: Bench, settings: Isolation) -> tuple[Fact, Sequence[Identity]]:
    """Whether root inside reads a file outside the box by the way out of a chroot."""
    if _is_bare(bench):
        return Fact("escape", None, isolation.NO_BOX), ()
    secret = secrets.token_hex(16)
    file = bench.state / f"outside-{next(bench.numbers)}"
    file.write_text(secret)
    file.chmod(0o644)
    try:
        with bench.instance(Marks(), settings.ready_timeout_s) as instance:
            argv = [AGENT_PATH, "--isolation", "escape", str(file), "/tmp"]
            try:
                output = _output(instance, Job(argv, uid=0, gid=0))
            except (WorkloadFailed, ChannelError) as error:
                return Fact("escape", None, error.message), ()
            proof = bench.prove(instance)
    finally:
        file.unlink()
    said = dict(line.split("=", 1) for line in output.decode(errors="replace").splitlines())
    return isolation.judged(said, secret), (proof,)


def _sample(fact: Fact) -> Sample:
    assert fact.value is not None
    name = f"isolation.{fact.name}"
    return Sample(name, fact.value, METRICS[name].unit, dict(fact.dimensions))


def _key(fact: Fact) -> str:
    """Where the words of a fact stand: `isolation.capabilities.effective.root`."""
    return ".".join(["isolation", fact.name, *(value for _, value in fact.dimensions)])
