"""A workload of the user's own: its metrics by runtime, and beside bare metal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis.frames import RunData
from harness.analysis.language import later, listed, say
from harness.analysis.relative import Relative, beside_bare
from harness.analysis.sentences import Sentence
from harness.analysis.summary import BARE, Summary, direction
from harness.analysis.units import MISSING, quantity, span, times
from harness.report.charts import Chart, render, subject
from harness.report.ratios import Group, Line, Panel, draw_ratios, ratios_numbers
from harness.report.section import Exhibit, Section
from harness.report.sections.verdicts import Words, answers, verdict
from harness.report.tables import Table, label

_OWN = ("job.duration", "job.cpu")
_BETTER: Mapping[str, str] = {
    "lower": later("lower is better"),
    "higher": later("higher is better"),
}


def make(run: RunData, summary: Summary) -> Section | None:
    """None where no trial of `job` succeeded."""
    declared: Mapping[str, Any] = run.manifest.get("metrics") or {}
    found = beside_bare(run, summary, [*declared, *_OWN])
    if not found:
        return None
    better = {each.metric: direction(run, each.metric) for each in found}
    plain = [r for r in found if not r.row.emulated]
    emulated = [r for r in found if r.row.emulated]
    exhibits = (
        Exhibit("job", chart=_chart("job", plain, better), table=_table(found, better)),
        Exhibit(
            "job_emulated", "On a processor emulated in software",
            chart=_chart("job-emulated", emulated, better, logarithmic=True),
        ),
    )  # fmt: skip
    return Section(
        name="job",
        title="What does the box do to the workload?",
        link="The workload",
        exhibits=tuple(e for e in exhibits if e.chart or e.table),
        answers=_answers(run, summary, found),
    )


def _chart(
    name: str, found: Sequence[Relative], better: Mapping[str, str], logarithmic: bool = False
) -> Chart | None:
    groups: dict[str, list[Relative]] = {}
    for each in found:
        if each.ratio is not None:
            groups.setdefault(
                f"{_series(each)} · {say(_BETTER.get(better[each.metric], ''))}", []
            ).append(each)
    if not groups:
        return None
    panel = Panel(
        "",
        tuple(
            Group(
                heading,
                1.0 if logarithmic else own[0].margin,
                tuple(Line(subject(r.row), r.ratio, r.blocks) for r in own if r.ratio is not None),
            )
            for heading, own in groups.items()
        ),
    )
    told = "; ".join(
        f"{r.row.runtime}, {_series(r)}: {times(r.ratio.value)}" for r in found if r.ratio
    )
    axis = later("relative to bare metal, logarithmic scale")
    axis = axis if logarithmic else later("relative to bare metal")
    return render(
        name, say("The workload’s metrics relative to bare metal. {told}.", told=told),
        lambda layout: draw_ratios([panel], axis, layout, logarithmic), ratios_numbers([panel]),
    )  # fmt: skip


def _table(found: Sequence[Relative], better: Mapping[str, str]) -> Table:
    rows = tuple(
        (
            _series(r),
            label(r.row),
            quantity(r.value.value, r.unit),
            span(r.value.interval, r.unit),
            str(r.value.n),
            say(better[r.metric]),
            times(r.ratio.value) if r.ratio else MISSING,
            span(r.ratio.interval, "1") if r.ratio else MISSING,
            say("the measure") if r.row.runtime == BARE else verdict(r),
        )
        for r in found
    )
    headings = ("Metric", "Runtime", "Median", "95 %", "Trials", "Better", "Of bare metal",
                "95 %", "Verdict")  # fmt: skip
    return Table("The workload’s metrics, absolute and relative to bare metal", headings, rows)


def _series(found: Relative) -> str:
    """The metric with its dimensions."""
    dimensions = (f"{key} {value}" for key, value in found.dimensions.items())
    return ", ".join([found.metric, *dimensions])


def _answers(run: RunData, summary: Summary, found: Sequence[Relative]) -> tuple[Sentence, ...]:
    """On the first metric that the user declared, else on the duration."""
    metric = found[0].metric
    words = Words(
        kind="job",
        equal=lambda names: say(
            "{metric} in {names} equals that of bare metal", metric=metric, names=listed(names)
        ),
        differs=lambda name, told: say(
            "{metric} in {name} is {told} times that of bare metal",
            metric=metric,
            name=name,
            told=told,
        ),
        undecided=say("Whether {metric} differs from bare metal is not decided", metric=metric),
        variant=lambda r: ", ".join(f"{key} {value}" for key, value in r.dimensions.items()),
    )
    told = answers(run, summary, found, metric, words)
    if told:
        return told
    values = [
        say("{value} in {name}", value=quantity(r.value.value, r.unit), name=label(r.row))
        for r in found
        if r.metric == metric
    ]
    return (
        Sentence(
            "job",
            say("{metric}: {values}.", metric=metric, values=listed(values)),
            say("Medians of all trials."),
        ),
    )
