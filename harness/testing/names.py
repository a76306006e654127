"""What a test is called in pytest's list of tests, in its tables, and in our store.

A name must not depend on which other tests were selected, or two runs could not be compared.
So a metric is the whole path of its test, as in `pytest.tests.test_sorting.test_sort`; what
else the test is parametrised over becomes dimensions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness import registry
from harness.model import RuntimeClass

EXPERIMENT = "pytest"
RUNTIME, TRIAL = "box_runtime", "box_trial"
"""The parameters, each a fixture, that a test gets by asking for `box`."""

DEFAULT = ("bare", "chroot", "runc", "crun", "docker", "kvm")
"""What is tried when nothing is named: every box that is ready in well under a second."""


@dataclass(frozen=True, eq=False)
class Planned:
    """One test on one runtime, once: a trial, if pytest-benchmark measures it."""

    nodeid: str
    runtime: str
    block: int
    metric: str
    dimensions: Mapping[str, str] = field(default_factory=dict)
    measured: bool = True

    @property
    def group(self) -> str:
        """What is to be compared, over all runtimes and trials."""
        name = self.metric.removeprefix(f"{EXPERIMENT}.")
        return " ".join([name, *(f"{k}={v}" for k, v in self.dimensions.items())])


def split(texts: Sequence[str]) -> list[str]:
    """Runtimes of a list such as `crun,docker,network=none`: a parameter follows its runtime."""
    found: list[str] = []
    for part in (part.strip() for text in texts for part in text.split(",")):
        if "=" in part and found:
            found[-1] += f",{part}"
        elif part:
            found.append(part)
    return found


def chosen(texts: Sequence[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The runtimes to run on, and those of them that were named. Raises UsageError."""
    if not texts:
        return DEFAULT, frozenset()
    given = split(texts)
    return tuple(registry.expand(given)), registry.named(given)


def label(runtime: str) -> str:
    """A runtime in a test's id. What is emulated is never shown without the word."""
    emulated = registry.class_of(registry.parse(runtime)[0]) is RuntimeClass.EMULATED
    return f"{runtime}(emulated)" if emulated else runtime


def metric(nodeid: str) -> str:
    """The metric of a test: its path without parameters, in the letters that a metric has."""
    path, *rest = nodeid.partition("[")[0].split("::")
    words = [*path.removesuffix(".py").split("/"), *rest]
    return ".".join([EXPERIMENT, *(re.sub(r"[^a-z0-9_]", "_", w.lower()) for w in words)])


def dimensions(params: Mapping[str, object], indices: Mapping[str, int]) -> Mapping[str, str]:
    """A test's own parameters as text; what is no plain value is told by its place in the list."""
    return {
        name: str(value) if isinstance(value, str | int | float) else f"{name}{indices[name]}"
        for name, value in sorted(params.items())
        if name not in (RUNTIME, TRIAL)
    }
