"""What measuring tools print, as samples: a module a format, pure functions of the output.

A parser takes the whole standard output of a tool and returns samples whose metric has no
prefix yet, in base units. What it cannot read it refuses with `OutputUnreadable`, which ends
with the end of the output; it never guesses, and what the tool did not say is absent.
"""

from __future__ import annotations

from harness.errors import HarnessError

_TAIL_CHARACTERS = 300


class OutputUnreadable(HarnessError):
    """A tool printed something else than it should have."""


def unreadable(what: str, output: bytes) -> OutputUnreadable:
    """The error for an output, with what is wrong with it and how the output ended."""
    return OutputUnreadable(f"{what}; its output ends with: {end_of(output)}")


def end_of(output: bytes) -> str:
    """The last characters of an output on one line, for people."""
    end = output[-4 * _TAIL_CHARACTERS :].decode(errors="replace")
    text = " ".join(end.split())[-_TAIL_CHARACTERS:]
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text) or "nothing"
