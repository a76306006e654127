"""How much memory an instance holds: idle, touched, freed, ballooned, and what boxes share.

Instances are added one after another and both sides of the ledger are read
(harness/experiments/ledger.py); what one idle instance holds is the slope. Then, where the
scenario asks for it, each instance writes so many bytes and says that it holds them, gives
them back, and, where its machine has a balloon, is asked for them once more. What the first
took and what the others brought back is read from the same two sides, so it shows that freed
is not always returned. With thousands of pages moved, the host's side tells it too.

The host's side moves by itself: by how much is seen in an idle moment before the ramp, and in
what has not come back after it. It counts only where ten times as much was moved; otherwise
it is absent.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.experiments import ledger, pagecache
from harness.experiments.bench import Bench, Measurement
from harness.experiments.fleet import Fleet
from harness.experiments.identity import combined
from harness.experiments.ledger import Point
from harness.model import Balloons, HasDaemon, Instance, Sample
from harness.probes import memory as probe
from harness.settings import Memory
from harness.sizes import size_bytes

_FLOWS: Sequence[tuple[str, str, str, Mapping[str, str]]] = (
    ("taken", "idle", "touched", {}),
    ("returned", "touched", "freed", {"by": "free"}),
    ("returned", "freed", "ballooned", {"by": "balloon"}),
)
"""What moved between two states: the metric, the states, and the dimensions it gets."""

_HIDDEN = "memory.pss and memory.rss: this user may not look into a process of the boxes"

Change = Callable[[Memory, Sequence[Instance]], bool]


@dataclass(frozen=True)
class Account:
    """What was read in a trial: the points of the idle ramp, and one after each change.

    `variation` is by how much the host moved without our doing; `touched` what each of `n`
    instances said that it held.
    """

    n: int
    ramp: Sequence[tuple[int, Point]]
    held: Mapping[str, Point]
    touched: int
    variation: float

    def samples(self) -> list[Sample]:
        """Bytes an instance, in each state and between states."""
        found = self._held_in("idle", self._slopes())
        for state in self.held:
            if state != "idle":
                found += self._held_in(state, self._shares(state))
        for name, before, after, more in _FLOWS:
            if before in self.held and after in self.held:
                found += self._moved(name, before, after, more)
        return found

    def fell(self, state: str) -> float:
        """By how much the host's memory fell until all instances were in a state."""
        return self.held[state]["host_delta"] - self.ramp[0][1]["host_delta"]

    def _slopes(self) -> dict[str, float]:
        keys = self.ramp[-1][1]
        return {k: ledger.slope([(n, p[k]) for n, p in self.ramp if k in p]) for k in keys}

    def _shares(self, state: str) -> dict[str, float]:
        before, point = self.ramp[0][1], self.held[state]
        return {k: (point[k] - before[k]) / self.n for k in point if k in before}

    def _held_in(self, state: str, values: dict[str, float]) -> list[Sample]:
        """The ledger of an instance in a state, its remainder computed where both sides are."""
        if self.fell(state) < ledger.SIGNAL_TO_IDLE * self.variation:
            values.pop("host_delta")
        elif "charged" in values:
            values["remainder"] = values["host_delta"] - values["charged"]
        more = {} if state == "idle" else {"touched": str(self.touched)}
        return [self._sample(key, value, state=state, **more) for key, value in values.items()]

    def _moved(self, name: str, before: str, after: str, more: Mapping[str, str]) -> list[Sample]:
        """What was taken or returned; what comes back may be nothing, so what was touched is
        the signal that the host's side is held against."""
        clear = self.n * self.touched >= ledger.SIGNAL_TO_IDLE * self.variation
        sides = {"charged": "charged"} | ({"host": "host_delta"} if clear else {})
        first, last = self.held[before], self.held[after]
        sign = 1 if name == "taken" else -1
        return [
            self._sample(
                name, sign * (last[key] - first[key]) / self.n,
                side=side, touched=str(self.touched), **more,
            )
            for side, key in sides.items()
            if key in first and key in last
        ]  # fmt: skip

    def _sample(self, name: str, value: float, **dimensions: str) -> Sample:
        return Sample(
            metric=f"memory.{name}", value=value, unit="bytes",
            dimensions={**dimensions, "n": str(self.n)},
        )  # fmt: skip


def measure(bench: Bench, settings: Memory) -> Measurement:
    """One ramp and its changes of state; every value is bytes an instance."""
    if bench.elsewhere:
        return Measurement(conditions={"not_counted": "the boxes are on another host"})
    n = _target(bench, settings)
    begin, variation = probe.host_available_bytes(), ledger.idle_variation()
    touched, held = 0, dict[str, Point]()
    with _fleet(bench, settings) as fleet:
        ramp = [(0, ledger.read_point(bench, ()))]
        for size in _steps(n, bench.runtime.runtime_class.is_machine):
            _grow(bench, fleet, size)
            ramp.append((size, ledger.read_point(bench, fleet.boxes)))
        held["idle"] = ramp[-1][1]
        if "touched" in settings.states:
            touched = _touch(bench, settings, fleet.boxes)
            held["touched"] = ledger.read_point(bench, fleet.boxes)
        for state, change in _CHANGES.items():
            if state in settings.states and change(settings, fleet.boxes):
                held[state] = ledger.read_point(bench, fleet.boxes)
        proofs = [bench.prove(box) for box in fleet.boxes]
    drift = float(abs(probe.host_available_bytes() - begin))
    variation = max(variation, drift, ledger.counter_drift_bytes())
    account = Account(n, ramp, held, touched, variation)
    samples = account.samples()
    if "cache" in settings.states:
        with _fleet(bench, settings) as fleet:
            _grow(bench, fleet, n)
            samples += pagecache.share(bench, fleet.boxes, size_bytes(settings.read))
            proofs += [bench.prove(box) for box in fleet.boxes]
    return Measurement(
        samples=tuple(samples),
        identity=combined(proofs),
        conditions={
            "idle_variation_bytes": variation,
            "host_fell_bytes": account.fell("idle"),
            "instances": n,
        } | ({"touched_bytes": touched, "settle_s": settings.settle_s} if touched else {})
        | ({} if "pss" in held["idle"] else {"not_counted": _HIDDEN}),
    )  # fmt: skip


def _fleet(bench: Bench, settings: Memory) -> Fleet:
    return Fleet(lambda marks: bench.instance(marks, settings.ready_timeout_s))


def _target(bench: Bench, settings: Memory) -> int:
    if bench.runtime.runtime_class.is_machine:
        return settings.machine_instances
    return settings.engine_instances if isinstance(bench.runtime, HasDaemon) else settings.instances


def _steps(target: int, machines: bool) -> Sequence[int]:
    """Machines go up in one step, several booting at once; the rest in two."""
    return [target] if machines else [target // 2, target]


def _grow(bench: Bench, fleet: Fleet, size: int) -> None:
    """Launch until there are `size` instances; machines boot side by side."""
    missing = size - len(fleet)
    if bench.runtime.runtime_class.is_machine:
        fleet.launch(missing)
        return
    for _ in range(missing):
        fleet.launch()


def _touch(bench: Bench, settings: Memory, boxes: Sequence[Instance]) -> int:
    """Have each instance write its bytes; returns what the least of them says that it holds."""
    bench.tell(f"{len(boxes)} instances write {settings.touched} each")
    wanted = size_bytes(settings.touched)
    return min(box.touch(wanted) for box in boxes)


def _free(settings: Memory, boxes: Sequence[Instance]) -> bool:
    """Have each give back what it wrote. A guest tells its host late, if it tells it at all,
    and no event says that it is not going to: so the wait is the scenario's to set."""
    for box in boxes:
        box.release()
    time.sleep(settings.settle_s)
    return True


def _inflate(settings: Memory, boxes: Sequence[Instance]) -> bool:
    """Ask machines with a balloon for what they had touched; False where there is none."""
    able = [box for box in boxes if isinstance(box, Balloons)]
    for box in able:
        box.inflate(size_bytes(settings.touched))
    return bool(able)


_CHANGES: Mapping[str, Change] = {"freed": _free, "ballooned": _inflate}
"""What brings instances from the state before to the next, in this order."""
