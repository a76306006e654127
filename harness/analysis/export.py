"""Writes a run's samples as tables, each file in one step.

A spreadsheet runs a cell that begins with `=`, `+`, `-` or `@`, and a failure's reason is text
that a workload may have chosen; such cells get a leading quote (OWASP, CSV injection).
"""

from __future__ import annotations

import re
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from harness.analysis.frames import CONTRACT, EXTRA, SAMPLES, RunData
from harness.analysis.journals import ABOUT, About
from harness.errors import HarnessError

_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED = frozenset({
    "CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$",
    *(f"{port}{n}" for port in ("COM", "LPT") for n in "123456789¹²³"),
})  # fmt: skip
_LONGEST = 150

_GROUP = 2**18
"""Rows that are read at once: a question about one trial reads no more than these."""

_DANGEROUS = ("=", "+", "-", "@", "\t", "\r")


def write_samples(run: RunData, folder: Path) -> Path:
    """Write `samples.parquet`, which holds all that a report needs, into the run folder."""
    path = folder / SAMPLES
    write_whole(path, _parquet(run.table(), About(run.notes, run.journal)))
    return path


def to_csv(run: RunData) -> bytes:
    """One row a sample; a value that is not there is an empty cell."""
    table = run.samples[[*CONTRACT, *EXTRA]].copy()
    for name in table.columns:
        if name not in ("value", "block", "position"):
            table[name] = table[name].map(harmless)
    text: str = table.to_csv(index=False, lineterminator="\n")
    return text.encode("utf-8", errors="replace")


def to_parquet(run: RunData) -> bytes:
    """The same rows as Parquet."""
    return _parquet(run.table().select([*CONTRACT, *EXTRA]))


def samples_parquet(run: RunData) -> bytes:
    """The whole run, marks, identity and conditions included."""
    return _parquet(run.table(), About(run.notes))


def write_whole(path: Path, data: bytes) -> None:
    """Replace a file in one step, so that no reader ever sees half of it.

    Raises HarnessError when the disk does not take it.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise HarnessError(
            f"{path} could not be written: {error.strerror}",
            "free some space, or give --out another place",
        ) from error


def harmless_name(text: str) -> str:
    """A word of others (a run's id, a runtime) as the name of one file on any system.

    What Windows forbids in names, and what any system takes for more than a name, becomes `-`.
    """
    name = _FORBIDDEN.sub("-", text).encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore")
    name = name.strip(" .") or "unnamed"
    return f"_{name}" if name.partition(".")[0].rstrip(" ").upper() in _RESERVED else name


def harmless(text: object) -> str:
    """Text that no spreadsheet takes for a formula."""
    words = str(text)
    return f"'{words}" if words.startswith(_DANGEROUS) else words


def _parquet(table: pa.Table, about: About | None = None) -> bytes:
    """Without Arrow's own schema: other tools then see plain words and not its dictionaries."""
    buffer = BytesIO()
    with pq.ParquetWriter(buffer, table.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(table, row_group_size=_GROUP)
        if about is not None:
            writer.add_key_value_metadata({ABOUT: msgspec.json.encode(about)})
    return buffer.getvalue()
