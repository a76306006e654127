"""The command as a user meets it: what it prints where, its exit codes, and every bad input."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest

from harness import paths
from harness.imagecheck import built
from tests.command import PROGRAM, TIME_LIMIT_S, Place, Said
from tests.ordinary import USER, as_user

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(built() is None, reason="the image is not built: tarebench image build"),
]

CONTRACT = (
    "run", "scenario", "experiment", "runtime", "runtime_class", "accel", "trial", "block",
    "outcome", "reason", "metric", "value", "unit", "dimensions",
)  # fmt: skip
REAL = ["bare", "chroot", "runc"] if os.geteuid() == 0 and shutil.which("runc") else ["bare"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, Said]:
    """One small run of real boxes, for all who only look at it."""
    place = Place(tmp_path_factory.mktemp("done"), drawn=True)
    named = [word for name in REAL for word in ("--runtime", name)]
    return place, place.tarebench("run", "quick", *named, "--repeat", "2", "--seed", "5")


def assert_refused(said: Said, status: int, message: str, hint: str = "") -> None:
    """One sentence and a hint on standard error, nothing else, and nothing on standard output."""
    assert said.status == status, said.err
    assert said.out == ""
    assert "Traceback" not in said.err
    sentence, *hints = said.err.strip().splitlines()
    assert sentence.startswith("tarebench: ")
    assert message in sentence
    assert len(hints) == 1, said.err
    assert hints[0].startswith("  hint: ")
    assert hint in hints[0]


# ---------------------------------------------------------------- a good run


def test_run_prints_its_folder_and_nothing_else(done: tuple[Place, Said]) -> None:
    place, said = done
    assert said.status == 0, said.err
    assert said.folder.is_absolute()
    assert said.folder.parent == place.folder / "results" / "runs"
    names = {path.name for path in said.folder.iterdir()}
    assert {
        "manifest.json",
        "journal.jsonl",
        "samples.parquet",
        "report.html",
        "charts",
        "log.txt",
    } == names
    assert "report:" in said.err
    assert place.tarebench("clean", "--dry-run").out == ""


def test_csv_has_the_contracts_columns_and_a_row_a_planned_trial(done: tuple[Place, Said]) -> None:
    place, said = done
    exported = place.tarebench("export", said.folder, "--to", "csv")
    rows = list(csv.DictReader(io.StringIO(exported.out)))
    assert tuple(rows[0])[: len(CONTRACT)] == CONTRACT
    plan = json.loads((said.folder / "manifest.json").read_bytes())["plan"]
    walls = [row for row in rows if row["metric"] == "trial.wall"]
    assert [row["trial"] for row in walls] == [trial["trial"] for trial in plan]
    assert {row["outcome"] for row in rows} == {"ok"}
    assert all(isinstance(json.loads(row["dimensions"]), dict) for row in rows)
    ready = Counter(row["runtime"] for row in rows if row["metric"] == "startup.ready")
    assert ready == dict.fromkeys(REAL, 2)
    assert all(float(row["value"]) > 0 for row in rows if row["metric"] == "startup.ready")
    assert {row["block"] for row in walls} == {"0", "1"}


def test_manifest_says_how_to_repeat_the_run(done: tuple[Place, Said]) -> None:
    _, said = done
    manifest = json.loads((said.folder / "manifest.json").read_bytes())
    assert manifest["seed"] == 5
    assert manifest["outcome"] == "complete"
    assert all(each["verified"]["identical"] for each in manifest["runtimes"].values())
    assert "--seed 5" in manifest["repeat_with"]


def test_run_is_listed_and_found_as_latest(done: tuple[Place, Said]) -> None:
    place, said = done
    (row,) = json.loads(place.tarebench("list", "runs", "--json").out)
    assert row["path"] == str(said.folder)
    assert row["outcome"] == "complete"
    again = place.tarebench("export", "latest", "--to", "csv", "--out", "x.csv")
    assert (again.status, again.out) == (0, "")
    assert (place.folder / "x.csv").read_text().startswith("run,scenario,")


def test_complete_run_is_not_resumed(done: tuple[Place, Said]) -> None:
    place, said = done
    before = (said.folder / "journal.jsonl").read_bytes()
    assert_refused(place.tarebench("resume", said.folder), 2, "is complete", "tarebench report")
    assert (said.folder / "journal.jsonl").read_bytes() == before


def test_folder_that_is_not_empty_is_left_alone(done: tuple[Place, Said]) -> None:
    place, said = done
    before = sorted(said.folder.iterdir())
    again = place.tarebench("run", "quick", "--runtime", "bare", "--out", said.folder)
    assert_refused(again, 2, "is not empty", "--out")
    assert sorted(said.folder.iterdir()) == before


# ---------------------------------------------------------------- looking


def test_lists_are_quick_and_have_their_keys(place: Place) -> None:
    wanted = {
        "runtimes": {"name", "class", "status", "reason", "remedy", "parameters"},
        "scenarios": {"name", "description"},
        "metrics": {"name", "description", "unit", "better"},
    }
    for what, keys in wanted.items():
        begin = time.monotonic()
        said = place.tarebench("list", what, "--json")
        assert time.monotonic() - begin < 10
        rows = json.loads(said.out)
        assert rows
        assert all(keys <= set(row) for row in rows)
        assert "fake" not in {row["name"] for row in rows}
        if what == "runtimes":
            assert {row["status"] for row in rows} <= {"ready", "unavailable", "unprobed"}
            assert {"bare", "chroot", "runc", "crun", "docker", "kvm", "qemu"} <= {
                row["name"] for row in rows
            }
        if what == "metrics":
            assert {row["better"] for row in rows} <= {"lower", "higher"}
    assert json.loads(place.tarebench("list", "runs", "--json").out) == []


def test_image_is_shown(place: Place) -> None:
    said = place.tarebench("image", "show", "--json")
    assert json.loads(said.out)["digest"].startswith("sha256:")


@pytest.mark.slow
def test_doctor_tells_json(place: Place) -> None:
    said = place.tarebench("doctor", "--json")
    assert said.status == 0, said.err
    found = json.loads(said.out)
    assert {"host", "runtimes", "guards", "image", "cache"} <= set(found)
    assert next(row for row in found["runtimes"] if row["name"] == "bare")["status"] == "ready"
    assert all(row["status"] == "ready" or row["reason"] for row in found["runtimes"])
    assert place.to_clean() == []


# ---------------------------------------------------------------- bad input

PROGRESS = (": looking", ": preparing its form of the image")
"""How lines end that tell of a runtime that is being readied."""

BAD = [
    (["run", "quik"], 2, "there is no scenario 'quik'", "did you mean quick?"),
    (["run", "absent.toml"], 2, "there is no scenario file", ""),
    (["run", "quick", "--runtime", "rnc"], 2, "there is no runtime 'rnc'", "did you mean runc?"),
    (["run", "quick", "--runtime", "bare,x=1"], 2, "no parameter 'x'", "cgroup"),
    (["run", "quick", "--set", "bloks=3"], 2, "unknown field `bloks`", "did you mean blocks?"),
    (["run", "quick", "--set", "cpus=many"], 2, "limits.cpus: expected", ""),
    (["run", "quick", "--set", "limits.memory=1 MiB"], 2, "limits.memory", "16 MiB"),
    (["run", "quick", "--set", "nonsense"], 2, "is not KEY=VALUE", "limits.cpus=2"),
    (["run", "quick", "--set", "workload=nothing"], 2, "no workload 'nothing'", "hello"),
    (["run", "quick", "--until", "5"], 2, "is not a percentage", "5%"),
    (["run", "quick", "--time-budget", "soon"], 2, "is not a duration", "90s"),
    (["run", "quick", "--repeat", "0"], 2, "--repeat", "tarebench run -h"),
    (["run", "quick", "--repeat", "ten"], 2, "--repeat", "tarebench run -h"),
    (["run", "quick", "--nonsense"], 2, "No such option", "tarebench run -h"),
    (["run"], 2, "Missing argument", "tarebench run -h"),
    (["runn"], 2, "No such command", "tarebench -h"),
    (["list", "nothing"], 2, "'nothing' is not one of", "tarebench list -h"),
    (["run", "quick", "--runtime", "fake,fail=probe"], 3, "told to be unavailable", "another"),
    (["run", "quick", "--runtime", "fake,fail=limits"], 3, "needs more than 1 CPUs", "give more"),
    (["run", "quick", "--runtime", "fake,ready_ms=x"], 2, "'x' is no ready_ms", "number"),
    (
        ["run", "quick", "--runtime", "fake", "--set", 'workload={argv=["/bin/nothing"]}'],
        1, "the image has no program /bin/nothing", "image show",
    ),
    (["resume", "nowhere"], 2, "there is no run 'nowhere'", "list runs"),
    (["resume", "."], 2, "is not a run folder", "list runs"),
    (["resume", "latest"], 2, "there is no run in", "tarebench run quick"),
    (["report", "nowhere"], 2, "there is no run 'nowhere'", "list runs"),
    (["report", "demo", "--format", "pdf"], 2, "'pdf' is not known", "html or md"),
    (["export", "demo", "--to", "xls"], 2, "'xls' is not known", "openmetrics or reference"),
    (["doctor", "--tune", "--untune"], 2, "exclude each other", ""),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "status", "message", "hint"), BAD, ids=lambda x: str(x)[:40])
def test_bad_input_is_one_sentence_and_a_hint(
    place: Place, arguments: list[str], status: int, message: str, hint: str
) -> None:
    said = place.tarebench(*arguments)
    errors = [line for line in said.err.splitlines() if not line.endswith(PROGRESS)]
    assert_refused(Said(said.status, said.out, "\n".join(errors)), status, message, hint)
    assert not list(place.folder.rglob("manifest.json"))
    assert not list(place.folder.rglob("log.txt"))
    assert place.to_clean() == []


def test_missing_image_is_told(place: Place) -> None:
    empty = place.folder / "cache"
    said = place.tarebench("run", "quick", "--runtime", "bare", env={"TAREBENCH_CACHE": str(empty)})
    assert_refused(said, 3, "the image has not been built yet", "tarebench image build")


def test_folder_that_cannot_be_written_is_told(place: Place) -> None:
    (place.folder / "file").touch()
    said = place.tarebench("run", "quick", "--runtime", "bare", "--out", "file/run")
    assert_refused(said, 2, "cannot be made", "--out")


def test_scenario_file_with_a_fault_is_told_with_its_place(place: Place) -> None:
    (place.folder / "mine.toml").write_text('name = "mine"\nruntimes = 7\n')
    said = place.tarebench("run", "mine.toml")
    assert_refused(said, 2, "mine.toml: ", "")


# ---------------------------------------------------------------- runtimes that fail


def test_trials_that_fail_are_records_and_the_rest_goes_on(place: Place) -> None:
    said = place.tarebench("run", "quick", "--runtime", "fake,fail=odd", "--repeat", "4")
    assert said.status == 1
    rows = place.rows(said.folder)
    walls = [row for row in rows if row["metric"] == "trial.wall"]
    outcomes = Counter(row["outcome"] for row in walls)
    assert outcomes["failed"] >= 3
    assert outcomes["ok"] >= 3
    assert {row["reason"] for row in walls if row["outcome"] == "failed"} == {
        "this fake was told to fail"
    }
    assert "trials failed; the report says why" in said.err
    assert "Traceback" not in said.err
    failed = {row["trial"] for row in walls if row["outcome"] == "failed"}
    assert all(row["metric"] == "trial.wall" for row in rows if row["trial"] in failed)


def test_outcome_and_status_tell_how_it_failed(place: Place) -> None:
    outcomes = {"launch": "failed", "time": "timeout", "job": "failed", "digest": "ok"}
    named = [word for fail in outcomes for word in ("--runtime", f"fake,fail={fail}")]
    said = place.tarebench("run", "quick", *named, "--repeat", "1", "--set", "warmup_blocks=0")
    assert said.status == 1
    startups = [row for row in place.rows(said.folder) if row["experiment"] == "startup"]
    assert {row["runtime"]: row["outcome"] for row in startups} == {
        f"fake,fail={fail}": outcome for fail, outcome in outcomes.items()
    }
    assert all(bool(row["reason"]) == (row["outcome"] != "ok") for row in startups)
    assert "fake,fail=digest: not proven to run the identical image" in said.err
    manifest = json.loads((said.folder / "manifest.json").read_bytes())
    assert manifest["runtimes"]["fake,fail=digest"]["verified"]["identical"] is False


# ---------------------------------------------------------------- no space


@pytest.mark.parametrize(
    "size_kib", [4, *(pytest.param(size, marks=pytest.mark.slow) for size in (16, 40)), 256]
)
def test_full_disk_is_told_and_loses_nothing(place: Place, size_kib: int) -> None:
    """A tiny disk in a mount namespace of its own, which is looked at from inside at the end."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare to mount a tiny disk")
    disk = place.folder / "disk"
    disk.mkdir()
    script = (
        f'mount -t tmpfs -o size={size_kib}k,mode=755 tiny "$1" || exit 77; '
        'shift; "$@"; s=$?; cp -r "$0" copy; exit $s'
    )
    done = subprocess.run(
        ["unshare", "--mount", "/bin/sh", "-c", script, str(disk), str(disk), PROGRAM, "run",
         "quick", "--runtime", "fake", "--repeat", "5", "--out", str(disk / "run")],
        cwd=place.folder, env=place.env, capture_output=True, text=True, timeout=TIME_LIMIT_S,
        check=False,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip("no tmpfs can be mounted here")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "No space left on device" in done.stderr
    assert "  hint: " in done.stderr
    kept = place.folder / "copy" / "run"
    if (kept / "manifest.json").exists():
        assert done.stdout == f"{disk / 'run'}\n"
        walls = [row for row in place.rows(kept) if row["metric"] == "trial.wall"]
        assert {row["outcome"] for row in walls} <= {"ok", "interrupted"}
        journal = (kept / "journal.jsonl").read_bytes()
        assert journal.endswith(b"\n") or not journal
    else:
        assert done.stdout == ""
        assert not kept.exists()
    assert place.to_clean() == []


# ---------------------------------------------------------------- an ordinary user


@pytest.fixture
def user_home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="tarebench-user-"))
    os.chown(folder, USER, USER)
    yield folder
    shutil.rmtree(folder)


def test_bare_metal_works_for_an_ordinary_user(user_home: Path) -> None:
    """With the image that root has built and shares, and no rights at all."""
    if os.geteuid() != 0:
        pytest.skip("needs root to become someone else")
    done = as_user(user_home, "run", "quick", "--runtime", "bare", "--repeat", "1", "--no-report")
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(user_home)
    assert "only root can read" in done.stderr or "ordinary user" in done.stderr
    refused = as_user(user_home, "run", "quick", "--runtime", "chroot")
    assert refused.returncode == 3, refused.stderr
    assert "tarebench: chroot needs root" in refused.stderr
    assert "hint: run the same command with sudo" in refused.stderr
    assert not list(paths.SHARED_CACHE.glob("scratch/*tarebench-user*"))


# ---------------------------------------------------------------- a terminal of 80 columns


def test_progress_does_not_wrap_in_80_columns(place: Place) -> None:
    master, slave = pty.openpty()
    ioctl(slave, TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = {key: value for key, value in place.env.items() if key != "COLUMNS"} | {"TERM": "xterm"}
    with subprocess.Popen(
        [PROGRAM, "run", "quick", "--runtime", "fake", "--runtime", "fake,fail=odd,ready_ms=1234",
         "--repeat", "3", "--no-report", "--out", str(place.folder / "run")],
        cwd=place.folder, env=env, stdout=subprocess.PIPE, stderr=slave, stdin=slave,
    ) as process:  # fmt: skip
        os.close(slave)
        shown = b"".join(iter(lambda: read_terminal(master), b"")).decode()
        process.wait(TIME_LIMIT_S)
    os.close(master)
    assert process.returncode == 1
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    lines = [line.rstrip() for part in plain.split("\n") for line in part.split("\r")]
    long = [line for line in lines if len(line) > 80 and str(place.folder) not in line]
    assert not [line for line in long if not line.startswith(("trial ", "fake,"))], long
    assert any("fake,fail=odd,ready_ms=1234" in line and "block" in line for line in lines)
    assert any("runtime" in line and "ready" in line for line in lines)


def read_terminal(master: int) -> bytes:
    """What was written to a terminal; at its end the kernel says EIO."""
    try:
        return os.read(master, 1 << 16)
    except OSError:
        return b""


# ---------------------------------------------------------------- the self-test


def test_selftest_sets_a_box_beside_itself(place: Place) -> None:
    """Four reports are too few to show the promise, and it says so by its status."""
    said = place.tarebench("selftest", "--reports", "4", "--json", "--quiet")
    found = json.loads(said.out)
    assert (found["runtime"], found["reports"], found["blocks"]) == ("bare", 4, 10)
    assert said.status == (0 if found["holds"] else 1)
    assert found["holds"] is False
    assert set(found["verdicts"]["startup.ready"]) == {
        "better", "worse", "equivalent", "no_conclusion",
    }  # fmt: skip
    rows = place.rows(Path(found["run"]))
    assert {row["runtime"] for row in rows if row["experiment"] == "startup"} == {
        f"bare,label={side}{number}" for side in "ab" for number in "1234"
    }
    assert_refused(place.tarebench("selftest", "--runtime", "dokcer"), 2, "no runtime", "docker")
