"""What others wrote is read as far as it is sound, told where it is not, and never trusted."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.analysis import embedded, journals
from harness.analysis.export import samples_parquet, write_samples
from harness.analysis.frames import RunData, load_run
from harness.analysis.summary import summarise
from harness.errors import HarnessError, UsageError
from harness.exchange.export import export
from harness.report import build
from tests.synthetic import Plan, make_run

PLAN = Plan(runtimes=("bare", "crun"), blocks=6)
FEW = settings(
    max_examples=60, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_run(tmp_path / "run", PLAN)


@contextmanager
def stored(**files: bytes) -> Iterator[Path]:
    """A run folder whose files have these contents (`_` for the point), else a sound run's."""
    with tempfile.TemporaryDirectory() as place:
        folder = make_run(Path(place) / "run", PLAN)
        for name, content in files.items():
            (folder / name.replace("_", ".")).write_bytes(content)
        yield folder


def _sound() -> tuple[bytes, bytes, bytes]:
    with stored() as folder:
        run = load_run(folder)
        return (
            (folder / "journal.jsonl").read_bytes(), (folder / "manifest.json").read_bytes(),
            samples_parquet(run),
        )  # fmt: skip


JOURNAL, MANIFEST, PARQUET = _sound()


def look_at(run: RunData) -> None:
    """Everything that a reader asks of a run."""
    assert len(run.trials) == run.tally["count"].sum()
    assert {"metric", "value"} <= set(run.samples.columns)
    for series in run.series():
        run.values(series.metric, series.runtime, **series.dimensions)
    run.last_conditions("startup", "crun")
    run.stored()
    summarise(run)


def look_at_if_sound(path: Path) -> None:
    """Look at a run, or be told why not in a sentence and a hint."""
    try:
        look_at(load_run(path))
    except UsageError as error:
        if not error.hint or "\n" in error.message.strip():
            raise


@st.composite
def damaged(draw: st.DrawFn, data: bytes) -> bytes:
    """The data cut off, with pieces replaced, doubled or put in."""
    made = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(made)))
        gone = draw(st.sampled_from([0, 1, 7, 300]))
        made[at : at + gone] = draw(
            st.one_of(
                st.binary(max_size=40),
                st.sampled_from(
                    [b"\n", b"\x00" * 9, b"{}", b'"', b"[" * 2000, b"9" * 400, b"\xff"]
                ),
            )
        )
    return bytes(made[: draw(st.integers(0, len(made)))] if draw(st.booleans()) else made)


@FEW
@given(damaged(JOURNAL))
def test_a_damaged_journal_costs_trials_and_no_more(content: bytes) -> None:
    with stored(journal_jsonl=content) as folder:
        run = load_run(folder)
    assert len(run.trials) >= len(json.loads(MANIFEST)["plan"])
    look_at(run)


@FEW
@given(damaged(MANIFEST))
def test_a_damaged_manifest_is_refused_or_read(content: bytes) -> None:
    with stored(manifest_json=content) as folder:
        look_at_if_sound(folder)


JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@FEW
@given(st.dictionaries(st.sampled_from(sorted(json.loads(MANIFEST))), JSON, min_size=1), JSON)
def test_parts_of_a_manifest_that_are_something_else_are_left_out(
    parts: dict[str, Any], inner: Any
) -> None:
    manifest = json.loads(MANIFEST) | parts | {"schema": 1}
    for name in ("scenario", "channel", "host"):
        if isinstance(manifest.get(name), dict):
            manifest[name] |= {key: inner for key in list(manifest[name])[:3]}
    with stored(manifest_json=json.dumps(manifest).encode()) as folder:
        look_at_if_sound(folder)


@FEW
@given(damaged(PARQUET))
def test_a_damaged_table_is_refused_or_read(content: bytes) -> None:
    with stored(samples_parquet=content) as folder:
        assert len(load_run(folder).trials) > 0  # the journal is the truth
        (folder / "journal.jsonl").unlink()
        look_at_if_sound(folder)


def page(*links: tuple[str, bytes]) -> bytes:
    """A page with these links, as a report has them."""
    made = [
        f'<li><a data-tarebench="{kind}" download="x" href="'
        f'{embedded.data_address("application/x", content)}">x</a></li>'
        for kind, content in links
    ]
    return f"<html>{''.join(made)}</html>".encode()


def refused(path: Path) -> str:
    """The sentence with which a reader refuses it."""
    with pytest.raises(UsageError) as raised:
        load_run(path)
    assert raised.value.hint
    assert "\n" not in raised.value.message
    return raised.value.message


@FEW
@given(damaged(page(("manifest", MANIFEST), ("samples", PARQUET))))
def test_a_damaged_page_is_refused_or_read(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "report.html"
        path.write_bytes(content)
        look_at_if_sound(path)


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
