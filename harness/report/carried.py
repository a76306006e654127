"""What a page carries along: its run's samples, summaries, time series and manifest."""

from __future__ import annotations

import json
import zipfile
from io import BytesIO

from harness.analysis import embedded, timeseries
from harness.analysis.export import harmless_name, samples_parquet, to_csv
from harness.analysis.frames import RunData
from harness.analysis.thin import thinned
from harness.errors import UsageError
from harness.report.digest import digest

PLAIN_CSV = 1 << 20
"""Bytes of samples that are carried as plain CSV."""


def carried(whole: RunData) -> dict[str, str]:
    """The addresses of everything that the page of a run carries, by name."""
    run = thinned(whole)
    part = run is not whole
    manifest = json.dumps(run.manifest, separators=(",", ":")).encode()
    return {
        **_table(whole.run, to_csv(run)),
        "series": _series(whole),
        "digest": embedded.text_address("text/csv", digest(whole).csv()) if part else "",
        "samples": embedded.data_address("application/vnd.apache.parquet", samples_parquet(run)),
        "manifest": embedded.data_address("application/json", manifest),
        "trials": str(len(run.rows.wall)) if part else "",
    }


def _table(name: str, csv: bytes) -> dict[str, str]:
    """All samples as CSV: as they are, or, where they would outweigh the page, zipped."""
    if len(csv) <= PLAIN_CSV:
        return {"csv": embedded.text_address("text/csv", csv), "csv_name": f"{name}.csv"}
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(f"{harmless_name(name)}.csv"), csv, zipfile.ZIP_DEFLATED)
    address = embedded.data_address("application/zip", packed.getvalue())
    return {"csv": address, "csv_name": f"{name}.csv.zip"}


def _series(run: RunData) -> str:
    """The address of the time series, or nothing."""
    try:
        series = timeseries.load(run)
    except UsageError:
        return ""  # its section says so
    if series is None:
        return ""
    return embedded.data_address("application/vnd.apache.parquet", timeseries.portable(series))
