"""The parser that a workload names, and the metrics that come of it.

A workload's table `parser` has a `kind`. The tools' own formats tell their figures with their
units by themselves; for `json`, `regex` and `lines` the user says which value is which metric.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from msgspec import Meta

from harness.model import Frozen, Metric, Output, Sample
from harness.parsers import fio, json_document, lines, regex, stress_ng, sysbench, unreadable
from harness.parsers.json_document import JsonValue
from harness.parsers.lines import LinesValue
from harness.parsers.regex import RegexValue
from harness.parsers.values import MetricName, declared

MAX_BYTES = 16 * 1024 * 1024
"""An output that is longer was not meant to be read by a parser."""

_TAIL_BYTES = 4096
_OWN = ("duration", "cpu")
"""Names that the experiment itself gives."""


class Base(Frozen, frozen=True, kw_only=True, tag_field="kind"):
    """What all parsers have: `stream` is what they read."""

    stream: Literal["stdout", "stderr"] = "stdout"

    def metrics(self) -> Mapping[str, Metric]:
        """Every metric that the parser can give."""
        raise NotImplementedError

    def samples(self, output: bytes) -> Sequence[Sample]:
        """What the output tells, metrics without prefix. Raises OutputUnreadable."""
        raise NotImplementedError


class Fio(Base, frozen=True, kw_only=True, tag="fio"):
    """fio with `--output-format=json`."""

    def metrics(self) -> Mapping[str, Metric]:
        kinds = [f"{name}.{what}" for name in ("read", "write", "trim")
                 for what in ("iops", "bytes", "latency")]  # fmt: skip
        return _tool("fio", [*kinds, "sync.latency"])

    def samples(self, output: bytes) -> Sequence[Sample]:
        return fio.samples(output)


class Sysbench(Base, frozen=True, kw_only=True, tag="sysbench"):
    """Any test of sysbench 1.0."""

    def metrics(self) -> Mapping[str, Metric]:
        return _tool("sysbench", ["events", "transferred", "latency"])

    def samples(self, output: bytes) -> Sequence[Sample]:
        return sysbench.samples(output)


class StressNg(Base, frozen=True, kw_only=True, tag="stress-ng"):
    """stress-ng with `--metrics-brief --stdout`."""

    def metrics(self) -> Mapping[str, Metric]:
        return _tool("stress-ng", ["ops"])

    def samples(self, output: bytes) -> Sequence[Sample]:
        return stress_ng.samples(output)


class _Declaring(Base, frozen=True, kw_only=True):
    """A parser whose user says which value is which metric."""

    def __post_init__(self) -> None:
        for name in _OWN:
            if name in self.metrics_by_name():
                raise ValueError(f"the name {name} is taken: every job has job.{name}")

    def metrics_by_name(self) -> Mapping[str, JsonValue | RegexValue | LinesValue]:
        """The declared values."""
        raise NotImplementedError

    def metrics(self) -> Mapping[str, Metric]:
        return declared(self.metrics_by_name())


class Json(_Declaring, frozen=True, kw_only=True, tag="json"):
    """A JSON document."""

    values: Annotated[dict[MetricName, JsonValue], Meta(min_length=1)]

    def metrics_by_name(self) -> Mapping[str, JsonValue]:
        return self.values

    def samples(self, output: bytes) -> Sequence[Sample]:
        return json_document.samples(output, self.values)


class Regex(_Declaring, frozen=True, kw_only=True, tag="regex"):
    """Text that regular expressions find numbers in."""

    values: Annotated[dict[MetricName, RegexValue], Meta(min_length=1)]

    def metrics_by_name(self) -> Mapping[str, RegexValue]:
        return self.values

    def samples(self, output: bytes) -> Sequence[Sample]:
        return regex.samples(output, self.values)


class Lines(_Declaring, frozen=True, kw_only=True, tag="lines"):
    """Numbers in columns, a line each; the first `skip` lines are headings."""

    values: Annotated[dict[MetricName, LinesValue], Meta(min_length=1)]
    skip: Annotated[int, Meta(ge=0, le=1000)] = 0
    separator: Annotated[str, Meta(max_length=8)] = ""

    def metrics_by_name(self) -> Mapping[str, LinesValue]:
        return self.values

    def samples(self, output: bytes) -> Sequence[Sample]:
        return lines.samples(output, self.values, self.skip, self.separator)


Parser = Fio | Sysbench | StressNg | Json | Regex | Lines


def read(parser: Parser, stdout: Output, stderr: Output) -> Sequence[Sample]:
    """Samples of the metrics that the parser declares, with their prefix `job.`.

    Raises OutputUnreadable.
    """
    output = stdout if parser.stream == "stdout" else stderr
    if output.size > MAX_BYTES:
        with output.open() as file:
            file.seek(output.size - _TAIL_BYTES)
            raise unreadable(f"it printed more than {MAX_BYTES >> 20} MiB", file.read())
    known = parser.metrics()
    found = [
        Sample(f"job.{s.metric}", s.value, s.unit, s.dimensions)
        for s in parser.samples(output.read())
        if f"job.{s.metric}" in known
    ]
    if not found:
        raise unreadable("the output has no value that is a metric", output.read())
    return found


def _tool(tool: str, names: Sequence[str]) -> Mapping[str, Metric]:
    """Metrics of a tool's own figures: a rate or an amount is better high, a time low."""
    units = {"latency": "s", "bytes": "bytes"}
    made = {}
    for name in names:
        unit = units.get(name.rpartition(".")[2], "1/s")
        better = "lower" if unit == "s" else "higher"
        made[f"job.{name}"] = Metric(f"job.{name}", unit, better, f"{name}, as {tool} tells it")
    return made
