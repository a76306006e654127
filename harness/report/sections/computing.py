"""What a box takes of the processor: every test beside bare metal, with the margin drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.analysis.frames import RunData
from harness.analysis.relative import Relative, beside_bare, condition
from harness.analysis.sentences import listed
from harness.analysis.summary import BARE, Summary, is_emulated
from harness.analysis.units import MISSING, digits, plural, quantity, span, times
from harness.report.charts import Chart, render, subject
from harness.report.ratios import Group, Line, Panel, draw_ratios, ratios_numbers
from harness.report.section import Exhibit, Section
from harness.report.sections.verdicts import Words, answers, verdict
from harness.report.tables import Table, label

EVENTS = "cpu.events"
TESTS: Mapping[str, str] = {
    EVENTS: "plain computing · sysbench cpu",
    "cpu.memory": "writing memory · sysbench memory",
    "cpu.syscalls": "system calls · stress-ng null",
    "cpu.switches": "context switches · stress-ng switch",
    "cpu.forks": "forks · stress-ng fork",
    "cpu.faults": "page faults · stress-ng mmap",
    "cpu.compress": "compressing · 7-Zip",
}
_BYTES = ("cpu.memory", "cpu.compress")
_AXIS = "speed relative to bare metal"


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
        f"{TESTS[r.metric]} in {r.row.runtime}, {_threads(r)}, {times(r.ratio.value)}"
        for r in shown
        if r.ratio is not None
    )
    axis = f"{_AXIS}, logarithmic scale" if logarithmic else _AXIS
    return render(
        name, f"Speed relative to bare metal, by test and runtime. {told}.",
        lambda layout: draw_ratios(panels, axis, layout, logarithmic), ratios_numbers(panels),
    )  # fmt: skip


def _panel(count: str, found: Sequence[Relative]) -> Panel:
    groups = []
    for metric, words in TESTS.items():
        own = [r for r in found if r.metric == metric]
        lines = tuple(Line(subject(r.row), r.ratio) for r in own if r.ratio is not None)
        if lines:
            margin = 1.0 if own[0].row.emulated else own[0].margin  # no verdict, no margin
            groups.append(Group(words, margin, lines))
    return Panel(plural(int(count), "thread"), tuple(groups))


def _table(found: Sequence[Relative]) -> Table:
    rows = tuple(
        (
            TESTS[r.metric],
            r.dimensions["threads"],
            label(r.row),
            _rate(r.metric, r.value.value),
            str(r.value.n),
            times(r.ratio.value) if r.ratio else MISSING,
            span(r.ratio.interval, "1") if r.ratio else MISSING,
            "the measure" if r.row.runtime == BARE else verdict(r),
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
                f"{row.runtime} ran its own kernel ({_release(kernel)}), bare metal the host's "
                f"({_release(hosts)}); in tests that call the kernel, this is part of the result."
            )
        differing = condition(run, row.runtime, "mitigations_differ")
        if differing and not is_emulated(run, row.runtime):
            notes.append(
                f"{row.runtime} has other CPU mitigations than the host ({differing}), so no "
                "verdict is given on it."
            )
    return tuple(notes)


def _release(kernel: str) -> str:
    return " ".join(kernel.split()[:2])


_WORDS = Words(
    kind="computing",
    equal=lambda names: (
        f"{listed(names)} {'computes' if len(names) == 1 else 'compute'} as fast as bare metal"
    ),
    differs=lambda name, told: f"{name} computes at {told} times bare metal’s speed",
    undecided="Whether a box slows plain computing is not decided",
    variant=lambda found: _threads(found),
)


def _threads(found: Relative) -> str:
    return plural(int(found.dimensions["threads"]), "thread")
