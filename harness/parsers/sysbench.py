"""sysbench's report, as sysbench 1.0 prints it for every one of its tests.

Its report is text for people, in fixed lines; those of its C sources sysbench.c, sb_cpu.c and
sb_memory.c are looked for here. A rate is the tool's own, over its own duration, which leaves
out the program's start.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from harness.model import Sample
from harness.parsers import unreadable

_MIB = 1024 * 1024
_NUMBER = r"(\d{1,15}(?:\.\d{1,9})?)"
_LINES: Mapping[str, str] = {
    "duration": rf"^[ \t]*total time:[ \t]+{_NUMBER}s[ \t]*$",
    "count": rf"^[ \t]*total number of events:[ \t]+{_NUMBER}[ \t]*$",
    "mib": rf"^[ \t]*{_NUMBER} MiB transferred \({_NUMBER} MiB/sec\)[ \t]*$",
}
_LATENCIES = ("min", "avg", "max")
_BAR = re.compile(r"^[ \t]*(\d{1,9}\.\d{3}) \|\**[ \t]+(\d{1,15})[ \t]*$", re.MULTILINE)


def samples(output: bytes) -> Sequence[Sample]:
    """`events` (1/s), `duration` (s), `transferred` (bytes a second, of the memory test) and
    `latency` (s; dimension `statistic`, or `quantile` for the percentile that was asked for).

    Raises OutputUnreadable.
    """
    text = output.decode(errors="replace")
    found = {name: re.search(line, text, re.MULTILINE) for name, line in _LINES.items()}
    duration, count, mib = found["duration"], found["count"], found["mib"]
    if duration is None or count is None:
        raise unreadable("sysbench printed no report", output)
    if float(duration[1]) <= 0:
        raise unreadable("sysbench reports a test that took no time", output)
    made = [
        Sample("events", float(count[1]) / float(duration[1]), "1/s"),
        Sample("duration", float(duration[1]), "s"),
    ]
    if mib is not None:
        made.append(Sample("transferred", float(mib[2]) * _MIB, "1/s"))
    return [*made, *_latencies(text)]


def histogram(output: bytes) -> Sequence[tuple[float, int]]:
    """Of `--histogram=on`: how long an event took, in seconds, and how many did, rising.

    sysbench's steps are 1.8 % apart. Raises OutputUnreadable, also for one without an event.
    """
    bars = _BAR.findall(output.decode(errors="replace"))
    if not bars:
        raise unreadable("sysbench printed no histogram", output)
    return [(float(milliseconds) / 1e3, int(count)) for milliseconds, count in bars]


def _latencies(text: str) -> Sequence[Sample]:
    _, heading, rest = text.partition("Latency (ms):")
    if not heading:
        return []
    made = []
    for name in _LATENCIES:
        if (
            value := re.search(rf"^[ \t]*{name}:[ \t]+{_NUMBER}[ \t]*$", rest, re.MULTILINE)
        ) is not None:
            made.append(Sample("latency", float(value[1]) / 1e3, "s", {"statistic": name}))
    quantile = re.search(rf"^[ \t]*(\d+)th percentile:[ \t]+{_NUMBER}[ \t]*$", rest, re.MULTILINE)
    if quantile is not None and 0 < int(quantile[1][:4]) < 100 and float(quantile[2]) > 0:
        share = f"{int(quantile[1]) / 100:g}"
        made.append(Sample("latency", float(quantile[2]) / 1e3, "s", {"quantile": share}))
    return made
