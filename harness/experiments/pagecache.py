"""What boxes share without knowing it: the page cache of the image's files.

Where boxes share the host's kernel, a file that one of them has read lies in memory once, and
the next finds it there; a guest has a cache of its own, in RAM that it shares with nobody. So
the same files of the image are dropped from the cache and then read by one fresh instance
after another. What the first and the others are charged for it, and by how much the host's
free memory falls over all of them, says how often the host holds the same bytes. (A kernel
that reclaims idle cache by itself, as DAMON does, moves that figure: hence its control.)
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from harness.clock import now_ns
from harness.errors import ImageError
from harness.experiments import ledger
from harness.experiments.bench import Bench
from harness.image.manifest import parse_manifest
from harness.model import MIB, Image, Instance, Sample
from harness.probes import memory as probe

_EVERYBODY_READS = 0o4
_LONGEST_CONTROL_S = 10.0


def share(bench: Bench, boxes: Sequence[Instance], size: int) -> list[Sample]:
    """Samples of fresh `boxes` that read the same files, at least `size` bytes in all.

    `memory.cache.first` and `.next` are absent where boxes have no group of their own: then
    nobody is charged. `memory.cache.host` is absent where the host's free memory moves by
    more than a tenth of `size` by itself.
    """
    paths, read = chosen_files(bench.image, size)
    boxes[0].drop_cached(paths)
    before = [ledger.cache_charged(bench, box) for box in boxes]
    variation = max(ledger.counter_drift_bytes(), ledger.idle_variation(probe.host_free_bytes))
    begin_ns, free = now_ns(), probe.host_free_bytes()
    bench.tell(f"{len(boxes)} instances read the same {read / MIB:.0f} MiB of files each")
    for box in boxes:
        box.hash_files(paths)
    fell = float(free - probe.host_free_bytes())
    variation = max(variation, _control((now_ns() - begin_ns) / 1e9))
    after = [ledger.cache_charged(bench, box) for box in boxes]
    grown = [a - b for b, a in zip(before, after, strict=True) if a is not None and b is not None]
    values: dict[str, float] = {}
    if len(grown) == len(boxes) > 1:
        values = {"first": float(grown[0]), "next": sum(grown[1:]) / len(grown[1:])}
    if read >= ledger.SIGNAL_TO_IDLE * variation:
        values["host"] = fell
    dimensions = {"state": "cache", "n": str(len(boxes)), "read": str(read)}
    return [
        Sample(metric=f"memory.cache.{key}", value=value, unit="bytes", dimensions=dimensions)
        for key, value in values.items()
    ]


def _control(seconds: float) -> float:
    """By how much the host's free memory moves without our doing in as long a time."""
    free = probe.host_free_bytes()
    time.sleep(min(seconds, _LONGEST_CONTROL_S))  # idle by its nature: there is no event
    return float(abs(probe.host_free_bytes() - free))


def chosen_files(image: Image, size: int) -> tuple[list[str], int]:
    """The image's largest files until they hold `size` bytes: their paths, and what they hold.

    Contents are taken once, for hard links share their cache too. Raises ImageError where the
    image is smaller.
    """
    entries = parse_manifest(image.manifest.read_bytes())
    regular = {
        entry.content: (entry.size, path)
        for path, entry in entries.items()
        if entry.mode & 0o170000 == 0o100000 and entry.mode & _EVERYBODY_READS and "\\" not in path
    }
    paths: list[str] = []
    total = 0
    for held, path in sorted(regular.values(), reverse=True):
        if total >= size:
            break
        paths.append(path)
        total += held
    if total < size:
        raise ImageError(f"the image's files hold {total} bytes, not {size}", "ask for less")
    return paths, total
