"""Other tools' results as runs: read for real where the tool is there, else from its format."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.frames import load_run
from harness.analysis.summary import summarise
from harness.errors import HarnessError, UsageError
from harness.exchange.export import export
from harness.exchange.importing import import_file
from harness.report import build
from tests.command import Place
from tests.unit.test_exchange_export import compare

TIMES = [0.011, 0.012, 0.010, 0.013, 0.011, 0.012, 0.014, 0.011]


def hyperfine(*results: Mapping[str, Any]) -> dict[str, Any]:
    """A file as hyperfine 1.19 writes it."""
    return {
        "results": [
            {"command": f"command {number}", "mean": 0.012, "stddev": None, "user": 0.001,
             "times": TIMES, "exit_codes": [0] * len(TIMES), **result}
            for number, result in enumerate(results)
        ]
    }  # fmt: skip


def rounds(**benchmark: Any) -> dict[str, Any]:
    """A file as pytest-benchmark 5 writes it."""
    one = {"name": "test_it", "fullname": "tests/test_it.py::test_it",
           "stats": {"data": TIMES, "iterations": 5, "median": 0.0115}, **benchmark}  # fmt: skip
    return {
        "machine_info": {"machine": "x86_64", "release": "6.1", "system": "Linux",
                         "cpu": {"brand_raw": "Fast CPU", "count": 8}},
        "benchmarks": [one], "datetime": "2026-05-06T07:08:09+02:00", "version": "5.1.0",
    }  # fmt: skip


Stored = Callable[[object], Path]


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    """Writes what is given to a file, as JSON or as it is."""

    def write(content: object) -> Path:
        path = tmp_path / "given.json"
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        path.write_bytes(data)
        return path

    return write


def test_hyperfine_becomes_a_run_of_trials(stored: Stored, tmp_path: Path) -> None:
    memory = [4096 * (n + 1) for n in range(len(TIMES))]
    folder, left_out = import_file(
        stored(hyperfine({"memory_usage_byte": memory}, {})), tmp_path / "runs"
    )
    run = load_run(folder)
    assert not left_out
    assert run.run == folder.name
    assert list(run.values("imported.wall", "command 0")) == TIMES
    assert list(run.values("imported.memory", "command 0")) == memory
    assert len(run.values("imported.memory", "command 1")) == 0
    assert set(run.samples["experiment"]) == {"imported"}
    assert {p.name for p in folder.iterdir()} == {"manifest.json", "samples.parquet"}


def test_what_is_not_known_is_said_and_nothing_is_invented(stored: Stored, tmp_path: Path) -> None:
    run = load_run(import_file(stored(hyperfine({})), tmp_path / "runs")[0])
    imported = run.manifest["imported"]
    assert (imported["tool"], imported["version"], imported["paired"]) == ("hyperfine", "", False)
    assert any("kernel" in each for each in imported["unknown"])
    assert run.manifest["host"] == {}
    assert run.trials["wall_s"].isna().all()
    assert {guard["name"] for guard in run.manifest["guards"]} == {"imported", "order"}
    assert summarise(run).ranking == ()


def test_no_two_commands_share_a_block(stored: Stored, tmp_path: Path) -> None:
    run = load_run(import_file(stored(hyperfine({}, {}, {})), tmp_path / "runs")[0])
    assert run.trials["block"].is_unique


def test_a_run_that_failed_is_a_failed_trial_and_no_time(stored: Stored, tmp_path: Path) -> None:
    codes = [0, 1, None, *[0] * (len(TIMES) - 3)]
    run = load_run(import_file(stored(hyperfine({"exit_codes": codes})), tmp_path / "runs")[0])
    assert list(run.trials["outcome"].iloc[:3]) == ["ok", "failed", "failed"]
    assert list(run.trials["reason"].iloc[1:3]) == ["status 1", "ended by a signal"]
    assert list(run.values("imported.wall")) == [TIMES[0], *TIMES[3:]]


def test_a_time_of_nothing_is_no_time(stored: Stored, tmp_path: Path) -> None:
    """hyperfine takes the shell's own time off, and nothing may remain."""
    file = hyperfine({"times": [0.0, 0.001], "exit_codes": [0, 0]})
    folder, left_out = import_file(stored(file), tmp_path / "runs")
    run = load_run(folder)
    assert list(run.trials["outcome"]) == ["ok", "ok"]
    assert list(run.values("imported.wall")) == [0.001]
    assert left_out == ("1 time of 0, too short for the tool to tell",)


def test_the_report_claims_nothing_that_tarebench_did_not_do(
    stored: Stored, tmp_path: Path
) -> None:
    run = load_run(import_file(stored(hyperfine({}, {})), tmp_path / "runs")[0])
    for form in ("html", "md"):
        build([run], tmp_path / "report", format=form)
        text = (tmp_path / "report").read_text()
        assert "not by tarebench" in text
        assert "Nothing here is paired" in text
        for claim in ("same root filesystem", "in random order", "digest", "The same seed"):
            assert claim not in text, claim


def test_commands_that_look_alike_are_told_apart(stored: Stored, tmp_path: Path) -> None:
    file = hyperfine(
        {"command": "sleep", "parameters": {"n": "1"}},
        {"command": "sleep", "parameters": {"n": "2"}},
        {"command": "same"},
        {"command": "same"},
    )
    run = load_run(import_file(stored(file), tmp_path / "runs")[0])
    assert run.manifest["scenario"]["runtimes"] == [
        "sleep (n=1)", "sleep (n=2)", "same", "same #2",
    ]  # fmt: skip


def test_pytest_benchmark_becomes_a_run_of_rounds(stored: Stored, tmp_path: Path) -> None:
    run = load_run(import_file(stored(rounds()), tmp_path / "runs")[0])
    assert list(run.values("imported.wall", "test_it")) == TIMES
    assert run.manifest["started_utc"].startswith("2026-05-06T05:08:09")
    assert run.manifest["imported"]["version"] == "5.1.0"
    assert run.manifest["host"] == {
        "system": "Linux", "kernel": "6.1", "architecture": "x86_64", "cpu_model": "Fast CPU",
        "threads": 8,
    }  # fmt: skip
    assert run.last_conditions("imported", "test_it") == {"iterations": 5}


def test_benchmarks_without_rounds_are_left_out_and_counted(stored: Stored, tmp_path: Path) -> None:
    file = rounds()
    file["benchmarks"].append({"name": "bare", "stats": {"median": 1.0}})
    folder, left_out = import_file(stored(file), tmp_path / "runs")
    assert left_out == ("1 benchmark saved without the values of rounds",)
    assert load_run(folder).manifest["imported"]["left_out"] == list(left_out)


def test_names_cannot_reach_the_terminal_or_leave_the_page(stored: Stored, tmp_path: Path) -> None:
    name = "\x1b[2Jrm\n<script>alert(1)</script>\u202e" + "x" * 500
    folder, _ = import_file(stored(hyperfine({"command": name}, {})), tmp_path / "runs")
    run = load_run(folder)
    (told, _) = run.manifest["scenario"]["runtimes"]
    assert told.isprintable()
    assert len(told) <= 200
    build([run], tmp_path / "report.html")
    assert "<script>alert" not in (tmp_path / "report.html").read_text()


BAD: Mapping[str, tuple[object, str]] = {
    "no JSON": (b"\x00\xff nothing", "is not JSON"),
    "cut off": (b'{"results": [{"comm', "is not JSON"),
    "deep": (b"[" * 200_000, "is not JSON"),
    "a list": ([1, 2], "neither"),
    "other JSON": ({"tests": []}, "neither"),
    "our own": ({"format": "tarebench-run", "version": 1}, "neither"),
    "empty": ({"results": []}, "no measurement"),
    "no times": (hyperfine({"times": [], "exit_codes": []}), "no measurement"),
    "text": (hyperfine({"times": ["fast"], "exit_codes": [0]}), r"\$.results\[0\].times\[0\]"),
    "negative": (hyperfine({"times": [-1.0], "exit_codes": [0]}), "nobody can have measured"),
    "endless": (b'{"results":[{"command":"x","times":[1e999]}]}', "JSON|nobody"),
    "uneven": (hyperfine({"exit_codes": [0]}), "8 times and 1 exit_codes"),
    "no command": ({"results": [{"times": [1.0]}]}, "missing required field"),
    "statistics": (rounds(stats={"median": 1.0}), "statistics only"),
    "strange stats": (rounds(stats=[1]), r"benchmarks\[0\].stats"),
    "strange host": ({**rounds(), "machine_info": "me"}, "machine_info"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_a_wrong_file_is_one_sentence_and_leaves_nothing(
    stored: Stored, tmp_path: Path, case: str
) -> None:
    content, words = BAD[case]
    with pytest.raises(UsageError, match=words) as raised:
        import_file(stored(content), tmp_path / "runs")
    assert raised.value.hint
    assert "\n" not in raised.value.message
    assert {p.name for p in tmp_path.iterdir()} == {"given.json"}


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing", Path("/dev/zero")):
        with pytest.raises(UsageError) as raised:
            import_file(path, tmp_path / "runs")
        assert raised.value.hint
    assert not (tmp_path / "runs").exists()


def test_an_oversized_file_is_not_even_read(tmp_path: Path) -> None:
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(10**12)
    with pytest.raises(UsageError, match="larger than"):
        import_file(tmp_path / "large.json", tmp_path / "runs")


def test_a_name_with_a_path_in_it_writes_nowhere_else(stored: Stored, tmp_path: Path) -> None:
    file = {**rounds(name="../../escape"), "version": "../../../v", "datetime": "../../d"}
    folder, _ = import_file(stored(file), tmp_path / "runs")
    assert folder.parent == tmp_path / "runs"
    assert {p.name for p in tmp_path.iterdir()} == {"given.json", "runs"}


def test_the_same_file_twice_is_told(stored: Stored, tmp_path: Path) -> None:
    path = stored(hyperfine({}))
    import_file(path, tmp_path / "runs")
    with pytest.raises(UsageError, match="imported before"):
        import_file(path, tmp_path / "runs")


def test_a_folder_that_is_taken_or_cannot_be_made(stored: Stored, tmp_path: Path) -> None:
    path = stored(hyperfine({}))
    with pytest.raises(UsageError, match="not empty"):
        import_file(path, tmp_path / "runs", tmp_path)
    with pytest.raises(HarnessError, match="cannot be made"):
        import_file(path, tmp_path / "runs", path / "below")


def test_a_disk_that_takes_nothing_leaves_nothing(stored: Stored, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk."""
    path = stored(hyperfine({}))
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64));"
        "sys.argv = ['tarebench', 'import', sys.argv[1]];"
        "from harness.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=tmp_path, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "could not be written: File too large" in done.stderr
    assert "hint:" in done.stderr
    assert list((tmp_path / "results" / "runs").iterdir()) == []


def test_the_way_there_and_back(tmp_path: Path) -> None:
    """The commands: a real hyperfine where there is one, our files into pytest-benchmark."""
    place = Place(tmp_path)
    given = tmp_path / "given.json"
    program = shutil.which("hyperfine")
    if program:
        subprocess.run(
            [program, "-N", "-r", "8", "--export-json", given, "true", "sleep 0.002"],
            check=True, capture_output=True,
        )  # fmt: skip
    else:
        given.write_text(json.dumps(hyperfine({"command": "true"}, {"command": "sleep 0.002"})))
    said = place.tarebench("import", given)
    assert said.status == 0, said.err
    assert said.folder.parent == tmp_path / "results" / "runs"
    imported = load_run(said.folder)
    file = tmp_path / "0001_run.json"
    done = place.tarebench("export", said.folder, "--to", "pytest-benchmark", "--out", file)
    assert done.status == 0, done.err
    assert "imported.wall[sleep 0.002]" in compare(file)
    again = load_run(import_file(file, tmp_path / "runs")[0])
    values = again.values("imported.wall", "imported.wall[sleep 0.002]")
    assert list(values) == list(imported.values("imported.wall", "sleep 0.002"))
    build([imported], tmp_path / "report.html")
    back = load_run(tmp_path / "report.html")
    assert back.manifest["imported"]["tool"] == "hyperfine"


def test_a_file_of_pytest_benchmark_itself(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(
        "def test_sum(benchmark):\n    benchmark.pedantic(sum, args=([1, 2],), rounds=9)\n"
    )
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--benchmark-json=o.json",
         "test_one.py"],
        cwd=tmp_path, check=True, capture_output=True,
    )  # fmt: skip
    folder, left_out = import_file(tmp_path / "o.json", tmp_path / "runs")
    run = load_run(folder)
    assert left_out == ()
    assert len(run.values("imported.wall", "test_sum")) == 9
    assert run.manifest["host"]["cpu_model"]
    export(run, "openmetrics", tmp_path / "out.txt")
    assert "tarebench_imported_wall_seconds" in (tmp_path / "out.txt").read_text()
