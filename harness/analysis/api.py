"""The analysis as a notebook wants it: stored runs in, pandas tables out.

A thin door: each function asks the module that knows (statistics, relative, phases, ladder,
published) and lays the answer out as a table, a row a runtime. Values are in base units (seconds,
bytes); `readable` turns them into text with units. `low` and `high` are the ends of the 95 %
interval over blocks, missing where the blocks are too few to give one; a missing value is
missing, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from harness import resources
from harness.analysis import isolation, ladder, phases, published, relative, statistics
from harness.analysis.frames import RunData, load_run
from harness.analysis.language import say
from harness.analysis.rows import Series
from harness.analysis.statistics import Estimate
from harness.analysis.summary import BARE, class_of, is_emulated, runtimes, summarise
from harness.analysis.units import MISSING, quantity, times
from harness.errors import UsageError

UNITS = "units"
"""Where a table keeps the unit of each of its columns: `table.attrs[UNITS]`."""

_RATIO = "×"


def load(path: Path | str) -> RunData:
    """A stored run: a run folder, or an HTML report that embeds one. Raises UsageError."""
    return load_run(Path(path))


def demo(name: str = "quick") -> RunData:
    """A reference run that ships with tarebench, by its scenario. Raises UsageError."""
    shipped = resources.reference_runs()
    if name not in shipped:
        raise UsageError(f"no reference run is called {name!r}", f"there are {', '.join(shipped)}")
    return load_run(shipped[name])


def demos() -> list[str]:
    """The reference runs that there are."""
    return list(resources.reference_runs())


def by_block(run: RunData, metric: str, **dimensions: str) -> pd.DataFrame:
    """A row a block, a column a runtime: the values that everything else is made of.

    Where a block holds several values of a runtime, their median stands for them.
    """
    _need(run, metric, dimensions)
    columns = {
        name: statistics.by_block(values)
        for name in runtimes(run)
        if len(values := run.values(metric, name, **dimensions))
    }
    table = pd.DataFrame(columns).rename_axis(index="block", columns="runtime").sort_index()
    return _with_units(table, dict.fromkeys(columns, _unit(run, metric)))


def medians(run: RunData, metric: str, **dimensions: str) -> pd.DataFrame:
    """A row a runtime: its class, whether it was emulated, n blocks, median, low and high."""
    _need(run, metric, dimensions)
    rows = {}
    for name in runtimes(run):
        found = statistics.median(run.values(metric, name, **dimensions))
        if found is not None:
            told = {"class": class_of(run, name)[0], "emulated": is_emulated(run, name)}
            rows[name] = told | _estimate("median", found)
    unit = _unit(run, metric)
    return _table(rows, dict.fromkeys(("median", "low", "high"), unit))


def ratios(run: RunData, metric: str, over: str = BARE, **dimensions: str) -> pd.DataFrame:
    """A row a runtime: how many times the median of `over` its own is, paired within blocks.

    Columns n, ratio, low, high, and the verdict that the data and the run's conditions allow,
    with why there is none. Of an emulated machine no verdict is ever given.
    """
    _need(run, metric, dimensions)
    found = relative.beside(run, summarise(run), metric, over, dimensions)
    names = [each.row.runtime for each in found]
    if over not in names:
        raise UsageError(f"the run measured no {metric} of {over}", f"it has {', '.join(names)}")
    rows: dict[str, dict[str, object]] = {
        each.row.runtime: {
            **_estimate("ratio", each.ratio),
            "verdict": each.verdict.value,
            "why": each.why,
        }
        for each in found
        if each.row.runtime != over
    }
    return _table(rows, dict.fromkeys(("ratio", "low", "high"), _RATIO))


def phase_table(run: RunData) -> pd.DataFrame:
    """A row a runtime: the spans of the one start whose total is the median, and that total.

    The spans of a row add up to it exactly. Columns are the marks that they end with.
    """
    lines = {name: phases.startup(run, name) for name in runtimes(run)}
    rows = {
        name: {phase.mark: phase.seconds for phase in line.phases} | {"total": line.total}
        for name, line in lines.items()
        if line is not None
    }
    names = dict.fromkeys(mark for row in rows.values() for mark in row if mark != "total")
    order = [*names, "total"]
    return _table(rows, dict.fromkeys(order, "s")).reindex(columns=order)


def rung_table(run: RunData) -> pd.DataFrame:
    """A row a rung of the cost ladder: what it stands over, its READY, and what it adds.

    `added` is the difference of two medians, paired within blocks, with `low` and `high`;
    `main` says that the rung lies on the longest chain. Raises UsageError without a ladder.
    """
    found = ladder.read(run)
    if found is None:
        raise UsageError(f"the run {run.run} climbed no ladder", "demo('ladder') did")
    rows = {
        step.name: {"over": step.over, "main": step.main, "runtime": step.runtime,
                    "ready": step.ready.value if step.ready else math.nan}
        | _estimate("added", step.added)
        for step in found.steps
    }  # fmt: skip
    table = _table(rows, dict.fromkeys(("ready", "added", "low", "high"), "s"))
    return table.rename_axis("rung")


def fact_table(run: RunData) -> pd.DataFrame:
    """What boxes keep apart: a row a fact, a column a box, each answer in words.

    The column `what` names the fact in words. Raises UsageError where no box was looked into.
    """
    found = isolation.of_run(run, summarise(run).rows)
    if not found:
        raise UsageError(f"the run {run.run} looked into no box", "demo('isolation') did")
    rows = {
        row.key: {"what": say(row.title)}
        | {box.runtime: cell.text for box, cell in zip(found, cells, strict=True)}
        for row, cells in isolation.matrix(found)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("fact")


def question(run: RunData) -> str:
    """What the run's scenario asks, in the language that is spoken."""
    return say(str(run.manifest["scenario"]["question"]))


def answers(run: RunData) -> list[str]:
    """What the run's data allow to be said, a sentence each, with intervals."""
    return list(summarise(run).sentences)


def published_figures(kind: str | None = None) -> pd.DataFrame:
    """What others published, a row a figure, in base units; see results/README.md.

    `kind` keeps `startup`, `memory` or `disk` alone. Rows that differ in `span_from` or
    `span_to` timed different things and are not to be ranked.
    """
    if kind is not None and kind not in published.KINDS:
        raise UsageError(f"no figure is of the kind {kind!r}", f"{', '.join(published.KINDS)}")
    return pd.DataFrame([f for f in published.read() if kind in (None, f.kind)])


def readable(table: pd.DataFrame) -> pd.DataFrame:
    """A table of this module as text: each value with its unit and no needless digits."""
    units: Mapping[str, str] = table.attrs.get(UNITS, {})
    shown = table.copy()
    for column, unit in units.items():
        if column in shown:
            shown[column] = [_text(value, unit) for value in table[column]]
    return shown


def _text(value: float, unit: str) -> str:
    if math.isnan(value):
        return MISSING
    return f"{times(value)} {_RATIO}" if unit == _RATIO else quantity(value, unit)


def _estimate(name: str, found: Estimate | None) -> dict[str, object]:
    interval = found.interval if found else None
    return {
        "n": found.n if found else 0,
        name: found.value if found else math.nan,
        "low": interval.low if interval else math.nan,
        "high": interval.high if interval else math.nan,
    }


def _table(rows: Mapping[str, Mapping[str, object]], units: Mapping[str, str]) -> pd.DataFrame:
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    cells = [[row.get(name) for name in columns] for row in rows.values()]
    table = pd.DataFrame(cells, index=list(rows), columns=columns).rename_axis("runtime")
    return _with_units(table, units)


def _with_units(table: pd.DataFrame, units: Mapping[str, str]) -> pd.DataFrame:
    table.attrs[UNITS] = dict(units)
    return table


def _unit(run: RunData, metric: str) -> str:
    return run.series(metric)[0].unit


def _need(run: RunData, metric: str, dimensions: Mapping[str, str]) -> None:
    """Raise UsageError unless each runtime has one series of this kind at most, and any has one.

    A name mistyped must not become a blank, nor two states of a thing one number.
    """
    every = run.series(metric)
    if not every:
        hint = f"it has {', '.join(dict.fromkeys(series.metric for series in run.series()))}"
        raise UsageError(f"the run {run.run} holds no {metric}", hint)
    chosen = [each for each in every if dimensions.items() <= each.dimensions.items()]
    if not chosen:
        told = ", ".join(f"{name}={value}" for name, value in dimensions.items())
        raise UsageError(f"no {metric} of the run {run.run} has {told}", f"it has {_listed(every)}")
    for name in dict.fromkeys(each.runtime for each in chosen):
        several = [each for each in chosen if each.runtime == name]
        if len(several) > 1:
            raise UsageError(
                f"{metric} of {name} has several series", f"choose among {_listed(several)}"
            )


def _listed(several: Iterable[Series]) -> str:
    """Dimensions in words: `state=idle n=8, state=touched n=8`."""
    told = {" ".join(f"{n}={v}" for n, v in each.dimensions.items()) for each in several}
    return ", ".join(sorted(told))
