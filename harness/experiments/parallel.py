"""What happens when several boxes are started at once: how late they are, how many a second.

One trial launches a number of instances, so many at a time, through a gate
(harness/experiments/gate.py). The rate counts from the opening of the gate until the last
launch has ended, READY included; each launch's own time counts from its own request. A launch
that fails is counted, with its reason, and the others go on.

Whatever is measured here goes through one Python process, so its own ceiling is measured in
the same trial, beside it: the same number of agents by fork and exec alone, with no runtime.

The guard of density's ramps watches the host here too (harness/experiments/watch.py): when memory,
disk, process numbers or descriptors run short, nothing more is launched and the trial has failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial

from harness.clock import Marks
from harness.errors import LaunchFailed
from harness.experiments import controls
from harness.experiments.bench import Bench, Conditions, Measurement
from harness.experiments.gate import Together, launch_together
from harness.experiments.identity import combined
from harness.experiments.watch import Bounds, Stop, Watch
from harness.metrics import METRICS
from harness.model import MIB, Identity, Instance, Sample
from harness.probes import cpu, memory
from harness.settings import Parallel

QUANTILES = (0.5, 0.9, 0.99)
_RESERVE, _LEAST_RESERVE_BYTES, _MEMORY_PRESSURE = 0.05, 256 * MIB, 0.25
"""Of the host's memory, what is to stay; and the share of time in which tasks may wait for it."""
_FEW = 10.0
"""A quantile q needs 10 / (1 - q) launches (METHOD, small samples)."""


def measure(bench: Bench, settings: Parallel) -> Measurement:
    """One trial of `parallel`. Raises the first failure when no launch at all was good."""
    count = settings.machine_launches if bench.runtime.runtime_class.is_machine else (
        settings.launches
    )  # fmt: skip
    launchers = min(settings.launchers, count)
    ceiling = launch_together(
        [partial(controls.agent_alone, bench)] * count, launchers, lambda box: None
    )
    spent: dict[str, list[float | None]] = {"cpu_s": [], "host_busy_s": [], "steal_s": []}

    def note() -> None:
        for name, value in zip(spent, (bench.cpu_s(), cpu.busy_s(), cpu.steal_s()), strict=True):
            spent[name].append(value)

    def launch(marks: Marks) -> AbstractContextManager[Instance]:
        return bench.instance(marks, settings.ready_timeout_s)

    with Watch((bench.scratch, bench.state), Bounds(*_bounds()), lambda: None) as watch:
        _require(watch.ahead(0, count, _expected_bytes(bench)))
        found = launch_together(
            [launch] * count, launchers, bench.prove, note, note,
            check=lambda: _require(watch.stop),
        )  # fmt: skip
        _require(watch.stop)
    failures = [launch.failure for launch in found.launches if launch.failure is not None]
    if not found.good:
        raise failures[0]
    conditions = {name: _grown(values) for name, values in spent.items()} | {
        "launchers": launchers, "launches": count,
        "failures": "; ".join(f"{n} × {why}" for why, n in _reasons(failures)) or None,
    }  # fmt: skip
    proofs = [launch.result for launch in found.good if launch.result is not None]
    proof: Identity = combined(proofs)
    samples = _samples(found, ceiling, launchers, conditions, bench.counts_cpu())
    return Measurement(samples=samples, identity=proof, conditions=conditions)


def _bounds() -> tuple[int, float]:
    """What must stay of memory, and the share of time in which some task may wait for it."""
    total = memory.host_memory()["MemTotal"]
    return max(_LEAST_RESERVE_BYTES, int(_RESERVE * total)), _MEMORY_PRESSURE


def _expected_bytes(bench: Bench) -> int:
    """What an instance takes of the host at once: of a machine its RAM may all be touched."""
    if not bench.runtime.runtime_class.is_machine:
        return 0
    return bench.limits.memory_bytes or 128 * MIB


def _require(stop: Stop | None) -> None:
    """Raises LaunchFailed where the host has no room for more: a rate of what was not launched
    is none, and the trial has failed."""
    if stop is not None:
        raise LaunchFailed(f"stopped before it harms the host ({stop.rule}): {stop.text}")


def _grown(values: Sequence[float | None]) -> float | None:
    before, after = values
    return None if before is None or after is None else after - before


def _reasons(failures: Sequence[Exception]) -> Sequence[tuple[str, int]]:
    return Counter(str(failure) for failure in failures).most_common()


def _samples(
    found: Together[Identity], ceiling: Together[None], launchers: int, conditions: Conditions,
    counts_cpu: bool,
) -> tuple[Sample, ...]:  # fmt: skip
    at = {"launchers": str(launchers)}
    times = [launch.ready_s for launch in found.launches]
    good = sorted(time for time in times if time is not None)
    samples = [
        _sample("parallel.rate", len(good) / found.span_s, at),
        _sample("parallel.ceiling", len(ceiling.good) / ceiling.span_s, at),
        _sample("parallel.failures", len(times) - len(good), at),
    ]
    spent = conditions["cpu_s"]
    if counts_cpu and isinstance(spent, float):
        samples.append(_sample("parallel.cpu", spent / len(times), at))
    for q in QUANTILES:
        if len(good) >= _FEW / (1 - q) - 1e-9:
            samples.append(
                _sample("parallel.ready", _quantile(good, q), at | {"quantile": f"{q:g}"})
            )
    samples += [
        _sample("parallel.launch", time, at | {"launch": str(number)})
        for number, time in enumerate(times)
        if time is not None
    ]
    return tuple(samples)


def _quantile(ordered: Sequence[float], q: float) -> float:
    """By linear interpolation between order statistics (Hyndman and Fan's type 7)."""
    place = q * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def _sample(metric: str, value: float, dimensions: dict[str, str]) -> Sample:
    return Sample(
        metric=metric, value=value, unit=METRICS[metric].unit, dimensions=dict(dimensions)
    )
