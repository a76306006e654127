"""Regular expressions over an output, and a time limit on them.

An expression can take for ever on an output of a few dozen bytes (nested repetitions), and
nothing in the language stops it. So it works in a process of its own, which is ended when its
time is over; this module is that process's program too.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from harness.errors import CommandFailed
from harness.model import Sample
from harness.parsers import unreadable
from harness.parsers.values import MetricName, Value, number_of
from harness.process import run

TIME_LIMIT_S = 5.0


class RegexValue(Value, frozen=True, kw_only=True):
    """`pattern` is a Python regular expression, `^` and `$` at each line; its only group, or
    that named `value`, is the number, and its first match counts."""

    pattern: Annotated[str, Meta(min_length=1, max_length=500)]

    def __post_init__(self) -> None:
        compiled = compile_pattern(self.pattern)
        if compiled.groups != 1 and "value" not in compiled.groupindex:
            raise ValueError("the pattern needs one group, or one named value: (?P<value>…)")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """The expression; raises ValueError for one that is none."""
    try:
        return re.compile(pattern, re.MULTILINE)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"the pattern is not a regular expression: {error}") from None


def samples(
    output: bytes, values: Mapping[MetricName, RegexValue], time_limit_s: float = TIME_LIMIT_S
) -> Sequence[Sample]:
    """A sample for each value. Raises OutputUnreadable, also when the time is over."""
    patterns = {name: value.pattern for name, value in values.items()}
    asked = msgspec.json.encode((patterns, output.decode(errors="replace")))
    try:
        done = run([sys.executable, "-m", __name__], input=asked, timeout_s=time_limit_s)
        matches = msgspec.json.decode(done.stdout, type=dict[str, str])
    except (CommandFailed, msgspec.DecodeError):
        raise unreadable(
            f"the patterns were not matched within {time_limit_s:g} s", output
        ) from None
    missing = [name for name in values if name not in matches]
    if missing:
        raise unreadable(f"the pattern of {missing[0]} matches nothing", output)
    return [
        value.sample(name, number_of(matches[name], name, output), output)
        for name, value in values.items()
    ]


def matched(patterns: Mapping[str, str], text: str) -> dict[str, str]:
    """What each pattern's group holds at its first match; those without one are absent."""
    found = {}
    for name, pattern in patterns.items():
        match = compile_pattern(pattern).search(text)
        group = match and match["value" if "value" in match.re.groupindex else 1]
        if group is not None:
            found[name] = group
    return found


if __name__ == "__main__":
    asked, said = msgspec.json.decode(sys.stdin.buffer.read(), type=tuple[dict[str, str], str])
    sys.stdout.buffer.write(msgspec.json.encode(matched(asked, said)))
