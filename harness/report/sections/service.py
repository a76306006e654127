"""Services: when the first request was answered, and what of that came after READY."""

from __future__ import annotations

from collections.abc import Sequence

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import listed, say
from harness.analysis.sentences import Sentence
from harness.analysis.summary import MACHINES, READY, RuntimeRow, Summary
from harness.analysis.units import MISSING, quantity, with_interval
from harness.report.charts import Chart, dot_rows, dots, render, subject
from harness.report.dots import DotPlot
from harness.report.lines import Curve, draw_ecdf, ecdf_numbers
from harness.report.section import Exhibit, Section, intervals
from harness.report.tables import Table, label

_SERVED = "startup.served"


def make(run: RunData, summary: Summary) -> Section | None:
    """None where no service was asked."""
    rows = [row for row in summary.rows if len(run.values(_SERVED, row.runtime))]
    if not rows:
        return None
    program = run.manifest.get("scenario", {}).get("workload", {}).get("argv", [""])[0]
    name = str(program).rpartition("/")[2] or say("the service")
    return Section(
        name="service",
        title=say("How long until {name} answers?", name=name),
        link="Service",
        exhibits=(
            Exhibit("service", chart=_chart(run, rows), table=_table(run, rows)),
            *_curves(run, rows),
        ),
        answers=_answer(run, summary, rows, name),
    )


def _answer(
    run: RunData, summary: Summary, rows: Sequence[RuntimeRow], name: str
) -> tuple[Sentence, ...]:
    """What is said at the top: when a client had its answer, of every box but emulated ones."""
    told = [row for row in rows if not row.emulated and row.runtime_class not in MACHINES]
    if not told or summary.blocking:
        return ()
    sure = statistics.simultaneous(len(told))
    found = [
        (row.runtime, statistics.median(run.values(_SERVED, row.runtime), sure)) for row in told
    ]
    known = sorted(((n, e) for n, e in found if e is not None), key=lambda pair: pair[1].value)
    parts = [f"{n} {quantity(e.value, 's')}" for n, e in known]
    headline = say(
        "{name} has given its first answer after: {parts}.", name=name, parts=listed(parts)
    )
    return (Sentence("service", headline, intervals(known, "s")),)


def _chart(run: RunData, rows: Sequence[RuntimeRow]) -> Chart | None:
    axis = "from request to the first answer, logarithmic scale"
    plot = DotPlot(dot_rows(run, rows, _SERVED), "s", axis)
    title = say("Time from request to the first answer of a service, by runtime")
    made = dots("service", plot, title)
    return render(*made) if made else None


def _curves(run: RunData, rows: Sequence[RuntimeRow]) -> Sequence[Exhibit]:
    """How many starts had answered by when; nothing where no runtime has two values."""
    found = [(subject(row), tuple(run.values(_SERVED, row.runtime))) for row in rows]
    curves = tuple(Curve(named, values) for named, values in found if len(values) >= 2)
    if not curves:
        return ()
    title = say("Share of services that had answered by a time, a curve a runtime")
    axis = "from request to the first answer, logarithmic scale"
    chart = render(
        "service-ecdf", f"{title}.", lambda layout: draw_ecdf(curves, "s", axis, layout),
        ecdf_numbers(curves, "s"),
    )  # fmt: skip
    return (Exhibit("service_ecdf", say("How often has it answered by then?"), chart),)


def _table(run: RunData, rows: Sequence[RuntimeRow]) -> Table:
    cells = []
    for row in rows:
        served, ready = run.values(_SERVED, row.runtime), run.values(READY, row.runtime)
        poll = run.last_conditions("startup", row.runtime).get("served_poll_s")
        cells.append(
            (
                label(row),
                with_interval(statistics.median(served), "s"),
                with_interval(statistics.difference(served, ready), "s"),
                quantity(poll, "s") if isinstance(poll, float) else MISSING,
                str(len(served)),
            )
        )
    headings = ("Runtime", "First answer (95 %)", "After READY (95 %)", "Asked every", "Trials")
    return Table("From request to the first answer", headings, tuple(cells))
