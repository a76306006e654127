"""The charts of one run: what each shows, said in words too, and its files.

Each chart is drawn twice, for a desk and for a phone, and saved as SVG and PNG.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib.figure import FigureBase

from harness.analysis import phases, statistics
from harness.analysis.apart import apart
from harness.analysis.export import write_whole
from harness.analysis.frames import RunData
from harness.analysis.language import later, say, strung
from harness.analysis.phases import Timeline
from harness.analysis.summary import CPU, IDLE, READY, RuntimeRow, Summary
from harness.analysis.units import quantity
from harness.report import ledger, lines, theme
from harness.report.dots import DotPlot, DotRow, draw_dots, drawn
from harness.report.images import image
from harness.report.ledger import LedgerRow
from harness.report.numbers import Numbers
from harness.report.sheet import STYLES, Conditions, Layout, Style, alone
from harness.report.stacks import INSTRUMENTED, Bar, Part, Stack, draw_stack
from harness.report.style import MARK_COLOUR, NARROW, WIDE, Subject, settings

PHASE_WORDS: Mapping[str, str] = {
    "created": later("until created"),
    "started": later("until the start call returns"),
    "vmm": later("until the VMM opens the channel"),
    "firmware": later("until the firmware's first byte"),
    "loader": later("until the boot loader reads its file"),
    "kernel": later("until the kernel's first byte"),
    "init": later("until the agent's first instruction"),
    "ready": later("until READY"),
    "exited": later("until dead"),
    "removed": later("until nothing is left"),
}

_MEMORY_KEY = (
    (later("guest RAM in use"), MARK_COLOUR["created"]),
    (later("VMM overhead"), "#E69F00"),
)

LEDGER = (ledger.CHARGED, ledger.HOST, ledger.PSS, ledger.RSS)
GUEST, OVERHEAD = "memory.guest_ram", "memory.vmm_overhead"

Draw = Callable[[Layout], FigureBase]


@dataclass(frozen=True)
class Chart:
    """A chart in the forms of a report, each drawn when it is first asked for.

    `alt` says in words what it shows, `numbers` are its values, and `draw` draws it.
    """

    name: str
    alt: str
    draw: Draw
    numbers: Numbers

    @cached_property
    def wide(self) -> bytes:
        """As SVG, for a desk and paper."""
        return self._svg(WIDE)

    @cached_property
    def narrow(self) -> bytes:
        """As SVG, for a phone."""
        return self._svg(NARROW)

    def _svg(self, layout: Layout) -> bytes:
        with settings():
            return image(self.draw(layout), "svg")

    @cached_property
    def themed(self) -> tuple[bytes, bytes]:
        """Wide and narrow as a page shows them, which follow its reader's light or dark."""
        return theme.themed(self.wide), theme.themed(self.narrow)

    @cached_property
    def csv(self) -> bytes:
        """Its values, a row each."""
        return self.numbers.csv()

    @property
    def title(self) -> str:
        """The first sentence of its words."""
        return re.split(r"(?<=[.。])(?:\s|(?<=。))", self.alt, maxsplit=1)[0].rstrip(".。")

    def save(self, folder: Path) -> None:
        """Write NAME.svg, NAME-narrow.svg, NAME.png and NAME.csv, as a report shows them."""
        with settings():
            drawn = self.draw(WIDE)
            vars(self)["wide"] = image(drawn, "svg")  # what the page shows too, drawn once
            write_whole(folder / f"{self.name}.png", image(drawn, "png"))
        write_whole(folder / f"{self.name}.svg", self.wide)
        write_whole(folder / f"{self.name}-narrow.svg", self.narrow)
        write_whole(folder / f"{self.name}.csv", self.csv)

    def publish(self, folder: Path, conditions: Conditions) -> None:
        """Write it in each style that stands alone, as SVG, PNG and PDF.

        `publication/NAME-180mm.svg` and `-88mm`, `slides/NAME.svg` and, where it needs further
        slides, `slides/NAME-2.svg`; `conditions` stands below each.
        """
        for style in STYLES:
            for layout in style.layouts:
                end = f"-{layout.name}" if layout.name else ""
                self._publish(folder / style.name / f"{self.name}{end}", style, layout, conditions)

    def _publish(self, stem: Path, style: Style, layout: Layout, conditions: Conditions) -> None:
        with alone(style, self.title, conditions) as chart, settings():
            while chart.page < chart.pages:
                self.draw(layout)
                assert chart.root is not None
                part = f"-{chart.page + 1}" if chart.page else ""
                for form in ("svg", "png", "pdf"):
                    data = image(chart.root, form, style.scale, dpi=300)
                    write_whole(stem.with_name(f"{stem.name}{part}.{form}"), data)
                chart.page += 1


def begun(charts: Sequence[Chart], rows: int) -> Callable[[], None]:
    """Begin to make what a page shows of these, apart where a run has so many rows; what is
    returned waits until it is there."""
    made = apart(lambda: [shown(chart) for chart in charts], rows)

    def wait() -> None:
        for chart, forms in zip(charts, made(), strict=True):
            vars(chart).update(forms)

    return wait


def shown(chart: Chart) -> Mapping[str, Any]:
    """What a page shows of a chart, made if it has not been yet."""
    return {"themed": chart.themed, "csv": chart.csv}


def draw_charts(run: RunData, summary: Summary) -> dict[str, Chart]:
    """All charts that the run's data can fill, by name."""
    return {each[0]: render(*each) for each in drawings(run, summary)}


def subject(row: RuntimeRow) -> Subject:
    """The look of a runtime."""
    return Subject(row.runtime, row.runtime_class, row.accel, row.emulated)


def render(name: str, alt: str, draw: Draw, numbers: Numbers) -> Chart:
    """A chart from the function that draws it for a layout."""
    return Chart(name, alt, draw, numbers)


def drawings(run: RunData, summary: Summary) -> Iterator[tuple[str, str, Draw, Numbers]]:
    """What `render` needs for each of them, in the order of the report."""
    rows = summary.rows
    makers = (_startup, _phases, _teardown, _ecdf, _memory, _machine_memory, _cpu)
    for make in makers:
        found = make(run, rows, summary)
        if found is not None:
            yield found
    canary = statistics.by_block(run.values("canary.work"))
    if len(canary) >= 2:
        alt = say("The canary's time by block: {range}.", range=_range(canary))
        some = drawn(list(zip(canary.index, map(float, canary), strict=True)))
        blocks, values = tuple(block for block, _ in some), tuple(value for _, value in some)
        told = tuple((n, value, "s") for n, value in zip(blocks, values, strict=True))
        numbers = Numbers(("block", "value", "unit"), told)
        yield "canary", alt, lambda layout: lines.draw_canary(blocks, values, layout), numbers


Made = tuple[str, str, Draw, Numbers] | None


def _startup(run: RunData, rows: Sequence[RuntimeRow], summary: Summary) -> Made:
    found = [(row, run.values(READY, row.runtime)) for row in rows]
    plot = DotPlot(
        tuple(
            DotRow(
                subject(row), tuple(values.tolist()),
                tuple(phases.spans(run, row.runtime, "request", "ready", warmup=True)),
                statistics.median(values),
            )
            for row, values in found
            if row.tried or len(values)
        ),
        "s", say("from request to READY, logarithmic scale"),
        summary.floor.value if summary.floor else None,
    )  # fmt: skip
    title = say("Time from request to READY by runtime, one point a trial")
    return dots("startup", plot, title)


def _cpu(run: RunData, rows: Sequence[RuntimeRow], summary: Summary) -> Made:
    del summary
    axis = say("CPU time the host spent on one launch, logarithmic scale")
    plot = DotPlot(dot_rows(run, rows, CPU), "s", axis)
    title = say("CPU seconds of one launch by runtime, one point a trial")
    return dots("cpu", plot, title)


def dot_rows(run: RunData, rows: Sequence[RuntimeRow], metric: str) -> tuple[DotRow, ...]:
    """A metric's trials as points, and their median: a row each runtime that has any."""
    found = [(row, run.values(metric, row.runtime)) for row in rows]
    return tuple(
        DotRow(subject(row), tuple(values.tolist()), (), statistics.median(values))
        for row, values in found
        if len(values)
    )


def dots(name: str, plot: DotPlot, title: str) -> Made:
    """What `render` needs for a plot, its medians told in words; None where it has no point."""
    if not any(row.values for row in plot.rows):
        return None
    told = [
        f"{row.subject.name} {quantity(row.estimate.value, plot.unit)}"
        for row in plot.rows
        if row.estimate
    ]
    hollow = [row.subject.name for row in plot.rows if row.subject.emulated]
    alt = say("{title}. Medians: {medians}.", title=title, medians=strung(told))
    if hollow:
        alt += say(" Hatched, because emulated in software: {names}.", names=strung(hollow))
    return name, alt, lambda layout: draw_dots(plot, layout), plot.numbers


def _phases(run: RunData, rows: Sequence[RuntimeRow], summary: Summary) -> Made:
    del summary
    bars = []
    for row in rows:
        found = phases.startup(run, row.runtime)
        bars += [_bar(row, found)] if found else []
        instrumented = phases.startup(run, row.runtime, "phases")
        if instrumented is not None:
            bars.append(_bar(row, instrumented))
    return _stack("phases", bars, say("Share of each phase of a start by runtime"))


def _teardown(run: RunData, rows: Sequence[RuntimeRow], summary: Summary) -> Made:
    del summary
    found = [(row, phases.teardown(run, row.runtime)) for row in rows]
    bars = [_bar(row, timeline) for row, timeline in found if timeline]
    return _stack("teardown", bars, say("Share of each phase of an end by runtime"))


def _bar(row: RuntimeRow, timeline: Timeline) -> Bar:
    parts = tuple(
        Part(say(PHASE_WORDS.get(p.mark, p.mark)), p.seconds, MARK_COLOUR.get(p.mark, "#999999"))
        for p in timeline.phases
    )
    note = say(INSTRUMENTED) if timeline.instrumented else say("median of {n}", n=timeline.trials)
    return Bar(subject(row), parts, note)


def _stack(name: str, bars: Sequence[Bar], title: str) -> Made:
    if not bars:
        return None
    key = tuple((say(words), MARK_COLOUR[mark]) for mark, words in PHASE_WORDS.items())
    stack = Stack(tuple(bars), "s", key)
    alt = say("{title}. {told}.", title=title, told=_told(bars, "s"))
    return name, alt, lambda layout: draw_stack(stack, layout), stack.numbers


def _ecdf(run: RunData, rows: Sequence[RuntimeRow], summary: Summary) -> Made:
    del summary
    curves = tuple(
        lines.Curve(subject(row), tuple(values.tolist()))
        for row in rows
        if len(values := run.values(READY, row.runtime)) >= 2
    )
    if not curves:
        return None
    alt = say(
        "{title}. {told}.",
        title=say("Share of starts that were ready by a time, a curve a runtime"),
        told="; ".join(f"{c.subject.name}: {_range(c.values)}" for c in curves),
    )
    axis = say("from request to READY, logarithmic scale")
    numbers = lines.ecdf_numbers(curves, "s")
    return "ecdf", alt, lambda layout: lines.draw_ecdf(curves, "s", axis, layout), numbers


def _memory(run: RunData, rows: Sequence[RuntimeRow], summary: Summary) -> Made:
    del summary
    found = tuple(_ledger_row(run, row) for row in rows if row.memory_tried)
    if not any(e for row in found for e in row.estimates.values()):
        return None
    told = [
        f"{r.subject.name} {quantity(e.value, 'bytes')}"
        for r in found
        if (e := r.estimates[ledger.CHARGED]) is not None
    ]
    alt = say("Memory of one idle instance by runtime. Charged: {told}.", told=strung(told))
    numbers = ledger.ledger_numbers(found)
    return "memory", alt, lambda layout: ledger.draw_ledger(found, layout), numbers


def _ledger_row(run: RunData, row: RuntimeRow) -> LedgerRow:
    values = {metric: run.values(metric, row.runtime, state=IDLE) for metric in LEDGER}
    return LedgerRow(
        subject(row),
        {metric: statistics.median(own) for metric, own in values.items()},
        {metric: tuple(values[metric].tolist()) for metric in ledger.TOTALS},
    )


def _machine_memory(run: RunData, rows: Sequence[RuntimeRow], summary: Summary) -> Made:
    del summary
    bars = []
    for row in rows:
        guest = statistics.median(run.values(GUEST, row.runtime, state=IDLE))
        overhead = statistics.median(run.values(OVERHEAD, row.runtime, state=IDLE))
        if guest is not None and overhead is not None and overhead.value >= 0:
            values = (guest.value, overhead.value)
            parts = tuple(
                Part(say(label), v, colour)
                for (label, colour), v in zip(_MEMORY_KEY, values, strict=True)
            )
            bars.append(Bar(subject(row), parts, say("sum of two medians")))
    if not bars:
        return None
    stack = Stack(tuple(bars), "bytes", tuple((say(label), c) for label, c in _MEMORY_KEY))
    title = say("What a machine's memory is made of")
    alt = say("{title}. {told}.", title=title, told=_told(bars, "bytes"))
    return "machine-memory", alt, lambda layout: draw_stack(stack, layout), stack.numbers


def _told(bars: Sequence[Bar], unit: str) -> str:
    """Bars in words."""
    texts = []
    for bar in bars:
        parts = strung([f"{p.label} {quantity(p.value, unit)}" for p in bar.parts])
        texts.append(f"{bar.subject.name}: {parts}")
    return "; ".join(texts)


def _range(values: Iterable[float]) -> str:
    return say("{low} to {high}", low=quantity(min(values), "s"), high=quantity(max(values), "s"))
