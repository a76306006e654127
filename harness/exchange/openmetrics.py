"""A run as OpenMetrics text: what Prometheus keeps, so that runs become points of its series.

Of each series of the run there is the median over blocks, its interval's two ends where it has
one, and the number of blocks, all gauges with the time at which the run ended: the run is no
label, so that run after run lengthens the same series (`promtool tsdb create-blocks-from
openmetrics` takes such files). `tarebench_run_info` names the run. Curves, whose points would
each be a series, are left out, and the caller is told.

Source: the OpenMetrics specification 1.0 (prometheus.io): unit suffixes, escaping, `# EOF`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from harness.analysis import statistics
from harness.analysis.frames import NOT_RUN, RunData
from harness.analysis.measured import Measured, measured, metric_of
from harness.analysis.reference import machine
from harness.exchange.encoded import Encoded

_UNITS = {"s": "seconds", "bytes": "bytes", "1/s": "per_second"}
_LABEL = re.compile(r"[^a-zA-Z0-9_]")
_RESERVED = {"scenario", "host", "metric", "runtime", "runtime_class", "accel", "emulated"}

Labels = Mapping[str, str]


@dataclass
class _Family:
    name: str
    type: str
    help: str
    unit: str = ""
    samples: list[tuple[Labels, float]] = field(default_factory=list)


def to_openmetrics(run: RunData) -> Encoded:
    """The text, and what of the run it does not hold."""
    series = measured(run)
    base = {"scenario": str(run.manifest.get("scenario", {}).get("name", "")),
            "host": machine(run.manifest)}  # fmt: skip
    families: dict[str, _Family] = {}
    for family in (_info(run, base), _trials(run, base), *_values(run, base, series)):
        families.setdefault(family.name, family).samples.extend(
            family.samples if families[family.name] is not family else ()
        )
    when = _when(run)
    lines = [line for family in families.values() for line in _text(family, when)]
    curves = sorted({s.metric for s in series if s.curve})
    notes = (f"left out, because each point would be a series: {', '.join(curves)}",)
    data = "".join(f"{line}\n" for line in (*lines, "# EOF"))
    return Encoded(data.encode("utf-8", errors="replace"), notes if curves else ())


def _info(run: RunData, base: Labels) -> _Family:
    said, host = run.manifest, run.manifest.get("host", {})
    told = {
        "run": run.run,
        "tarebench": str(said.get("tarebench", "")),
        "outcome": str(said.get("outcome", "cut off")),
        "kernel": str(host.get("kernel", "")),
        "image": str(said.get("image", {}).get("digest", "")),
    }
    labels = {**base, **{key: value for key, value in told.items() if value}}
    return _Family("tarebench_run", "info", "The run that the other values are of.",
                   samples=[(labels, 1.0)])  # fmt: skip


def _trials(run: RunData, base: Labels) -> _Family:
    """How many trials ended how: a missing value never hides a failure."""
    rows = run.trials[~run.trials["warmup"] & (run.trials["reason"] != NOT_RUN)]
    counts = Counter(zip(rows["experiment"], rows["runtime"], rows["outcome"], strict=True))
    return _Family(
        "tarebench_trials", "gauge", "Measured trials of the run, by how they ended.",
        samples=[
            ({**base, "experiment": experiment, "runtime": runtime, "outcome": outcome}, count)
            for (experiment, runtime, outcome), count in counts.items()
        ],
    )  # fmt: skip


def _values(run: RunData, base: Labels, series: Sequence[Measured]) -> Iterator[_Family]:
    for each in series:
        estimate = None if each.curve else statistics.median(each.values)
        if estimate is None:
            continue
        labels = {**base, **_labels(each)}
        unit = _UNITS.get(each.unit, "")
        stem = "tarebench_" + _LABEL.sub("_", each.metric)
        about = metric_of(run, each.metric).description
        interval = estimate.interval
        for part, value, text in (
            ("", estimate.value, f"Median over blocks: {about}."),
            (
                "_low",
                interval.low if interval else None,
                "Lower end of the median's 95 % interval.",
            ),
            (
                "_high",
                interval.high if interval else None,
                "Upper end of the median's 95 % interval.",
            ),
        ):
            if value is not None:
                name = f"{stem}{part}_{unit}" if unit else stem + part
                yield _Family(name, "gauge", text, unit, [(labels, value)])
        yield _Family(f"{stem}_blocks", "gauge", "Blocks that the median is over.",
                      samples=[(labels, estimate.n)])  # fmt: skip


def _labels(series: Measured) -> Labels:
    named = {
        "metric": series.metric,
        "runtime": series.runtime,
        "runtime_class": series.runtime_class,
        "accel": series.accel,
        "emulated": "true" if series.emulated else "false",
    }
    for key, value in series.dimensions.items():
        name = _LABEL.sub("_", key)
        clash = name in _RESERVED or name in named or not re.match(r"[a-zA-Z]", name)
        named[f"dimension_{name}" if clash else name] = value
    return named


def _text(family: _Family, when: str) -> Iterator[str]:
    yield f"# TYPE {family.name} {family.type}"
    if family.unit:
        yield f"# UNIT {family.name} {family.unit}"
    yield f"# HELP {family.name} {_escaped(family.help)}"
    suffix = "_info" if family.type == "info" else ""
    for labels, value in family.samples:
        told = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        number = "1" if family.type == "info" else repr(float(value))
        yield f"{family.name}{suffix}{{{told}}} {number}{when}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _when(run: RunData) -> str:
    """The end of the run as seconds since 1970; nothing where it is not known."""
    said = run.manifest.get("finished_utc") or run.manifest.get("started_utc")
    try:
        return f" {datetime.fromisoformat(str(said)).timestamp():.3f}"
    except ValueError:
        return ""
