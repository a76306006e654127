"""A run inside its own HTML report, as links that a reader can save and that we can read back.

The manifest, the samples, the time series and a CSV are `data:` addresses of ordinary download
links: the report needs no network and no second file, and the same bytes serve the person who
clicks and `load_run`. A report of several runs has these links once a run.

Such a file may come from anybody. It is searched as bytes, once from its beginning to its end
and never as a document, and what is in it is read up to a size.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from harness.errors import UsageError

ATTRIBUTE = "data-tarebench"
"""Marks a link whose address holds data; its value is `MANIFEST`, `SAMPLES` or `SERIES`."""

_PLAIN = "!$()*,/:;=?@[]{}|"
"""What may stand in an address in quotes as it is, beside letters, digits and `_.-~`."""

_QUOTED = {byte: quote(bytes([byte]), safe=_PLAIN) for byte in range(256)}

MANIFEST = "manifest"
SAMPLES = "samples"
SERIES = "timeseries"

MIB = 2**20
LARGEST_FILE = 256 * MIB
LARGEST_TABLE = 1024 * MIB
MOST_ROWS = 20_000_000

_WORD = re.compile(rb'\s([a-z-]{1,40})="([^"]*)"')


@dataclass(frozen=True)
class Carried:
    """What a report holds of one run: the bytes of its manifest, its samples as Parquet, and its
    time series as Parquet, or nothing."""

    manifest: bytes
    samples: bytes
    series: bytes = b""


def data_address(media_type: str, content: bytes) -> str:
    """The content as a `data:` address (RFC 2397)."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def text_address(media_type: str, content: bytes) -> str:
    """UTF-8 text as a `data:` address, which is shorter this way than as Base64."""
    return f"data:{media_type};charset=utf-8,{content.decode('latin-1').translate(_QUOTED)}"


def read(path: Path) -> tuple[Carried, ...]:
    """The runs that a report embeds.

    Raises UsageError when there are none, and OSError.
    """
    if path.stat().st_size > LARGEST_FILE:
        raise UsageError(
            f"{path} is larger than {LARGEST_FILE // MIB} MiB", "give the run folder instead"
        )
    groups: list[dict[str, bytes]] = [{}]
    for kind, address in _links(path.read_bytes()):
        if kind in groups[-1]:
            groups.append({})
        groups[-1][kind] = address
    found = [_carried(each, path) for each in groups if {MANIFEST, SAMPLES} <= set(each)]
    if not found:
        raise UsageError(
            f"{path} holds no run", "give a run folder, or an HTML report that tarebench wrote"
        )
    return tuple(found)


def _carried(links: Mapping[str, bytes], path: Path) -> Carried:
    try:
        parts = [_content(links.get(kind, b"")) for kind in (MANIFEST, SAMPLES, SERIES)]
    except ValueError as error:
        raise UsageError(
            f"the data in {path} cannot be read: {error}", "give the run folder instead"
        ) from error
    return Carried(*parts)


def check_size(rows: int, unpacked_bytes: int, path: Path) -> None:
    """Raise UsageError for a table that is out of all proportion to its file."""
    if rows > MOST_ROWS or unpacked_bytes > LARGEST_TABLE:
        raise UsageError(
            f"the data in {path} would unpack to {rows} rows and {unpacked_bytes // MIB} MiB",
            f"a report holds up to {MOST_ROWS} rows and {LARGEST_TABLE // MIB} MiB; "
            "give the run folder instead",
        )


def _links(page: bytes) -> Iterator[tuple[str, bytes]]:
    """The kind and the address of each of our links."""
    mark, end = ATTRIBUTE.encode() + b'="', 0
    while (at := page.find(mark, end)) >= 0:
        begin = max(page.rfind(b"<", end, at), end)
        close = page.find(b">", at)
        end = close + 1 if close >= 0 else len(page)
        words = dict(_WORD.findall(page[begin:end]))
        kind = words.get(ATTRIBUTE.encode(), b"").decode("ascii", "replace")
        if page[begin : begin + 3] == b"<a ":
            yield kind, words.get(b"href", b"")


def _content(address: bytes) -> bytes:
    _, _, payload = address.partition(b";base64,")
    return base64.b64decode(payload, validate=True)
