"""Cold starts, from the command to the report: proven cold, labelled, and refused otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.probes import pagecache
from tests.command import Place

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not pagecache.can_drop(), reason="only root may drop the page cache"),
]


def test_cold_starts_read_from_the_device_and_say_so(tmp_path: Path) -> None:
    place, out = Place(tmp_path), tmp_path / "run"
    said = place.tarebench("run", "cold", "--runtime", "chroot", "--runtime", "fake",
                           "--repeat", "1", "--out", out)  # fmt: skip
    rows = place.rows(out)
    held = [row["reason"] for row in rows if "a running process holds it" in row["reason"]]
    if held:
        pytest.skip(f"a box of another run keeps the image warm: {held[0]}")
    ours = [row for row in rows if row["runtime"] == "chroot" and row["experiment"] == "startup"]
    starts = [row for row in ours if row["metric"].startswith("startup.")]
    assert {row["dimensions"] for row in starts} == {'{"regime":"cold"}'}
    (read,) = (float(row["value"]) for row in starts if row["metric"] == "startup.read")
    assert read > 0
    records = [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]
    (trial,) = (r for r in records if r["trial"] == ours[0]["trial"])
    assert trial["conditions"]["regime"] == "cold"
    assert (
        0
        < trial["conditions"]["cold_resident_bytes"]
        <= trial["conditions"]["cold_bytes"] + (4096 * trial["conditions"]["cold_files"])
    )
    fakes = {row["reason"] for row in rows if row["runtime"] == "fake"}
    assert "fake does not tell which files its launches read" in fakes
    assert "All starts here are cold" in place.told(out)
    assert "ready, cold" in said.err
