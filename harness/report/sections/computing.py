"""What a box takes of the processor: every test beside bare metal, with the margin drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.analysis.frames import RunData
from harness.analysis.language import later, listed, say
from harness.analysis.relative import Relative, beside_bare, condition
from harness.analysis.summary import BARE, Summary, is_emulated
from harness.analysis.units import MISSING, digits, plural, quantity, span, times
from harness.report.charts import Chart, render, subject
from harness.report.ratios import Group, Line, Panel, draw_ratios, ratios_numbers
from harness.report.section import Exhibit, Section
from harness.report.sections.verdicts import Words, answers, verdict
from harness.report.tables import Table, label

EVENTS = "cpu.events"
TESTS: Mapping[str, str] = {
    EVENTS: later("plain computing · sysbench cpu"),
    "cpu.memory": later("writing memory · sysbench memory"),
    "cpu.syscalls": later("system calls · stress-ng null"),
    "cpu.switches": later("context switches · stress-ng switch"),
    "cpu.forks": later("forks · stress-ng fork"),
    "cpu.faults": later("page faults · stress-ng mmap"),
    "cpu.compress": later("compressing · 7-Zip"),
}
_BYTES = ("cpu.memory", "cpu.compress")
_AXIS = later("speed relative to bare metal")
_LOGARITHMIC = later("speed relative to bare metal, logarithmic scale")


def make(run: RunData, summary: Summary) -> Section | None:
    """None where no trial of `cpu` succeeded."""
    found = beside_bare(run, summary, list(TESTS))
    if not found:
        return None
    plain = [r for r in found if not r.row.emulated]
    emulated = [r for r in found if r.row.emulated]
    exhibits = [
        Exhibit("computing", chart=_chart("computing", plain), table=_table(found)),
        Exhibit(
            "computing_emulated", "On a processor emulated in software",
            chart=_chart("computing-emulated", emulated, logarithmic=True),
        ),
    ]  # fmt: skip
    return Section(
        name="computing",
        title="What does the box take of the processor?",
        link="Computing",
        exhibits=tuple(e for e in exhibits if e.chart or e.table),
        notes=_notes(run, summary),
        answers=answers(run, summary, found, EVENTS, _WORDS),
    )


def _chart(name: str, found: Sequence[Relative], logarithmic: bool = False) -> Chart | None:
    shown = [r for r in found if r.ratio is not None]
    if not shown:
        return None
    counts = sorted({r.dimensions["threads"] for r in shown}, key=int)
    panels = [_panel(count, [r for r in shown if r.dimensions["threads"] == count])
              for count in counts]  # fmt: skip
    told = "; ".join(
        f"{r.row.runtime}, {say(TESTS[r.metric])}, {_threads(r)}: {times(r.ratio.value)}"
        for r in shown
        if r.ratio is not None
    )
    axis = _LOGARITHMIC if logarithmic else _AXIS
    return render(
        name, say("Speed relative to bare metal, by test and runtime. {told}.", told=told),
        lambda layout: draw_ratios(panels, axis, layout, logarithmic), ratios_numbers(panels),
    )  # fmt: skip


def _panel(count: str, found: Sequence[Relative]) -> Panel:
    groups = []
    for metric, words in TESTS.items():
        own = [r for r in found if r.metric == metric]
        lines = tuple(Line(subject(r.row), r.ratio, r.blocks) for r in own if r.ratio is not None)
        if lines:
            margin = 1.0 if own[0].row.emulated else own[0].margin  # no verdict, no margin
            groups.append(Group(words, margin, lines))
    return Panel(plural(int(count), "thread"), tuple(groups))


def _table(found: Sequence[Relative]) -> Table:
    rows = tuple(
        (
            say(TESTS[r.metric]),
            r.dimensions["threads"],
            label(r.row),
            _rate(r.metric, r.value.value),
            str(r.value.n),
            times(r.ratio.value) if r.ratio else MISSING,
            span(r.ratio.interval, "1") if r.ratio else MISSING,
            say("the measure") if r.row.runtime == BARE else verdict(r),
        )
        for r in found
    )
    headings = ("Test", "Threads", "Runtime", "Median", "Trials", "Of bare metal", "95 %",
                "Verdict")  # fmt: skip
    return Table("Every test, absolute and relative to bare metal", headings, rows)


def _rate(metric: str, value: float) -> str:
    return f"{quantity(value, 'bytes')}/s" if metric in _BYTES else f"{digits(value)}/s"


def _notes(run: RunData, summary: Summary) -> tuple[str, ...]:
    """Kernels of their own: where the calls of a guest go is not where bare metal's go."""
    hosts = condition(run, BARE, "kernel")
    notes = []
    for row in summary.rows:
        kernel = condition(run, row.runtime, "kernel")
        if hosts and kernel and kernel != hosts:
            notes.append(
                say(
                    "{runtime} ran its own kernel ({guest}), bare metal the host's ({host}); in "
                    "tests that call the kernel, this is part of the result.",
                    runtime=row.runtime,
                    guest=_release(kernel),
                    host=_release(hosts),
                )
            )
        differing = condition(run, row.runtime, "mitigations_differ")
        if differing and not is_emulated(run, row.runtime):
            notes.append(
                say(
                    "{runtime} has other CPU mitigations than the host ({differing}), so no "
                    "verdict is given on it.",
                    runtime=row.runtime,
                    differing=differing,
                )
            )
    return tuple(notes)


def _release(kernel: str) -> str:
    return " ".join(kernel.split()[:2])


_WORDS = Words(
    kind="computing",
    equal=lambda names: (
        say("{names} computes as fast as bare metal", names=listed(names))
        if len(names) == 1
        else say("{names} compute as fast as bare metal", names=listed(names))
    ),
    differs=lambda name, told: say(
        "{name} computes at {told} times bare metal’s speed", name=name, told=told
    ),
    undecided=later("Whether a box slows plain computing is not decided"),
    variant=lambda found: _threads(found),
)


def _threads(found: Relative) -> str:
    return plural(int(found.dimensions["threads"]), "thread")
