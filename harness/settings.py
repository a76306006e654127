"""The settings of each experiment: the tables under `[experiments]` of a scenario file.

One class an experiment, and a field of `Experiments` of the same name. What an experiment
does is in harness/experiments/, by the same name again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from harness.model import Frozen

PositiveInt = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=86400)]
Size = str | PositiveInt
"""Bytes, or a text such as "64 MiB" (see harness/sizes.py)."""


class Settings(Frozen, frozen=True):
    """What every experiment's table has.

    `warmed` says whether the scenario's warm-up blocks hold trials of the experiment.
    """

    warmed: ClassVar[bool] = False
    ready_timeout_s: Seconds = 60.0


class Startup(Settings, frozen=True):
    """`startup`: how long until a box is ready, one instance after another."""

    warmed = True
    regime: Literal["warm"] = "warm"


class Memory(Settings, frozen=True):
    """`memory`: how many instances a ramp ends with, by the class of the runtime."""

    instances: Annotated[int, Meta(ge=2, le=64)] = 8
    engine_instances: Annotated[int, Meta(ge=2, le=64)] = 4
    machine_instances: Annotated[int, Meta(ge=1, le=64)] = 2
    state: Literal["idle"] = "idle"


class Phases(Settings, frozen=True):
    """`phases`: instrumented boots of machines."""

    warmed = True
    ready_timeout_s: Seconds = 90.0


class Experiments(Frozen, frozen=True):
    """Which experiments the scenario runs; an absent one is not run."""

    startup: Startup | None = None
    memory: Memory | None = None
    phases: Phases | None = None

    def chosen(self) -> Mapping[str, Settings]:
        """What the scenario names, with its settings."""
        found = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: settings for name, settings in found.items() if settings is not None}
