"""Several launches at once: how many a second, how late, and how many failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import later, listed, say
from harness.analysis.sentences import Sentence
from harness.analysis.statistics import Estimate
from harness.analysis.summary import CONTAINERS, RuntimeRow, Summary
from harness.analysis.units import MISSING, percent, quantity, with_interval
from harness.report.charts import Chart, dots, render, subject
from harness.report.dots import DotPlot, DotRow
from harness.report.lines import Curve, draw_ecdf, ecdf_numbers
from harness.report.section import Exhibit, Section, intervals
from harness.report.tables import Table, label

_QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True)
class _Row:
    """One runtime: its rate a trial, all its launches, and what failed of them."""

    row: RuntimeRow
    launchers: str
    rates: pd.Series[float]
    rate: Estimate
    ceiling: Estimate | None
    times: pd.Series[float]
    failures: int
    reasons: str


def make(run: RunData, summary: Summary) -> Section | None:
    """None where the run has no launches side by side."""
    rows = [found for row in summary.rows if (found := _row(run, row)) is not None]
    if not rows:
        return None
    launchers = say(" or ").join(dict.fromkeys(row.launchers for row in rows))
    failed = [f"{row.row.runtime}: {row.reasons}" for row in rows if row.failures]
    return Section(
        name="parallel",
        title=say("What if {launchers} are started at a time?", launchers=launchers),
        link="Side by side",
        answers=_answer(run, summary, rows),
        notes=tuple(
            say("Launches failed, and are in no time below. {text}.", text=text) for text in failed
        ),
        exhibits=(
            Exhibit("parallel_rate", "How many a second?", _rates(run, rows), _table(rows)),
            Exhibit("parallel_launch", "How late is a launch among others?", _launches(rows),
                    _quantiles(rows)),
        ),
    )  # fmt: skip


def _row(run: RunData, row: RuntimeRow) -> _Row | None:
    rates = run.values("parallel.rate", row.runtime)
    rate = statistics.median(rates)
    if rate is None:
        return None
    own = next(s for s in run.series("parallel.rate") if s.runtime == row.runtime)
    return _Row(
        row=row,
        launchers=own.dimensions["launchers"],
        rates=rates,
        rate=rate,
        ceiling=statistics.median(run.values("parallel.ceiling", row.runtime)),
        times=run.values("parallel.launch", row.runtime),
        failures=int(run.values("parallel.failures", row.runtime).sum()),
        reasons=_reasons(run, row.runtime),
    )


def _answer(run: RunData, summary: Summary, rows: Sequence[_Row]) -> tuple[Sentence, ...]:
    """What is said at the top: rates of boxes on the host's kernel, each with its interval."""
    told = [r for r in rows if r.row.runtime_class in CONTAINERS]
    if not told or summary.blocking:
        return ()
    sure = statistics.simultaneous(len(told))
    told.sort(key=lambda r: -r.rate.value)
    parts = [f"{r.row.runtime} {quantity(r.rate.value, '1/s')}" for r in told]
    found = [
        (r.row.runtime, rate)
        for r in told
        if (rate := statistics.median(r.rates, sure)) is not None
    ]
    headline = say(
        "Launches a second, {n} at a time: {parts}.", n=told[0].launchers, parts=listed(parts)
    )
    return (Sentence("parallel", headline, intervals(found, "1/s")),)


def _reasons(run: RunData, runtime: str) -> str:
    """What the trials say of their failed launches, each reason once."""
    own = run.kinds("runtime").among(runtime) & run.kinds("warmup").among("no")
    told = run.told("conditions", "failures")
    return "; ".join(str(text) for text in told[own[told.index]].unique() if text)


def _rates(run: RunData, rows: Sequence[_Row]) -> Chart | None:
    ceiling = statistics.median(run.values("parallel.ceiling"))
    plot = DotPlot(
        tuple(DotRow(subject(r.row), tuple(r.rates), (), r.rate) for r in rows),
        "1/s",
        later("good launches a second, logarithmic scale"),
        None if ceiling is None else ceiling.value,
        later("the harness's own ceiling"),
    )
    made = dots("parallel_rate", plot, say("Launches a second by runtime, one point a trial"))
    return render(*made) if made else None


def _launches(rows: Sequence[_Row]) -> Chart:
    curves = tuple(Curve(subject(r.row), tuple(r.times)) for r in rows if len(r.times) >= 2)
    told = ", ".join(f"{r.row.runtime} {quantity(float(r.times.median()), 's')}" for r in rows)
    title = say("Share of launches that were ready by a time, a curve a runtime")
    alt = say("{title}. Medians: {medians}.", title=title, medians=told)
    axis = later("from a launch's own request to READY, logarithmic scale")
    return render(
        "parallel_launch", alt, lambda layout: draw_ecdf(curves, "s", axis, layout),
        ecdf_numbers(curves, "s"),
    )  # fmt: skip


def _table(rows: Sequence[_Row]) -> Table:
    cells = tuple(
        (
            label(r.row),
            r.launchers,
            with_interval(r.rate, "1/s"),
            quantity(r.ceiling.value, "1/s") if r.ceiling else MISSING,
            percent(r.rate.value / r.ceiling.value) if r.ceiling else MISSING,
            say("{some} of {all}", some=r.failures, all=r.failures + len(r.times)),
            r.reasons,
        )
        for r in rows
    )
    headings = ("Runtime", "At a time", "Good launches a second (95 %)", "Ceiling",
                "Share of the ceiling", "Failed", "Why")  # fmt: skip
    return Table("Launches a second, median of trials", headings, cells)


def _quantiles(rows: Sequence[_Row]) -> Table:
    cells = tuple(
        (
            label(r.row),
            str(len(r.times)),
            *(_quantile(r.times, q) for q in _QUANTILES),
            quantity(float(r.times.max()), "s"),
        )
        for r in rows
    )
    names = tuple(say("p{percent} (95 %)", percent=f"{q * 100:g}") for q in _QUANTILES)
    headings = ("Runtime", "Launches", *names, "Slowest")
    return Table("Request to READY of launches among others", headings, cells)


def _quantile(times: pd.Series[float], q: float) -> str:
    found = statistics.pooled_quantile(times, q)
    if found is None:
        return say("absent: needs {n} launches", n=f"{10 / (1 - q):.0f}")
    return with_interval(found, "s")
