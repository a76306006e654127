"""Images on their way: pushed to a registry and pulled from it, cold and with a shared layer.

A trial has a registry of its own, empty, on the loopback, and an engine that has two images: the
scenario's image, and one with a layer more over it. Both are pushed, the engine drops them, and
both are pulled: of the first one the receiving end has nothing, of the second one all but a
layer. Bytes are those of images, as the registry came to hold them (push) or sent them (pull).

Beside that stands the disk of a machine with the same files, copied as a file to the same
filesystem: a disk that another host is to have travels as a whole.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.clock import now_ns
from harness.experiments.bench import Bench, Measurement
from harness.image.cache import disk_bytes
from harness.image.forms import ext4
from harness.metrics import METRICS
from harness.model import Runtime, Sample
from harness.process import run
from harness.settings import Registry
from harness.shipping import Ships, State
from harness.sizes import size_bytes


def can(runtime: Runtime, settings: Registry) -> bool:
    """Whether a runtime has an engine that ships images."""
    del settings
    return isinstance(runtime, Ships) and runtime.ships


def measure(bench: Bench, settings: Registry) -> Measurement:
    """One trial. Raises HarnessError when anything is not as it must be."""
    with _folder(bench) as folder:
        shipped = _shipped(bench, settings, folder)
        copied = _copied(bench, folder)
    added = size_bytes(settings.added)
    return Measurement(samples=(*shipped, *copied), conditions={"registry.added": added})


@contextlib.contextmanager
def _folder(bench: Bench) -> Iterator[Path]:
    """A folder of this trial's own, on the disk."""
    with bench.spec(0.0) as spec:
        yield spec.directory


def _shipped(bench: Bench, settings: Registry, folder: Path) -> Sequence[Sample]:
    assert isinstance(bench.runtime, Ships)
    bench.tell("two images for the registry")
    samples: list[Sample] = []
    with bench.runtime.shipment(bench.image, folder, size_bytes(settings.added)) as shipment:
        for way in ("push", "pull"):
            for state in State:
                bench.tell(f"{way}, {state}")
                moved = shipment.push(state) if way == "push" else shipment.pull(state)
                samples += [
                    _sample(way, moved.took_ns / 1e9, state=state),
                    _sample(f"{way}_bytes", moved.bytes, state=state),
                ]
            shipment.forget()
    return samples


def _copied(bench: Bench, folder: Path) -> Sequence[Sample]:
    """The image as a raw disk, with its holes; what the kernel writes out later is not timed."""
    disk, target = ext4(bench.image), folder / "disk"
    bench.tell("the copy of a disk")
    begin = now_ns()
    run(["cp", "--reflink=never", "--sparse=auto", disk, target])
    took = now_ns() - begin
    run(["sync", str(target)])
    return [
        _sample("disk_copy", took / 1e9),
        _sample("disk_copy_bytes", disk_bytes(target)),
    ]


def _sample(name: str, value: float, **dimensions: str) -> Sample:
    metric = METRICS[f"registry.{name}"]
    named = {key: str(text) for key, text in dimensions.items()}
    return Sample(metric.name, float(value), metric.unit, named)
