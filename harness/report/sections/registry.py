"""A registry: push and pull of an image, cold and with shared layers, beside the copy of a disk."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import later, listed, say
from harness.analysis.sentences import Sentence
from harness.analysis.statistics import Estimate
from harness.analysis.summary import RuntimeRow, Summary
from harness.analysis.units import MISSING, quantity
from harness.report.charts import Chart
from harness.report.lanes import lane, lanes_chart, level_rows
from harness.report.levels import Lane, LevelPlot
from harness.report.section import Exhibit, Section, intervals
from harness.report.tables import Table, how_often, label, with_number

COLD, SHARED = "cold", "shared"
WAYS = {"push": later("push"), "pull": later("pull")}
STATES = {COLD: later("cold"), SHARED: later("shared layers")}
DISK, DISK_BYTES = "registry.disk_copy", "registry.disk_copy_bytes"
_COPY = later("copy of a disk")


def make(run: RunData, summary: Summary) -> Section | None:
    """None where nothing was pushed."""
    rows = [row for row in summary.rows if len(run.values("registry.push", row.runtime))]
    if not rows:
        return None
    return Section(
        name="registry",
        title="What travels, when an image does?",
        link="Registry",
        exhibits=(
            Exhibit("registry_bytes", "How many bytes?", _bytes(run, rows),
                    _table(run, rows, "bytes")),
            Exhibit("registry_push", "How long does a push take?", _times(run, rows, "push")),
            Exhibit("registry_pull", "And a pull?", _times(run, rows, "pull")),
            Exhibit("registry_times", table=_table(run, rows, "s"), folded=False),
        ),
        answers=_answers(run, summary, rows),
    )  # fmt: skip


def _median(
    run: RunData, row: RuntimeRow, metric: str, confidence: float = 0.95, **dimensions: str
) -> Estimate | None:
    return statistics.median(run.values(metric, row.runtime, **dimensions), confidence)


def _lane(run: RunData, row: RuntimeRow, metric: str, text: str, **dimensions: str) -> Lane | None:
    values = run.values(metric, row.runtime, **dimensions)
    return lane(text, values, {"median": statistics.median(values)})


def _bytes(run: RunData, rows: Sequence[RuntimeRow]) -> Chart | None:
    """Pushes alone: a pull moves the same blobs, and the table has both."""
    lanes = [
        (row, [
            *(_lane(run, row, "registry.push_bytes", _way("push", s), state=s) for s in STATES),
            _lane(run, row, DISK_BYTES, say(_COPY)),
        ]) for row in rows
    ]  # fmt: skip
    axis = later("bytes moved, logarithmic scale")
    plot = LevelPlot(level_rows(lanes), ("median",), "bytes", axis)
    return lanes_chart("registry-bytes", say("Bytes of an image on its way, by engine"), plot)


def _times(run: RunData, rows: Sequence[RuntimeRow], way: str) -> Chart | None:
    lanes = [
        (row, [
            *(_lane(run, row, f"registry.{way}", say(STATES[s]), state=s) for s in STATES),
            _lane(run, row, DISK, say(_COPY)),
        ]) for row in rows
    ]  # fmt: skip
    axis = later("until the engine is done, logarithmic scale")
    plot = LevelPlot(level_rows(lanes), ("median",), "s", axis)
    title = say("Time of a push by engine") if way == "push" else say("Time of a pull by engine")
    return lanes_chart(f"registry-{way}", title, plot)


def _way(way: str, state: str) -> str:
    return say("{way}, {state}", way=say(WAYS[way]), state=say(STATES[state]))


def _table(run: RunData, rows: Sequence[RuntimeRow], unit: str) -> Table:
    suffix = "_bytes" if unit == "bytes" else ""
    cells: list[tuple[str, ...]] = []
    for row in rows:
        for way in WAYS:
            name = f"registry.{way}{suffix}"
            cells.append((
                f"{label(row)}, {say(WAYS[way])}",
                *(with_number(_median(run, row, name, state=state), unit) for state in STATES),
                how_often(*(run.values(name, row.runtime, state=state) for state in STATES)),
            ))  # fmt: skip
        own = _median(run, row, f"{DISK}{suffix}")
        cells.append((f"{label(row)}, {say(_COPY)}", with_number(own, unit), MISSING, MISSING))
    caption = "Bytes of an image on its way" if unit == "bytes" else "Time of an image on its way"
    names = ("Cold (95 %)", "With shared layers (95 %)", "Cold over shared")
    return Table(say(caption), ("Runtime, way", *names), tuple(cells))


def _answers(run: RunData, summary: Summary, rows: Sequence[RuntimeRow]) -> tuple[Sentence, ...]:
    """What is said at the top: what moved the first time, and when layers were shared."""
    if summary.blocking:
        return ()
    sure = statistics.simultaneous(2 * len(rows))
    name = "registry.push_bytes"
    found = {
        row.runtime: [_median(run, row, name, sure, state=state) for state in STATES]
        for row in rows
    }
    known = {n: (cold, more) for n, (cold, more) in found.items() if cold and more}
    if not known:
        return ()
    parts = [
        say("{runtime} {cold} and then {shared}", runtime=runtime,
            cold=quantity(cold.value, "bytes"), shared=quantity(more.value, "bytes"))
        for runtime, (cold, more) in known.items()
    ]  # fmt: skip
    headline = say(
        "To push an image to an empty registry, and then one with a layer more, moves: {parts}.",
        parts=listed(parts),
    )
    named = [(runtime, each) for runtime, pair in known.items() for each in pair]
    return (Sentence("registry", headline, intervals(named, "bytes")),)
