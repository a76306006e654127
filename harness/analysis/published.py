"""What others published, and which of it may stand beside a run.

A published figure means what its authors timed, and hardly two of them timed the same: from an
API call or from a command, until a first program or an HTTP answer. So each figure carries its
span in words, and a span that is also ours says so (`same_as`); only then do two numbers count
the same. Nothing here ranks anything: figures come in the order of the file.

The file is `results/published.csv`; its columns are those of `Published`, and results/README.md
tells what they mean. It is facts with their sources, and text that others wrote.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pandas as pd

from harness import resources
from harness.analysis import statistics
from harness.analysis.frames import RunData
from harness.analysis.language import say
from harness.analysis.statistics import Estimate
from harness.analysis.summary import IDLE, MEMORY, READY, RuntimeRow, Summary
from harness.errors import UsageError
from harness.metrics import METRICS
from harness.model import RuntimeClass

STARTUP, HELD, DISK = "startup", "memory", "disk"
KINDS = (STARTUP, HELD, DISK)

UNITS: Mapping[str, tuple[float, str]] = {
    "ms": (1e-3, "s"), "s": (1.0, "s"), "MiB": (1024.0**2, "bytes"), "iops": (1.0, "1/s"),
}  # fmt: skip
"""Units of the file, and what each is in base units."""


@dataclass(frozen=True)
class Published:
    """One published figure; the text is its authors' or of those who read them.

    `value` is in the base unit `unit`. `kind` is one of `KINDS`; a startup runs from `span_from`
    to `span_to`, anything else is what `method` counts. `confidence` says how it was come by.
    `nearest` is the runtime of ours that is most like it, in its canonical form, or empty;
    `same_as` our metric, with its dimensions, when it means the same, or empty.
    """

    subject: str
    runtime: str
    runtime_class: str
    kind: str
    metric: str
    value: float
    unit: str
    span_from: str
    span_to: str
    method: str
    conditions: str
    source: str
    year: int
    confidence: str
    nearest: str
    same_as: str


@dataclass(frozen=True)
class Own:
    """The reader's own figure: a runtime of the run, a metric of it, and its median."""

    runtime: str
    metric: str
    estimate: Estimate


@dataclass(frozen=True)
class Beside:
    """A published figure and the run's own one for the runtime that is most like it.

    `own` is None where the run has none; `why` then names the emulated machine, if that is
    the reason. `same`: both mean the same.
    """

    figure: Published
    own: Own | None
    same: bool
    why: str


def read(path: Path | None = None) -> tuple[Published, ...]:
    """All published figures in the order of the file, values in base units.

    Raises UsageError, naming the line, for a file that does not hold to its columns.
    """
    path = path or resources.published_figures()
    try:
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines, strict=True)
            wanted = [field.name for field in fields(Published)]
            missing = sorted(set(wanted) - set(reader.fieldnames or ()))
            if missing:
                raise ValueError(f"it lacks the columns {', '.join(missing)}")
            return tuple(_figure(row, reader.line_num) for row in reader)
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(
            f"the published figures in {path.name} cannot be read: {error}",
            "results/README.md tells what each column holds",
        ) from error


def _figure(row: Mapping[str, str | None], line: int) -> Published:
    text = {name: (value or "").strip() for name, value in row.items() if name}
    try:
        factor, unit = UNITS[text["unit"]]
        value, year = float(text["value"]) * factor, int(text["year"])
        if not math.isfinite(value):
            raise ValueError("its value is no number")
        if text["kind"] not in KINDS:
            raise ValueError(f"kind {text['kind']!r} is none of {', '.join(KINDS)}")
        if text["runtime_class"] not in set(RuntimeClass):
            raise ValueError(f"class {text['runtime_class']!r} is none of ours")
        if text["same_as"] and text["same_as"].partition(" ")[0] not in METRICS:
            raise ValueError(f"same_as names {text['same_as']!r}, which is no metric of ours")
    except KeyError as error:
        raise ValueError(f"line {line}: unit {error} is none of {', '.join(UNITS)}") from error
    except ValueError as error:
        raise ValueError(f"line {line}: {error}") from error
    return Published(**{**text, "value": value, "unit": unit, "year": year})  # type: ignore[arg-type]


def beside(
    run: RunData, summary: Summary, figures: Sequence[Published] | None = None
) -> tuple[Beside, ...]:
    """The figures that concern a class of box in this run, each with the run's own one.

    A machine that was emulated in software puts the class of virtual machines on the table, for
    its readers want to know, but never its own number.
    """
    everything = read() if figures is None else figures
    measured = _Measured(run, summary)
    return tuple(found for figure in everything if (found := _beside(measured, figure)))


class _Measured:
    """What the run has measured, each series read once, however many figures ask for it."""

    def __init__(self, run: RunData, summary: Summary) -> None:
        self._run, self._rows = run, summary.rows
        self._metrics = frozenset(series.metric for series in run.series())
        self._known: dict[tuple[str, str], pd.Series[float]] = {}

    def rows(self, figure: Published) -> Sequence[RuntimeRow]:
        """The runtimes with a value that may stand beside the figure."""
        return [row for row in self._rows if self.first(row, figure)]

    def first(self, row: RuntimeRow, figure: Published) -> tuple[str, pd.Series[float]] | None:
        """The metric that is most like the figure, with its values; None without any."""
        for metric, dimensions in _candidates(figure):
            if metric not in self._metrics:
                continue
            key = (row.runtime, metric)
            if key not in self._known:
                self._known[key] = self._run.values(metric, row.runtime, **dimensions)
            if len(self._known[key]):
                return metric, self._known[key]
        return None


def _beside(measured: _Measured, figure: Published) -> Beside | None:
    rows = measured.rows(figure)
    classes = {row.runtime_class for row in rows}
    machine = RuntimeClass.MACHINE.value
    if figure.runtime_class == machine and any(row.emulated for row in rows):
        classes.add(machine)
    if figure.runtime_class not in classes:
        return None
    row = _nearest(rows, figure)
    if row is None:
        return Beside(figure, None, False, "")
    if row.emulated:
        return Beside(figure, None, False, say("{runtime} (emulated)", runtime=row.runtime))
    found = measured.first(row, figure)
    estimate = statistics.median(found[1]) if found else None
    if found is None or estimate is None:
        return Beside(figure, None, False, "")
    own = Own(row.runtime, found[0], estimate)
    return Beside(figure, own, bool(figure.same_as) and row.runtime == figure.nearest, "")


def _nearest(measured: Sequence[RuntimeRow], figure: Published) -> RuntimeRow | None:
    """The runtime itself, else the plain one of its family; of machines, an emulated one last."""
    by_name = {row.runtime: row for row in measured}
    family = figure.nearest.partition(",")[0]
    found = by_name.get(figure.nearest) or by_name.get(family)
    if found is None and figure.runtime_class == RuntimeClass.MACHINE.value:
        return next((row for row in measured if row.emulated), None)
    return found


def asked(figure: Published) -> str:
    """The metric of ours that would stand beside a figure."""
    return next(iter(_candidates(figure)), (figure.metric, {}))[0]


def _candidates(figure: Published) -> Sequence[tuple[str, Mapping[str, str]]]:
    if figure.same_as:
        name, *pairs = figure.same_as.split()
        return [(name, dict(pair.split("=", 1) for pair in pairs))]
    if figure.kind == STARTUP:
        return [(READY, {})]
    if figure.kind == HELD and figure.metric == "vmm_overhead":
        return [("memory.vmm_overhead", {"state": IDLE})]
    if figure.kind == HELD:
        return [(MEMORY, {"state": IDLE}), ("density.slope", {})]
    return []
