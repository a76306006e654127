"""`python -m harness.report RUN`: writes samples.parquet, charts/ and report.html into a run.

The runner starts this as a child process at the end, so that the process that measured never
loads pandas or matplotlib.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.errors import HarnessError, UsageError
from harness.report.writer import build_folder


def main(arguments: list[str]) -> int:
    """Build the report of the one folder that is named; returns the exit code."""
    try:
        if len(arguments) != 1:
            raise UsageError("one run folder is needed", "python -m harness.report RUN")
        build_folder(Path(arguments[0]))
    except HarnessError as error:
        hint = f"\n{error.hint}" if error.hint else ""
        sys.stderr.write(f"{error.message}{hint}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
