"""The journal: on disk before it returns, and whole after any death."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from harness.errors import HarnessError, UsageError
from harness.journal import Journal, create_folder, records, write_manifest
from harness.model import Outcome, Sample, TrialRecord
from harness.paths import JOURNAL, MANIFEST


def record(trial: str, outcome: Outcome = Outcome.OK) -> TrialRecord:
    return TrialRecord(
        trial=trial, experiment="startup", runtime="bare", runtime_class="bare metal",
        accel="none", block=0, position=0, warmup=False, outcome=outcome, reason="",
        started_utc="", wall_s=0.5, marks={"request": 1}, samples=[Sample("a", 1.5, "s")],
    )  # fmt: skip


def test_what_is_appended_is_read_again(tmp_path: Path) -> None:
    wanted = [record("1"), record("2", Outcome.FAILED)]
    with Journal(tmp_path) as opened:
        for each in wanted:
            opened.append(each)
    assert list(records(tmp_path)) == wanted
    with Journal(tmp_path) as opened:
        opened.append(record("3"))
    assert [each.trial for each in records(tmp_path)] == ["1", "2", "3"]


def test_line_is_on_the_disk_before_append_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bytes] = []
    fsync = os.fsync

    def note(file: int) -> None:
        fsync(file)
        synced.append((tmp_path / JOURNAL).read_bytes())

    monkeypatch.setattr(os, "fsync", note)
    with Journal(tmp_path) as opened:
        opened.append(record("1"))
        opened.append(record("2"))
    assert [data.count(b"\n") for data in synced] == [0, 1, 2], "first the file's own name"


@pytest.mark.parametrize("torn", [b"{", b'{"trial":"2","exp', b"\xff\xfe"])
def test_torn_last_line_is_left_out_and_cut_off(tmp_path: Path, torn: bytes) -> None:
    with Journal(tmp_path) as opened:
        opened.append(record("1"))
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert [each.trial for each in records(tmp_path)] == ["1"]
    with Journal(tmp_path) as opened:
        assert path.read_bytes() == whole
        opened.append(record("2"))
    assert [each.trial for each in records(tmp_path)] == ["1", "2"]


def test_journal_of_one_torn_line_is_empty(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(b'{"trial')
    with Journal(tmp_path):
        assert (tmp_path / JOURNAL).read_bytes() == b""
    assert records(tmp_path) == []


def test_no_journal_is_no_records(tmp_path: Path) -> None:
    assert records(tmp_path) == []


def test_a_journal_that_cannot_be_opened_to_its_end_is_closed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("harness.journal._cut_torn_line", refuse)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(HarnessError, match="cannot be written: Input/output error"):
        Journal(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    monkeypatch.undo()
    with Journal(tmp_path) as opened:  # and nobody holds its lock
        opened.append(record("1"))


def test_second_writer_of_a_run_is_refused(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(UsageError, match="still going on"):
        Journal(tmp_path)
    with Journal(tmp_path):
        pass


def test_full_disk_is_told_and_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write

    def half(file: int, data: bytes) -> int:
        return write(file, data[: len(data) // 2])

    with Journal(tmp_path) as opened:
        opened.append(record("1"))
        with monkeypatch.context() as patched:
            patched.setattr(os, "write", half)
            with pytest.raises(HarnessError, match="the trial 2 could not be stored: No space"):
                opened.append(record("2"))
        opened.append(record("3"))
    assert [each.trial for each in records(tmp_path)] == ["1", "3"]


def test_unwritable_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="cannot be written: No such file"):
        Journal(tmp_path / "absent")


def test_manifest_is_replaced_in_one_step(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"outcome": "first", "rows": [record("1")]})
    write_manifest(tmp_path, {"outcome": "second"})
    assert json.loads((tmp_path / MANIFEST).read_bytes()) == {"outcome": "second"}
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_manifest_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_manifest(tmp_path, {"outcome": "first"})

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HarnessError, match="No space left on device") as caught:
        write_manifest(tmp_path, {"outcome": "second"})
    assert caught.value.hint
    assert json.loads((tmp_path / MANIFEST).read_bytes()) == {"outcome": "first"}
    assert [path.name for path in tmp_path.iterdir()] == [MANIFEST]


def test_run_folder_must_be_new_or_empty(tmp_path: Path) -> None:
    create_folder(tmp_path / "a" / "b")
    create_folder(tmp_path / "a" / "b")
    (tmp_path / "a" / "b" / "file").touch()
    with pytest.raises(UsageError, match="is not empty"):
        create_folder(tmp_path / "a" / "b")
    with pytest.raises(UsageError, match="cannot be made"):
        create_folder(tmp_path / "a" / "b" / "file")
    with pytest.raises(UsageError, match="cannot be made"):
        create_folder(tmp_path / "a" / "b" / "file" / "below")


def test_records_of_another_version_are_not_misread(tmp_path: Path) -> None:
    (tmp_path / JOURNAL).write_bytes(b'{"trial":"1","new":1}\n')
    with pytest.raises(UsageError, match=r"line 1 of .* is no record of this version"):
        records(tmp_path)


def test_a_damaged_line_costs_its_trial_alone(tmp_path: Path) -> None:
    with Journal(tmp_path) as opened:
        for name in "123":
            opened.append(record(name))
    lines = (tmp_path / JOURNAL).read_bytes().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_bytes(b"".join([lines[0], lines[1][:40] + b"\xff\n", lines[2]]))
    assert [each.trial for each in records(tmp_path)] == ["1", "3"]
