"""What copy-on-write saves, and what it costs at the first write.

A trial makes roots of one image in each form that the runtime has: over a shared image (overlay,
qcow2) and as a copy of the whole. First a root without a box, which is timed. Then boxes stand
on such roots: in the first, one page inside a file of the image is written and synced, which has
its layer bring the file up first (overlayfs) or allocate a cluster (qcow2); and once more, which
has not. File and program have been read before, so that all of both is in the page cache of the
box's kernel, and what was written before is on the disk. Root writes, for the file is root's.

Bytes are those that files take on this host's disk, each file once: of one root, of the first
write, of all boxes with what they share, and of a second image that differs from the first by
what was written. Forms take turns in random order: the first one finds less in the page cache.
"""

from __future__ import annotations

import contextlib
import math
import random
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from harness.clock import Marks
from harness.errors import HarnessError, ImageError
from harness.experiments.bench import Bench, Conditions, Measurement
from harness.experiments.fleet import Fleet
from harness.experiments.identity import combined, executed_files
from harness.experiments.jobs import run_job
from harness.image.cache import disk_bytes
from harness.image.manifest import parse_manifest
from harness.metrics import METRICS
from harness.model import (
    AGENT_PATH,
    HasStorage,
    Identity,
    Image,
    Instance,
    Job,
    Runtime,
    Sample,
    StorageKind,
)
from harness.probes.host import filesystem_of
from harness.process import run
from harness.roots import Commits, Form, MakesRoots
from harness.settings import Cow
from harness.sizes import size_bytes

DD = "/usr/bin/dd"
PAGE_BYTES = 4096
_EXECUTABLE, _REGULAR, _KIND = 0o111, 0o100000, 0o170000


def can(runtime: Runtime, settings: Cow) -> bool:
    """Whether a runtime has roots that are seen from here."""
    del settings
    return isinstance(runtime, MakesRoots) and bool(runtime.forms)


@dataclass(frozen=True)
class Victim:
    """A file of the image that is written: `size` as it was asked for."""

    size: str
    path: str
    bytes: int


def measure(bench: Bench, settings: Cow) -> Measurement:
    """One trial. Raises HarnessError when anything is not as it must be."""
    assert isinstance(bench.runtime, MakesRoots)
    victims = [_victim(bench.image, size) for size in settings.sizes]
    forms = list(bench.runtime.forms)
    random.Random(f"{bench.run_id} {next(bench.numbers)}").shuffle(forms)
    samples: list[Sample] = []
    proofs: list[Identity] = []
    for form in forms:
        bench.tell(f"roots of the form {form}")
        samples += _made(bench, settings, form)
        found, proof = _written(bench, settings, form, victims)
        samples += found
        proofs.append(proof)
    return Measurement(
        samples=tuple(samples), identity=combined(proofs), conditions=_conditions(bench, victims)
    )


def _conditions(bench: Bench, victims: Sequence[Victim]) -> Conditions:
    mounts = Path("/proc/self/mountinfo").read_text()
    return {
        "host_filesystem": filesystem_of(bench.scratch.resolve(), mounts),
        **{f"cow.file.{each.size}": f"{each.path}, {each.bytes} bytes" for each in victims},
    }


def _made(bench: Bench, settings: Cow, form: Form) -> Sequence[Sample]:
    """A root without a box. The call's end is not the disk's: what is dirty is written later."""
    assert isinstance(bench.runtime, MakesRoots)
    with (
        bench.spec(settings.ready_timeout_s, whole=form is Form.COPY) as spec,
        bench.runtime.make_root(spec) as made,
    ):
        _settle(bench)
        size = disk_bytes(*made.files)
    return [
        _sample("create", made.took_ns / 1e9, form),
        _sample("create_bytes", size, form),
    ]


def _written(
    bench: Bench, settings: Cow, form: Form, victims: Sequence[Victim]
) -> tuple[Sequence[Sample], Identity]:
    """Boxes on such roots: writes in the first, and what all take."""

    def launch(marks: Marks) -> AbstractContextManager[Instance]:
        return bench.instance(marks, settings.ready_timeout_s, whole=form is Form.COPY)

    assert isinstance(bench.runtime, MakesRoots)
    shared = () if form is Form.COPY else tuple(bench.runtime.shared_files(bench.image))
    machines = bench.runtime.runtime_class.is_machine
    count = settings.machine_instances if machines else settings.instances
    with Fleet(launch) as fleet:
        first = fleet.launch()[0].box
        run_job(first, Job(_dd("/dev/null", 0)))  # the program itself is in memory from now on
        samples: list[Sample] = []
        for victim in victims:
            samples += _first_write(bench, first, form, victim)
        proof = bench.prove(first, DD)
        samples += _second_image(bench, first, form, shared)
        for _ in range(count - 1):
            fleet.launch()
        _settle(bench)
        taken = disk_bytes(*shared, *map(own_files, fleet.boxes))
        samples.append(_sample("fleet_bytes", taken, form, instances=str(count)))
    return samples, proof


def _first_write(bench: Bench, box: Instance, form: Form, victim: Victim) -> Sequence[Sample]:
    """The same page twice; only the first time is there anything to bring up."""
    box.hash_files([victim.path])  # reads all of it
    _settle(bench)
    before = disk_bytes(own_files(box))
    first = _write(box, victim)
    grown = disk_bytes(own_files(box)) - before
    following = _write(box, victim)
    return [
        _sample("first_write", first, form, size=victim.size),
        _sample("next_write", following, form, size=victim.size),
        _sample("first_write_bytes", grown, form, size=victim.size),
    ]


def _write(box: Instance, victim: Victim) -> float:
    """Seconds of a program that writes a page of the agent's file into the middle of another and
    syncs that, by the host's stamps: its start is in it."""
    argv = _dd(victim.path, victim.bytes // PAGE_BYTES // 2)
    done = run_job(box, Job([*argv, "conv=notrunc,fsync"], uid=0, gid=0))
    return (done.ended_ns - done.started_ns) / 1e9


def _dd(target: str, page: int) -> list[str]:
    page_at = [f"bs={PAGE_BYTES}", "count=1", f"seek={page}"]
    return [DD, f"if={AGENT_PATH}", f"of={target}", *page_at, "status=none"]


def _second_image(
    bench: Bench, box: Instance, form: Form, shared: Sequence[Path]
) -> Sequence[Sample]:
    """What was written, kept as an image beside the first: in the engine's store, or as the
    layer, disk or tree that the box has now."""
    assert isinstance(bench.runtime, MakesRoots)
    first = shared or tuple(bench.runtime.shared_files(bench.image))
    with contextlib.ExitStack() as stack:
        second: Sequence[Path] = (*shared, own_files(box))
        if isinstance(bench.runtime, Commits):
            second = stack.enter_context(bench.runtime.committed(box))
        _settle(bench)
        added = disk_bytes(*first, *second) - disk_bytes(*first)
        return [
            _sample("added_bytes", added, form),
            _sample("shared_bytes", disk_bytes(*second) - added, form),
        ]


def own_files(box: Instance) -> Path:
    """Where a box's own part of its root lies. Raises HarnessError where nobody tells."""
    if isinstance(box, HasStorage):
        storage = box.storage()
        if storage.kind is StorageKind.VOLUME:
            raise HarnessError(
                "a box with a volume tells only where that lies", "leave storage=volume out"
            )
        if storage.host is not None:
            return storage.host
    raise HarnessError("this runtime does not tell where a box's own files lie on this host")


def _settle(bench: Bench) -> None:
    """Have what is dirty on the disk: else files take nothing there yet, and syncs take longer."""
    run(["sync", "--file-system", str(bench.scratch)])


def _victim(image: Image, size: str | int) -> Victim:
    """The image's file nearest in size that nothing here executes. Raises ImageError."""
    wanted = size_bytes(size)
    needed = executed_files(image, DD)
    found = [
        (abs(math.log(entry.size / wanted)), path, entry.size)
        for path, entry in parse_manifest(image.manifest.read_bytes()).items()
        if entry.mode & _KIND == _REGULAR and not entry.mode & _EXECUTABLE
        and path not in needed and entry.size >= PAGE_BYTES
    ]  # fmt: skip
    if not found:
        raise ImageError("the image has no file that could be written", "tarebench image build")
    _, path, held = min(found)
    return Victim(str(size), path, held)


def _sample(name: str, value: float, form: Form, **dimensions: str) -> Sample:
    metric = METRICS[f"cow.{name}"]
    return Sample(metric.name, float(value), metric.unit, {"form": form.value, **dimensions})
