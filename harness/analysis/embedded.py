"""A run inside its own HTML report, as links that a reader can save and that we can read back.

The manifest, the samples and a CSV are `data:` addresses of ordinary download links: the
report needs no network and no second file, and the same bytes serve the person who
clicks and `load_run`.
"""

from __future__ import annotations

import base64
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

from harness.errors import UsageError

ATTRIBUTE = "data-tarebench"
"""Marks a link whose address holds data; its value is one of `MANIFEST`, `SAMPLES`."""

_PLAIN = "!$()*,/:;=?@[]{}|"
"""What may stand in an address in quotes as it is, beside letters, digits and `_.-~`."""

MANIFEST = "manifest"
SAMPLES = "samples"


def data_address(media_type: str, content: bytes) -> str:
    """The content as a `data:` address (RFC 2397)."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def text_address(media_type: str, content: bytes) -> str:
    """UTF-8 text as a `data:` address, which is shorter this way than as Base64."""
    return f"data:{media_type};charset=utf-8,{quote(content, safe=_PLAIN)}"


def read(path: Path) -> tuple[dict[str, Any], bytes]:
    """The manifest and the Parquet bytes that a report embeds.

    Raises UsageError when there are none, or more than one run's.
    """
    finder = _Finder()
    try:
        finder.feed(path.read_text(encoding="utf-8"))
        finder.close()
        found = {kind: [_content(a) for a in addresses] for kind, addresses in finder.found.items()}
        manifests = [json.loads(text) for text in found.get(MANIFEST, [])]
    except (OSError, ValueError) as error:
        raise UsageError(
            f"the data in {path} cannot be read: {error}", "give the run folder instead"
        ) from error
    samples = found.get(SAMPLES, [])
    if len(manifests) > 1:
        raise UsageError(
            f"{path} holds {len(manifests)} runs",
            "give one run: a run folder, or a report of a single run",
        )
    if not manifests or not samples or not isinstance(manifests[0], dict):
        raise UsageError(
            f"{path} holds no run", "give a run folder, or an HTML report that tarebench wrote"
        )
    return manifests[0], samples[0]


def _content(address: str) -> bytes:
    _, _, payload = address.partition(";base64,")
    return base64.b64decode(payload, validate=True)


class _Finder(HTMLParser):
    """Collects the addresses of our links by kind."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        kind = found.get(ATTRIBUTE)
        if tag == "a" and kind:
            self.found.setdefault(kind, []).append(found.get("href") or "")
