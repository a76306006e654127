"""Runtimes, and the cleaners of what they make, found by entry point and loaded lazily.

A runtime is named `factory` or `factory,key=value,…`; the canonical form sorts the
parameters and leaves defaults out, so that one box has one name. The parameter `label` is every
runtime's and changes nothing: `bare,label=again` is `bare` under a second name, so that a run
can set the same box beside itself.

Several are chosen at once by `all`, by `class:container`, and by `docker,network=*`, which
stands for each choice of a parameter. What was so chosen was not *named*: it need not work here.

A runtime's class may tell, as parameters of its name, which of its forms are boxes of their own:
`variants = ("", "network=host")` are those that `all` runs (without it, the plain form alone), and
`examples = ("seccomp=on",)` those that the contract suite holds to its promises besides.
Where parameters exclude each other, its `check(parameters)` raises DoesNotFit; `*` leaves such
forms out.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import itertools
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import cast

from harness.errors import DoesNotFit, RuntimeUnavailable, UsageError, brief
from harness.model import Cleaner, Context, Runtime, RuntimeClass, RuntimeFactory

RUNTIMES_GROUP = "tarebench.runtimes"
CLEANERS_GROUP = "tarebench.cleaners"
HIDDEN = frozenset({"fake"})
"""Registered for tests alone, and never listed."""

LABEL = "label"
_LABELS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")

EVERY = "all"
CLASS = "class:"
ANY = "*"
CLASSES: Mapping[str, RuntimeClass] = {
    "bare": RuntimeClass.BARE,
    "jail": RuntimeClass.JAIL,
    "container": RuntimeClass.CONTAINER,
    "sandbox": RuntimeClass.SANDBOX,
    "vm": RuntimeClass.MACHINE,
    "emulated": RuntimeClass.EMULATED,
}
"""How the classes are written after `class:`; their full names are understood too."""


def names() -> Sequence[str]:
    """Every registered runtime's name, hidden ones too, sorted."""
    return sorted(_points(RUNTIMES_GROUP))


def expand(given: Iterable[str]) -> list[str]:
    """Canonical names, each once, of runtimes and of what stands for several; UsageError."""
    return list(dict.fromkeys(name for text in given for name in _meant(text.strip())))


def named(given: Iterable[str]) -> frozenset[str]:
    """Those that were called by their own name, and so must work."""
    return frozenset(expand(text for text in given if not _is_pattern(text.strip())))


def variants(name: str) -> Sequence[str]:
    """The forms of a registered runtime that `all` runs; may be none. See the module."""
    return _declared(name, variants=("",))


def tested(name: str) -> Sequence[str]:
    """The forms of a registered runtime that the contract suite runs on."""
    return _declared(name, variants=("",), examples=())


def _declared(name: str, **defaults: Sequence[str]) -> Sequence[str]:
    """The forms in these attributes of a runtime's class, or their defaults."""
    try:
        found = factory(name)
    except RuntimeUnavailable:  # it is asked again when it is to run, and then says why
        return (name,)
    forms = [form for key, default in defaults.items() for form in getattr(found, key, default)]
    return [canonical(f"{name},{form}" if form else name) for form in forms]


def _is_pattern(text: str) -> bool:
    values = (part.partition("=")[2].strip() for part in text.split(","))
    return text == EVERY or text.startswith(CLASS) or ANY in values


def _meant(text: str) -> Iterable[str]:
    if text == EVERY:
        return _of_class(None)
    if text.startswith(CLASS):
        return _of_class(_class(text.removeprefix(CLASS)))
    return _choices(text) if _is_pattern(text) else [canonical(text)]


def _of_class(wanted: RuntimeClass | None) -> Iterable[str]:
    for name in names():
        if name not in HIDDEN and wanted in (None, class_of(name)):
            yield from variants(name)


def class_of(name: str) -> RuntimeClass | None:
    """The class of a registered runtime, or None where its module cannot be loaded."""
    try:
        return factory(name).runtime_class
    except RuntimeUnavailable:
        return None


def _class(text: str) -> RuntimeClass:
    word = text.strip().lower().replace("-", " ")
    known = {**CLASSES, **{str(each): each for each in RuntimeClass}}
    if word not in known:
        near = difflib.get_close_matches(word, known, 1)
        hint = f"did you mean {CLASS}{near[0]}?" if near else f"there are {', '.join(CLASSES)}"
        raise UsageError(f"there is no class of runtimes {text!r}", hint)
    return known[word]


def _choices(text: str) -> Iterable[str]:
    """Each way to put a choice in the place of each `*`."""
    name, given = parse(text)
    known = factory(name).parameters
    for key, value in given.items():
        if value == ANY and key in known and not known[key].choices:
            raise UsageError(
                f"{key} of {name} has no list of values that {ANY} could stand for",
                f"write {name},{key}=VALUE",
            )
    lists = [
        known[key].choices if value == ANY and key in known else (value,)
        for key, value in given.items()
    ]
    for values in itertools.product(*lists):
        pairs = zip(given, values, strict=True)
        with contextlib.suppress(DoesNotFit):
            yield canonical(",".join([name, *(f"{key}={value}" for key, value in pairs)]))


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
    """The one name of a runtime; raises UsageError for an unknown runtime or parameter, and
    DoesNotFit for parameters that exclude each other."""
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
    if (check := getattr(factory(name), "check", None)) is not None:
        check(given)
    kept = [(key, value) for key, value in given.items() if value != known[key].default]
    kept = sorted([*kept, *label.items()])
    return ",".join([name, *(f"{key}={value}" for key, value in kept)])


def factory(name: str) -> RuntimeFactory:
    """The class behind a registered name.

    Raises UsageError with the nearest names, and RuntimeUnavailable where its module cannot be
    loaded, whatever the reason: a part that is missing or broken costs nobody the rest.
    """
    point = _point(RUNTIMES_GROUP, name)
    try:
        return cast("RuntimeFactory", point.load())
    except Exception as error:
        raise RuntimeUnavailable(
            f"the adapter of {name} cannot be loaded: {type(error).__name__}: {brief(error)}",
            "make run installs what tarebench's own need",
        ) from error


def create(text: str, context: Context) -> Runtime:
    """A runtime, ready to be probed. `text` may be any form that `canonical` accepts."""
    name, parameters = parse(canonical(text))
    found = factory(name)
    if LABEL not in found.parameters:
        parameters.pop(LABEL, None)
    return found(canonical(text), parameters, context)


def cleaners() -> Mapping[str, Cleaner]:
    """What can find and remove each kind of thing that runtimes write into the inventory."""
    found = _points(CLEANERS_GROUP)
    return {name: cast("Cleaner", point.load()) for name, point in found.items()}


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


def _points(group: str) -> Mapping[str, EntryPoint]:
    """The entry points of a group by name; each command asks for them dozens of times."""
    return _read(group, tuple(sys.path))


@functools.cache
def _read(group: str, path: tuple[str, ...]) -> Mapping[str, EntryPoint]:
    """From the metadata of every distribution on this `sys.path`."""
    del path
    return {point.name: point for point in entry_points(group=group)}


def _point(group: str, name: str) -> EntryPoint:
    points = _points(group)
    if name not in points:
        shown = [known for known in sorted(points) if known not in HIDDEN]
        near = difflib.get_close_matches(name, [*shown, EVERY], 1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(shown)}"
        raise UsageError(f"there is no runtime {name!r}", hint)
    return points[name]
