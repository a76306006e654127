"""`python -m harness.analysis.storing RUN`: writes samples and time series beside a run's journal.

The runner starts this as a child process at its end where no report is drawn. It needs neither
statistics nor charts, and so does not load them: they take longer than the data of most runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.analysis import timeseries
from harness.analysis.export import write_samples
from harness.analysis.frames import RunData, load_run
from harness.errors import HarnessError, UsageError


def store_data(folder: Path) -> RunData:
    """Write `samples.parquet` and the time series into a run folder; returns the run."""
    run = load_run(folder)
    write_samples(run, folder)
    timeseries.store(folder, run.run, complete=run.manifest.get("outcome") == "complete")
    return run


def main(arguments: Sequence[str], write: Callable[[Path], object] = store_data) -> int:
    """Write into the one folder that is named; returns the exit code."""
    try:
        if len(arguments) != 1:
            raise UsageError("one run folder is needed", "`tarebench list runs` shows them")
        write(Path(arguments[0]))
    except HarnessError as error:
        hint = f"\n{error.hint}" if error.hint else ""
        sys.stderr.write(f"{error.message}{hint}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
