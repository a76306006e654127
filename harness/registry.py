"""Runtimes, and the cleaners of what they make, found by entry point and loaded lazily.

A runtime is named `factory` or `factory,key=value,…`; the canonical form sorts the
parameters and leaves defaults out, so that one box has one name. The parameter `label` is every
runtime's and changes nothing: `bare,label=again` is `bare` under a second name, so that a run
can set the same box beside itself.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from harness.errors import UsageError
from harness.model import Cleaner, Context, Runtime, RuntimeFactory

RUNTIMES_GROUP = "tarebench.runtimes"
CLEANERS_GROUP = "tarebench.cleaners"
HIDDEN = frozenset({"fake"})
"""Registered for tests alone, and never listed."""

LABEL = "label"
_LABELS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")

EVERY = "all"
BY_NAME_ONLY = frozenset({"oci", "spawn"})
"""What `all` leaves out: building blocks of the cost ladder, and a box that must be told which."""


def names() -> Sequence[str]:
    """Every registered runtime's name, hidden ones too, sorted."""
    return sorted({point.name for point in entry_points(group=RUNTIMES_GROUP)})


def expand(given: Iterable[str]) -> list[str]:
    """Canonical names, each once; `all` stands for every runtime but those of `BY_NAME_ONLY`."""
    wanted: list[str] = []
    for text in given:
        if text == EVERY:
            wanted += [name for name in names() if name not in HIDDEN | BY_NAME_ONLY]
        else:
            wanted.append(canonical(text))
    return list(dict.fromkeys(wanted))


def parse(text: str) -> tuple[str, dict[str, str]]:
    """Split `docker,network=none`; raises UsageError."""
    name, *rest = text.split(",")
    parameters: dict[str, str] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise UsageError(
                f"{part!r} in the runtime {text!r} is not KEY=VALUE",
                "write parameters as in docker,network=none",
            )
        if key.strip() in parameters:
            raise UsageError(f"the runtime {text!r} gives {key.strip()} twice", "give it once")
        parameters[key.strip()] = value.strip()
    return name.strip(), parameters


def canonical(text: str) -> str:
    """The one name of a runtime; raises UsageError for an unknown runtime or parameter."""
    name, given = parse(text)
    known = factory(name).parameters
    label = {} if LABEL in known else _label(given)
    for key, value in given.items():
        if key not in known:
            raise UsageError(
                f"{name} has no parameter {key!r}", f"its parameters: {', '.join(known) or 'none'}"
            )
        meant = known[key].canonical(value)
        if meant is None:
            joined = ", joined by +" if known[key].several else ""
            raise UsageError(
                f"{value!r} is not a value of {key} of {name}",
                f"choose from {', '.join(known[key].choices)}{joined}",
            )
        given[key] = meant
    kept = [(key, value) for key, value in given.items() if value != known[key].default]
    kept = sorted([*kept, *label.items()])
    return ",".join([name, *(f"{key}={value}" for key, value in kept)])


def factory(name: str) -> RuntimeFactory:
    """The class behind a registered name; raises UsageError with the nearest names."""
    return cast("RuntimeFactory", _point(RUNTIMES_GROUP, name).load())


def create(text: str, context: Context) -> Runtime:
    """A runtime, ready to be probed. `text` may be any form that `canonical` accepts."""
    name, parameters = parse(canonical(text))
    found = factory(name)
    if LABEL not in found.parameters:
        parameters.pop(LABEL, None)
    return found(canonical(text), parameters, context)


def cleaners() -> Mapping[str, Cleaner]:
    """What can find and remove each kind of thing that runtimes write into the inventory."""
    return {
        point.name: cast("Cleaner", point.load()) for point in entry_points(group=CLEANERS_GROUP)
    }


def _label(given: dict[str, str]) -> dict[str, str]:
    """The label, taken out of what was given; raises UsageError for one that is no word."""
    if LABEL not in given:
        return {}
    value = given.pop(LABEL)
    if not _LABELS.fullmatch(value):
        raise UsageError(
            f"{value!r} is not a label", "up to 32 letters, digits, dots, dashes and underscores"
        )
    return {LABEL: value}


def _point(group: str, name: str) -> EntryPoint:
    points = {point.name: point for point in entry_points(group=group)}
    if name not in points:
        shown = [known for known in sorted(points) if known not in HIDDEN]
        near = difflib.get_close_matches(name, shown, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(shown)}"
        raise UsageError(f"there is no runtime {name!r}", hint)
    return points[name]
