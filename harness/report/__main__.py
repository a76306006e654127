"""`python -m harness.report RUN`: writes samples.parquet, charts/ and report.html into a run.

With `--data` behind it, only the samples and the time series.

The runner starts this as a child process at the end, so that the process that measured never
loads pandas or matplotlib.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness.errors import HarnessError, UsageError
from harness.report.writer import build_folder, store_data


def main(arguments: list[str]) -> int:
    """Build the report of the one folder that is named; returns the exit code."""
    try:
        match arguments:
            case [folder]:
                build_folder(Path(folder))
            case [folder, "--data"]:
                store_data(Path(folder))
            case _:
                raise UsageError("one run folder is needed", "python -m harness.report RUN")
    except HarnessError as error:
        hint = f"\n{error.hint}" if error.hint else ""
        sys.stderr.write(f"{error.message}{hint}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
