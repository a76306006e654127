"""What the boxes did over time: the sampler's counters, one trial a runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from harness.analysis import timeseries
from harness.analysis.frames import RunData
from harness.analysis.language import later, say
from harness.analysis.summary import RuntimeRow, Summary
from harness.analysis.timeseries import Trace
from harness.analysis.units import MISSING, percent, plural, quantity
from harness.errors import UsageError
from harness.report.charts import Chart, render, subject
from harness.report.section import Exhibit, Section
from harness.report.tables import Table, label
from harness.report.traces import Panel, draw_traces, traces_numbers
from harness.series import Cost

_TITLE, _LINK = "What did the boxes do meanwhile?", "Over time"

Floats = npt.NDArray[np.float64]
Sum = Callable[[Mapping[str, Floats]], Floats | None]


@dataclass(frozen=True)
class View:
    """One kind of chart: which counters it adds up, and in which unit they are drawn.

    `host` draws the whole host behind, where the boxes' share of it is the question. What never
    rises above `least` is not drawn.
    """

    name: str
    title: str
    unit: str
    suffix: str
    counters: tuple[str, ...]
    scale: float = 1.0
    host: bool = False
    least: float = 0.0


VIEWS = (
    View("cpu", later("Processors in use"), "1", "", ("cpu_ns",), 1e-9, host=True),
    View("memory", later("Memory held"), "bytes", "", ("memory_bytes", "rss_bytes")),
    View(
        "disk",
        later("Disk, read and written"),
        "bytes",
        "/s",
        ("read_bytes", "write_bytes"),
        least=1024,
    ),
    View(
        "network",
        later("Network, in and out"),
        "bytes",
        "/s",
        ("receive_bytes", "transmit_bytes"),
        least=1024,
    ),
)


def make(run: RunData, summary: Summary) -> Section | None:
    """Charts over time of every experiment that was sampled; None where none was."""
    try:
        series = timeseries.load(run)
    except UsageError as error:
        return Section("timeseries", _TITLE, _LINK, (), notes=(f"{error.message}.",))
    if series is None:
        return None
    rows = {row.runtime: row for row in summary.rows}
    found: dict[str, dict[str, list[Trace]]] = {}
    for trace in timeseries.traces(run, series):
        found.setdefault(trace.experiment, {}).setdefault(trace.runtime, []).append(trace)
    exhibits: list[Exhibit] = []
    for experiment, by_runtime in found.items():
        by_runtime = {name: by_runtime[name] for name in rows if name in by_runtime}
        shown = [(rows[name], _typical(all_)) for name, all_ in by_runtime.items()]
        exhibits += _charts(experiment, shown)
        exhibits.append(
            Exhibit(
                f"timeseries-{experiment}-table",
                table=_table(experiment, by_runtime, rows),
            )
        )
    if not exhibits:
        return None
    exhibits.append(Exhibit("timeseries-cost", table=_costs(series.costs)))
    left: tuple[str, ...] = ()
    if series.whole is not None:
        kept, whole = series.table.num_rows, series.whole
        left = (say("This file has {kept} of the run’s {whole} readings.", kept=kept, whole=whole),)
    return Section("timeseries", _TITLE, _LINK, tuple(exhibits), notes=left)


def _typical(traces: Sequence[Trace]) -> Trace:
    """The trial of median length: medians of curves are no curve of anything."""
    return sorted(traces, key=lambda trace: trace.seconds[-1])[len(traces) // 2]


def _charts(experiment: str, shown: Sequence[tuple[RuntimeRow, Trace]]) -> Sequence[Exhibit]:
    exhibits = []
    for view in VIEWS:
        panels = tuple(panel for row, trace in shown if (panel := _panel(view, row, trace)))
        if any(panel.boxes.max() > view.least for panel in panels):
            name = f"timeseries-{experiment}-{view.name}"
            heading = f"{say(view.title)}: {say(experiment)}"
            exhibits.append(Exhibit(name, heading, _chart(name, heading, view, panels)))
    return exhibits


def _chart(name: str, heading: str, view: View, panels: Sequence[Panel]) -> Chart:
    told = [
        say(
            "{name} up to {most}",
            name=panel.subject.name,
            most=f"{quantity(float(panel.boxes.max()), view.unit)}{view.suffix}",
        )
        for panel in panels
    ]
    title = say("{heading}, over the time of one trial a runtime", heading=heading)
    alt = say("{title}. {told}.", title=title, told="; ".join(told))
    return render(
        name, alt, lambda layout: draw_traces(panels, view.unit, view.suffix, layout),
        traces_numbers(panels, f"{view.unit}{view.suffix}"),
    )  # fmt: skip


def _panel(view: View, row: RuntimeRow, trace: Trace) -> Panel | None:
    boxes = _added(view, trace.boxes)
    host = _added(view, trace.host) if view.host else None
    if boxes is None:
        return None
    most = int(trace.instances.max())
    note = say(
        "{instances} at once, trial {trial}", instances=plural(most, "instance"), trial=trace.trial
    )
    return Panel(subject(row), note, trace.seconds, boxes, host)


def _added(view: View, counters: Mapping[str, Floats]) -> Floats | None:
    there = [counters[name] for name in view.counters if name in counters]
    return None if not there else np.asarray(np.sum(there, axis=0) * view.scale)


def _table(
    experiment: str, by_runtime: Mapping[str, Sequence[Trace]], rows: Mapping[str, RuntimeRow]
) -> Table:
    """Medians over trials of what each trial used."""
    cells = []
    for name, traces in by_runtime.items():
        used = [[_figure(view, trace) for trace in traces] for view in VIEWS]
        cells.append(
            (
                label(rows[name]), str(len(traces)),
                str(int(median(trace.instances.max() for trace in traces))),
                *(_median(values, view) for view, values in zip(VIEWS, used, strict=True)),
            )
        )  # fmt: skip
    headings = ("Runtime", "Trials", "Most instances", "Processors, mean", "Memory, most",
                "Disk, in all", "Network, in all")  # fmt: skip
    caption = say(
        "Used by all instances of a trial: {experiment}, medians", experiment=say(experiment)
    )
    return Table(caption, headings, tuple(cells))


def _figure(view: View, trace: Trace) -> float | None:
    """Mean of the processors, the most of memory, the whole of what was moved."""
    values = _added(view, trace.boxes)
    if values is None:
        return None
    if view.name == "memory":
        return float(values.max())
    moved = float(np.trapezoid(values, trace.seconds))
    return moved / float(trace.seconds[-1]) if view.name == "cpu" else moved


def _median(values: Sequence[float | None], view: View) -> str:
    known = [value for value in values if value is not None]
    return quantity(median(known), view.unit) if known else MISSING


def _costs(costs: Sequence[Cost]) -> Table:
    """What the sampler itself took; a resumed run has had several."""
    rows = tuple(
        (
            f"{cost.hz} Hz", f"{quantity(cost.achieved_hz, '1')} Hz", str(cost.ticks),
            str(cost.late), str(cost.instances), percent(cost.share),
        )
        for cost in costs
        if cost.ticks
    )  # fmt: skip
    headings = ("Asked for", "Achieved", "Readings", "Left out", "Most instances", "Of one core")
    return Table("The sampler’s own cost", headings, rows)
