"""How much of a start is what was built around another box, and not that box itself.

An engine names in its versions the runtime that it calls. Where that very program, in that very
version, was also measured alone and in the same blocks, what its start leaves of the engine's is
the engine's own: daemons, their records, a network. That is one less a ratio of two medians, and
its interval is that of the ratio.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.statistics import Estimate, Interval


@dataclass(frozen=True)
class Layers:
    """`share` of `whole`'s time is not that of `part`, which it calls; `others` are the rest of
    what `whole` says that it is made of, and `network` is the kind of its network, or empty."""

    whole: str
    part: str
    others: tuple[str, ...]
    network: str
    share: Estimate


def read(run: RunData, names: Sequence[str], metric: str, confidence: float) -> tuple[Layers, ...]:
    """Each of these runtimes that is built around another one of them."""
    made = {name: _versions(run, name) for name in names}
    alone = {
        next(iter(of.items())): name
        for name, of in reversed(made.items())
        if len(of) == 1 and name.partition(",")[0] in of
    }
    found = []
    for whole, of in made.items():
        parts = [alone[each] for each in of.items() if each in alone and len(of) > 1]
        share = _share(run, whole, parts[0], metric, confidence) if parts else None
        if share is not None:
            others = tuple(name for name in of if name != parts[0].partition(",")[0])
            found.append(Layers(whole, parts[0], others, _network(run, whole), share))
    return tuple(found)


def _share(run: RunData, whole: str, part: str, metric: str, confidence: float) -> Estimate | None:
    ratio = statistics.ratio(run.values(metric, part), run.values(metric, whole), confidence)
    if ratio is None or ratio.interval is None or ratio.interval.high >= 1:
        return None
    low, high = 1 - ratio.interval.high, 1 - ratio.interval.low
    return Estimate(1 - ratio.value, ratio.n, Interval(low, high, confidence))


def _versions(run: RunData, runtime: str) -> Mapping[str, str]:
    facts = run.manifest.get("runtimes", {}).get(runtime, {})
    return {str(name): str(version) for name, version in facts.get("versions", {}).items()}


def _network(run: RunData, runtime: str) -> str:
    """As the runtime's own notes tell it."""
    notes = run.manifest.get("runtimes", {}).get(runtime, {}).get("notes", [])
    kinds = [str(n).removeprefix("network ") for n in notes if str(n).startswith("network ")]
    return "" if not kinds or kinds[0] == "none" else kinds[0]
