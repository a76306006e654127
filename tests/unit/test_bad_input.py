"""What others wrote is read as far as it is sound, told where it is not, and never trusted."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.analysis import embedded, journals
from harness.analysis.export import write_samples
from harness.analysis.frames import load_run
from harness.errors import HarnessError, UsageError
from harness.exchange.export import export
from harness.report import build
from tests.fuzz.targets import PLAN, page, sound
from tests.synthetic import Plan, make_run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", PLAN)


PARQUET, MANIFEST = sound().parquet, sound().manifest


def refused(path: Path) -> str:
    """The sentence with which a reader refuses it."""
    with pytest.raises(UsageError) as raised:
        load_run(path)
    assert raised.value.hint
    assert "\n" not in raised.value.message
    return raised.value.message


def test_a_page_in_another_encoding_is_read(tmp_path: Path) -> None:
    text = page(("manifest", MANIFEST), ("samples", PARQUET)).decode()
    (tmp_path / "r.html").write_bytes(f"<p>\xe9\xff{text}".encode("latin-1"))
    assert len(load_run(tmp_path / "r.html").trials)


@pytest.mark.parametrize("bait", [b'<a data-tarebench="', b"<a <a <a ", b' data-tarebench="x"'])
def test_a_page_made_to_take_long_does_not(tmp_path: Path, bait: bytes) -> None:
    (tmp_path / "r.html").write_bytes(bait * 400_000)
    assert "holds" in refused(tmp_path / "r.html")


def test_a_page_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path: Path) -> None:
    schema = load_table(PARQUET)
    table = pa.table({
        name: pa.nulls(embedded.MOST_ROWS + 1, pa.string())
        if pa.types.is_string(schema.schema.field(name).type) else
        np.zeros(embedded.MOST_ROWS + 1, dtype=np.int8)
        for name in schema.column_names
    })  # fmt: skip
    buffer = BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    (tmp_path / "r.html").write_bytes(page(("manifest", MANIFEST), ("samples", buffer.getvalue())))
    assert (tmp_path / "r.html").stat().st_size < 2**21
    assert "would unpack to" in refused(tmp_path / "r.html")


def load_table(content: bytes) -> pa.Table:
    return pq.read_table(BytesIO(content))


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "r.html").open("wb") as file:
        file.truncate(embedded.LARGEST_FILE + 1)
    assert "is larger than" in refused(tmp_path / "r.html")


@pytest.mark.parametrize("column", ["metric", "value", "block"])
def test_columns_of_another_type_are_refused(tmp_path: Path, column: str) -> None:
    table = load_table(PARQUET)
    other = pa.array([{"not": "this"}] * table.num_rows)
    at = table.column_names.index(column)
    buffer = BytesIO()
    pq.write_table(table.set_column(at, column, other), buffer)
    (tmp_path / "r.html").write_bytes(page(("manifest", MANIFEST), ("samples", buffer.getvalue())))
    assert "cannot be read" in refused(tmp_path / "r.html")


def test_numbers_that_no_column_holds_cost_their_line(folder: Path) -> None:
    journal = folder / "journal.jsonl"
    lines = journal.read_bytes().splitlines()
    broken = json.loads(lines[3]) | {"block": 2**70}
    journal.write_bytes(b"\n".join([*lines[:3], json.dumps(broken).encode(), *lines[4:], b""]))
    run = load_run(folder)
    assert "line 4" in run.notes[0]
    assert (run.trials["reason"] == "not run").sum() == 1


def test_many_damaged_lines_are_counted_and_not_listed(folder: Path) -> None:
    journal = folder / "journal.jsonl"
    journal.write_bytes(b"garbage\n" * 1000 + journal.read_bytes())
    run = load_run(folder)
    assert run.notes[-1] == "995 more lines of the journal were left out"
    assert len(run.notes) == 6


def test_a_line_without_an_end_is_not_held(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = folder / "journal.jsonl"
    whole = journal.read_bytes()
    monkeypatch.setattr(journals, "LONGEST_LINE", max(map(len, whole.splitlines())) + 1)
    journal.write_bytes(b"x" * 10**6 + b"\n" + whole)
    run = load_run(folder)
    assert "longer than" in run.notes[0]
    assert not (run.trials["reason"] == "not run").any()


def test_what_was_left_out_is_told_wherever_the_run_goes(folder: Path, tmp_path: Path) -> None:
    journal = folder / "journal.jsonl"
    journal.write_bytes(b"garbage\n" + journal.read_bytes())
    run = load_run(folder)
    write_samples(run, folder)
    build([run], tmp_path / "r.html")
    build([run], tmp_path / "r.md", format="md")
    for name in ("r.html", "r.md"):
        assert "line 1 of the journal was left out" in (tmp_path / name).read_text()
    assert load_run(folder).notes == run.notes  # from the table, which says of what it was made
    journal.unlink()
    assert load_run(folder).notes == run.notes
    assert load_run(tmp_path / "r.html").notes == run.notes


def test_the_table_is_read_only_while_it_is_that_of_the_journal(folder: Path) -> None:
    write_samples(load_run(folder), folder)
    journal = folder / "journal.jsonl"
    assert load_run(folder).trials["outcome"].eq("ok").all()
    whole = journal.read_bytes()
    journal.write_bytes(whole.replace(b'"outcome":"ok"', b'"outcome":"no"', 1))
    assert "line 1 of" in load_run(folder).notes[0]
    journal.write_bytes(whole[:-1] + b" ")
    assert len(load_run(folder).trials) == len(json.loads(MANIFEST)["plan"])


def test_hostile_names_stay_where_they_are_put(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", Plan(runtimes=("bare",), blocks=2))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest |= {"run": "../../../<script>alert(1)</script>"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    run = load_run(folder)
    build([run, run], tmp_path / "deep" / "r.html", tmp_path / "deep" / "charts")
    assert not (tmp_path / "deep" / "r.html").read_text().count("<script>alert")
    assert {p.name for p in tmp_path.iterdir()} == {"run", "deep"}
    assert {p.name for p in (tmp_path / "deep").iterdir()} == {"r.html", "charts"}


@pytest.mark.parametrize("out", ["file/x.csv", "file/deep/x.csv"])
def test_a_place_that_cannot_be_written_is_one_sentence(
    folder: Path, tmp_path: Path, out: str
) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(HarnessError) as raised:
        export(load_run(folder), "csv", tmp_path / out)
    assert "could not be written" in raised.value.message
    assert raised.value.hint
