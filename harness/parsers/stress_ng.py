"""stress-ng's metrics (`--metrics-brief` or `--metrics`, with `--stdout`), a line a stressor.

stress-ng counts "bogus operations", rounds of whatever a stressor does: they compare boxes in
which the same stressor ran, and mean nothing between stressors. The lines are those of its
stress-ng.c, versions 0.13 and later.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from harness.model import Sample
from harness.parsers import unreadable

_FIGURE = r"[ \t]+(\d{1,15}(?:\.\d{1,9})?)"
_LINE = re.compile(
    rf"^stress-ng: metrc: \[\d+\] ([a-z][\w-]*){_FIGURE * 6}[ \t\d.]*$", re.MULTILINE
)
"""Stressor, operations, real, user and system seconds, operations a real second; more follows."""


def samples(output: bytes) -> Sequence[Sample]:
    """`ops` (1/s, by real time), `duration` (s) and `cpu` (s), each with a dimension `stressor`.

    Raises OutputUnreadable.
    """
    lines = _LINE.findall(output.decode(errors="replace"))
    if not lines:
        raise unreadable("stress-ng printed no metrics", output)
    made = []
    for name, operations, real, user, system, *_ in lines:
        where = {"stressor": name}
        if float(real) <= 0:
            raise unreadable(f"stress-ng reports that {name} took no time", output)
        made += [
            Sample("ops", float(operations) / float(real), "1/s", where),
            Sample("duration", float(real), "s", where),
            Sample("cpu", float(user) + float(system), "s", where),
        ]
    return made
