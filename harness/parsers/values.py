"""What a user says of a value: its unit, which direction is better, how it becomes base units."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

from harness.model import Frozen, Metric, Sample
from harness.parsers import unreadable

MetricName = Annotated[
    str,
    Meta(pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$", max_length=64,
         description="what stands after `job.` in the metric's name"),
]  # fmt: skip


class Value(Frozen, frozen=True, kw_only=True):
    """One value of an output, which becomes the metric `job.NAME`.

    What is read is multiplied by `scale` to be in the base unit `unit`.
    """

    unit: Literal["s", "bytes", "1/s", "1"]
    better: Literal["lower", "higher"]
    description: str = ""
    scale: Annotated[float, Meta(gt=0, le=1e18)] = 1.0

    def sample(self, name: str, number: float, output: bytes) -> Sample:
        """The value in its base unit; raises OutputUnreadable for one that is not finite."""
        value = number * self.scale
        if not math.isfinite(value):
            raise unreadable(f"the value of {name} is not finite", output)
        return Sample(name, value, self.unit)

    def metric(self, name: str) -> Metric:
        """How the metric is declared."""
        about = self.description or f"{name}, as the workload's output tells it"
        return Metric(name=f"job.{name}", unit=self.unit, better=self.better, description=about)


def number_of(text: str, name: str, output: bytes) -> float:
    """A number as programs print it, thousands parted by nothing; raises OutputUnreadable."""
    try:
        if "_" in text:  # Python's own way of parting thousands
            raise ValueError(text)
        return float(text)
    except ValueError:
        raise unreadable(f"the value of {name} is {text[:40]!r}, not a number", output) from None


def declared(values: Mapping[str, Value]) -> Mapping[str, Metric]:
    """The metrics of declared values by name."""
    return {f"job.{name}": value.metric(name) for name, value in values.items()}
