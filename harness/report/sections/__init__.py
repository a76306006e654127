"""The sections of the report beyond startup and memory, one module an experiment."""

from __future__ import annotations

from collections.abc import Callable

from harness.analysis.frames import RunData
from harness.analysis.summary import Summary
from harness.report.section import Section
from harness.report.sections import (
    claims,
    cold,
    computing,
    cow,
    density,
    disk,
    holding,
    imported,
    interference,
    isolation,
    job,
    ladder,
    lifecycle,
    parallel,
    published,
    registry,
    service,
    system,
    timeseries,
    variants,
)

Maker = Callable[[RunData, Summary], Section | None]

MAKERS: tuple[Maker, ...] = (
    service.make, system.make, cold.make,
    holding.make, variants.make, parallel.make, ladder.make, density.make, computing.make,
    isolation.make, interference.make, lifecycle.make, disk.make, cow.make, registry.make, job.make,
    imported.make, timeseries.make, claims.make, published.make,
)  # fmt: skip
"""In the order of the report; a maker returns None where the run has nothing for it."""


def sections(run: RunData, summary: Summary) -> tuple[Section, ...]:
    """All sections that the run's data can fill."""
    found = (make(run, summary) for make in MAKERS)
    return tuple(section for section in found if section is not None)
