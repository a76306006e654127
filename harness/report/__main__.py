"""`python -m harness.report RUN`: writes samples.parquet, charts/ and report.html into a run.

The runner starts this as a child process at the end, so that the process that measured never
loads pandas or matplotlib.
"""

from __future__ import annotations

import sys

from harness.analysis.storing import main
from harness.report.writer import build_folder

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], build_folder))
