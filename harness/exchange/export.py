"""One door for every format that a run can be written in."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.analysis.export import to_csv, to_parquet, write_whole
from harness.analysis.frames import RunData
from harness.errors import HarnessError, UsageError
from harness.exchange.document import to_json
from harness.exchange.encoded import Encoded
from harness.exchange.openmetrics import to_openmetrics
from harness.exchange.pytest_benchmark import to_pytest_benchmark

FORMATS: Mapping[str, Callable[[RunData], Encoded]] = {
    "csv": lambda run: Encoded(to_csv(run)),
    "parquet": lambda run: Encoded(to_parquet(run)),
    "json": lambda run: Encoded(to_json(run)),
    "pytest-benchmark": to_pytest_benchmark,
    "openmetrics": to_openmetrics,
}


def export(run: RunData, to: str, out: Path | None = None) -> tuple[str, ...]:
    """Write a run to a file, or to standard output; returns what the format could not hold.

    Raises UsageError for another format, HarnessError when the data cannot be written.
    """
    encode = FORMATS.get(to)
    if encode is None:
        raise UsageError(
            f"a run cannot be exported to {to!r}", f"choose one of {', '.join(FORMATS)}"
        )
    encoded = encode(run)
    if out is None:
        _to_standard_output(encoded.data)
    else:
        write_whole(out, encoded.data)
    return encoded.notes


def _to_standard_output(data: bytes) -> None:
    """A closed pipe is the reader's affair and stays a BrokenPipeError."""
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise HarnessError(
            f"standard output did not take the data: {error.strerror}",
            "free some space, or give --out another place",
        ) from error
