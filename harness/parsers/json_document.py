"""A JSON document on standard output: values by their path in it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from msgspec import Meta

from harness.model import Sample
from harness.parsers import unreadable
from harness.parsers.values import MetricName, Value

Step = str | Annotated[int, Meta(ge=-1000000, le=1000000)]


class JsonValue(Value, frozen=True, kw_only=True):
    """`path` leads to a number: `"results.0.rate"`, or `["results", 0, "a.b"]` where a key has
    a dot."""

    path: str | Annotated[tuple[Step, ...], Meta(min_length=1)]


def samples(output: bytes, values: Mapping[MetricName, JsonValue]) -> Sequence[Sample]:
    """A sample for each value. Raises OutputUnreadable."""
    try:
        document = json.loads(output)
    except (ValueError, RecursionError) as error:
        why = "too deep" if isinstance(error, RecursionError) else str(error)[:80]
        raise unreadable(f"the output is not JSON ({why})", output) from None
    return [
        value.sample(name, _number(document, name, value, output), output)
        for name, value in values.items()
    ]


def _number(document: Any, name: str, value: JsonValue, output: bytes) -> float:
    path = value.path.split(".") if isinstance(value.path, str) else value.path
    found = document
    for step in path:
        found = _step(found, step)
        if found is None:
            raise unreadable(f"the JSON has nothing at {step!r} of the path of {name}", output)
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise unreadable(f"what the JSON has for {name} is not a number", output)
    try:
        return float(found)
    except OverflowError:
        raise unreadable(f"the value of {name} is not finite", output) from None


def _step(found: Any, step: str | int) -> Any:
    """One step down, None where there is none; a list takes numbers, also as text."""
    if isinstance(found, dict):
        return found.get(step if isinstance(step, str) else str(step))
    if isinstance(found, list):
        try:
            return found[int(step)]
        except (ValueError, IndexError):
            return None
    return None
