"""The fixture `box` in other people's sessions of pytest: real boxes, tables, and stored runs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.frames import RunData, load_run
from harness.imagecheck import built
from harness.model import Outcome
from tests.command import PROGRAM, Place

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(built() is None, reason="the image is not built: tarebench image build"),
]

TOP = Path(__file__).resolve().parent.parent.parent
ROOT = os.geteuid() == 0
BOXES = ["bare", *(["chroot", *filter(shutil.which, ["crun", "runc"])] if ROOT else [])]
SHORT = ("--benchmark-max-time=0.05", "--benchmark-min-rounds=3")
SORT = """
    def test_sort(box, benchmark):
        done = benchmark(box.run, ["sort", "-n", "/etc/passwd"])
        assert b"root" in done.stdout.read()
"""


@dataclass
class Project:
    """Somebody's project: a folder with one test file, and pytest as they call it."""

    place: Place

    def write(self, source: str) -> None:
        lines = source.strip("\n").splitlines()
        margin = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
        (self.place.folder / "test_mine.py").write_text("\n".join(x[margin:] for x in lines))

    def argv(self, *arguments: str) -> Sequence[str]:
        own = ["-W", "error", "-p", "no:cacheprovider", "-p", "no:hypothesispytest"]
        return [sys.executable, "-m", "pytest", *own, *arguments]

    def pytest(self, *arguments: str, status: int = 0) -> str:
        """What a session printed; its exit status is as expected."""
        done = subprocess.run(
            self.argv(*arguments), cwd=self.place.folder, env=self.place.env, text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        return done.stdout

    def runs(self) -> Sequence[Path]:
        return sorted((self.place.folder / "results" / "runs").glob("*"))

    def stored(self) -> RunData:
        """The only run folder, as every reader sees it."""
        (folder,) = self.runs()
        return load_run(folder)

    def left_behind(self) -> str:
        """What `tarebench clean` would remove."""
        return self.place.tarebench("clean", "--dry-run").out


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(Place(tmp_path))


def rows(table: str, test: str) -> set[str]:
    """The runtimes that have a row in pytest-benchmark's table."""
    heads = [line.split()[0] for line in table.splitlines() if line.startswith(f"{test}[")]
    return {head.removeprefix(f"{test}[").removesuffix("]") for head in heads}


def test_every_box_has_a_row_in_the_table_and_a_trial_in_the_store(project: Project) -> None:
    project.write(SORT)
    said = project.pytest("--box-runtimes", ",".join(BOXES), "--benchmark-json=out.json", *SHORT)
    assert rows(said, "test_sort") == set(BOXES)
    assert f"benchmark 'test_mine.test_sort': {len(BOXES)} tests" in said or len(BOXES) == 1
    run = project.stored()
    assert run.manifest["outcome"] == "complete"
    assert run.manifest["metrics"]["pytest.test_mine.test_sort"]["better"] == "lower"
    assert not run.notes
    benchmarks = json.loads((project.place.folder / "out.json").read_text())["benchmarks"]
    told = {each["extra_info"]["runtime"]: each for each in benchmarks}
    assert set(told) == set(BOXES)
    for runtime in BOXES:
        (value,) = run.values("pytest.test_mine.test_sort", runtime)
        assert value == told[runtime]["stats"]["median"] > 0
        assert told[runtime]["extra_info"]["image"] == run.manifest["image"]["digest"]
        assert told[runtime]["extra_info"]["identical"] is True
        assert run.manifest["runtimes"][runtime]["verified"]["identical"] is True
        assert run.last_conditions("pytest", runtime)["rounds"] == told[runtime]["stats"]["rounds"]
    assert project.left_behind() == ""


def test_the_stored_run_is_reported_and_exported(project: Project) -> None:
    project.write(SORT)
    project.pytest("--box-runtimes=bare", "--box-trials=6", "--box-seed=1", *SHORT)
    report = project.place.tarebench("report", "latest", "--format", "md")
    assert report.status == 0, report.err
    text = Path(report.out.strip()).read_text().replace("\\_", "_")
    assert "pytest.test_mine.test_sort" in text
    assert "Tests of one's own in every box" in text
    assert "pytest --box" not in text or "--seed" not in text.replace("--box-seed", "")
    exported = project.place.tarebench("export", "latest", "--to", "csv").out
    assert exported.count("pytest.test_mine.test_sort") == 6
    refused = project.place.tarebench("resume", "latest")
    assert refused.status == 2
    assert "Traceback" not in refused.err


@pytest.mark.skipif(len(BOXES) < 2, reason="needs a second runtime, and so root")
def test_trials_are_blocks_in_random_order(project: Project) -> None:
    project.write(SORT)
    names = ",".join(BOXES[:2])
    said = project.pytest("-v", "--box-runtimes", names, "--box-trials=6", "--box-seed=5", *SHORT)
    trials = project.stored().trials
    assert list(trials["block"]) == [n for n in range(6) for _ in range(2)]
    assert all(set(own["runtime"]) == set(BOXES[:2]) for _, own in trials.groupby("block"))
    firsts = trials.groupby("block")["runtime"].first()
    assert set(firsts) == set(BOXES[:2])
    assert "test_sort[bare-trial5] PASSED" in said


def test_a_runtime_that_was_named_must_work(project: Project) -> None:
    project.write(SORT)
    said = project.pytest("--box-runtimes=bare,fake,fail=probe", *SHORT, status=1)
    assert "1 passed, 1 error" in said
    assert "this fake was told to be unavailable (ask for another)" in said
    assert "Traceback" not in said
    assert list(project.stored().trials["runtime"]) == ["bare"]
    assert project.stored().manifest["skipped"]["fake,fail=probe"]["reason"]


def test_a_runtime_that_was_not_named_is_skipped_with_its_reason(project: Project) -> None:
    project.write("def test_here(box):\n    assert box.run(['true']).exit_status == 0")
    said = project.pytest("-rs", "-k", "bare or kvm", "--box-runtimes=all")
    assert "1 passed" in said
    if not Path("/dev/kvm").exists():
        assert "SKIPPED" in said
        assert "kvm: " in said
    assert not project.runs()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--box-runtimes=dokcer", ["there is no runtime 'dokcer'", "did you mean docker?"]),
        ("--box-runtimes=docker,net=none", ["docker has no parameter 'net'", "its parameters"]),
    ],
)
def test_an_unknown_runtime_is_one_sentence(
    project: Project, given: str, words: Sequence[str]
) -> None:
    project.write(SORT)
    said = project.pytest(given, status=2)
    assert all(word in said for word in words)
    assert "Traceback" not in said


def test_what_fails_inside_fails_the_test_with_the_end_of_its_output(project: Project) -> None:
    project.write("""
        import pytest
        from harness.testing.box import WorkloadFailed

        def test_status(box, benchmark):
            benchmark(box.run, ["/bin/busybox", "sh", "-c", "echo so it goes >&2; exit 3"])

        def test_late(box):
            with pytest.raises(WorkloadFailed, match="did not end within 0.2 s"):
                box.run(["sleep", "30"], timeout_s=0.2)
            assert box.run(["true"]).exit_status == 0

        def test_judged(box):
            assert box.run(["false"], check=False).exit_status == 1

        def test_missing(box):
            box.run(["no-such-program"])

        def test_text(box):
            box.run("true")
    """)
    said = project.pytest("--box-runtimes=bare", status=1)
    assert "WorkloadFailed: /bin/busybox ended with exit status 3" in said
    assert "the end of its output: so it goes" in said
    assert "the image has no program no-such-program" in said
    assert "3 failed, 2 passed" in said
    assert "channel.py" not in said
    trials = project.stored().trials
    assert list(trials["outcome"]) == [Outcome.FAILED.value]
    assert "so it goes" in trials["reason"].iloc[0]
    assert project.left_behind() == ""


def test_launches_can_be_timed(project: Project) -> None:
    project.write("""
        def test_launch(box, benchmark):
            benchmark.pedantic(box.start, setup=box.stop, rounds=4)
            assert 0 < box.ready_s <= benchmark.stats.stats.max

        def test_first_job(box, benchmark):
            benchmark.pedantic(box.run, (["true"],), setup=box.fresh, rounds=3)

        def test_twice(box):
            box.start()
    """)
    said = project.pytest("--box-runtimes=bare", status=1)
    assert "2 passed" in said
    assert "the box on bare is running already" in said
    trials = project.stored().trials
    assert [c["launches"] for c in trials["conditions"]] == [5, 4]
    assert [c["rounds"] for c in trials["conditions"]] == [4, 3]
    assert all(marks["request"] < marks["ready"] < marks["removed"] for marks in trials["marks"])
    assert [i["identical"] for i in trials["identity"]] == [True, True]


def test_what_bare_metal_opens_beyond_the_image_is_told(project: Project) -> None:
    project.write("""
        def test_outside(box, benchmark):
            benchmark.pedantic(box.run, (["cat", "/etc/hostname"],), rounds=2)
    """)
    said = project.pytest("--box-runtimes=bare")
    assert "bare: not proven to run the identical image" in said
    assert "/etc/hostname" in said
    assert project.stored().trials["identity"].iloc[0]["identical"] is False


def test_only_what_is_measured_in_the_box_is_stored(project: Project) -> None:
    project.write("""
        import pytest

        def test_elsewhere(box, benchmark):
            benchmark(sorted, [2, 1])

        def test_skipped(box, benchmark):
            pytest.skip("not today")

        def test_plain(box):
            box.run(["true"])
    """)
    said = project.pytest("--box-runtimes=bare", *SHORT)
    assert "2 passed, 1 skipped" in said
    assert not project.runs()
    project.write(SORT)
    assert "1 passed" in project.pytest("--box-runtimes=bare", "--benchmark-disable")
    assert not project.runs()


def test_parameters_of_the_test_are_dimensions(project: Project) -> None:
    project.write("""
        import pytest

        @pytest.mark.parametrize("n", [1, 2])
        class TestMany:
            def test_seq(self, box, benchmark, n):
                benchmark(box.run, ["seq", str(n)])
    """)
    said = project.pytest("--box-runtimes=bare", *SHORT)
    assert "test_mine.testmany.test_seq n=2" in said
    for n in (1, 2):
        assert len(project.stored().values("pytest.test_mine.testmany.test_seq", n=str(n))) == 1


def test_sessions_without_boxes_are_left_alone(project: Project) -> None:
    """Nor is a fixture of the same name that somebody else has."""
    project.write("""
        import sys
        import pytest

        @pytest.fixture
        def box():
            return "of cardboard"

        def test_mine(box):
            assert box == "of cardboard"
            assert not [n for n in sys.modules if n.startswith(("runtimes", "harness.testing."))
                        if n != "harness.testing.plugin"]
    """)
    assert "1 passed" in project.pytest("--box-runtimes=bare", "--box-trials=3")
    assert not (project.place.folder / "results").exists()
    assert not (project.place.folder / "state").exists()


def test_options_are_in_a_group_and_the_plugin_can_be_turned_off(project: Project) -> None:
    said = project.pytest("--help")
    group = said.partition("tarebench: the same test in every box")[2]
    assert "--box-runtimes=LIST" in group
    assert "--box-trials=N" in group
    project.write(SORT)
    assert "fixture 'box' not found" in project.pytest("-p", "no:tarebench", status=1)


HANGING = """
    import os

    def test_first(box, benchmark):
        benchmark.pedantic(box.run, (["true"],), rounds=1)

    def test_hangs(box, benchmark):
        os.write(int(os.environ["TOLD"]), b"here")
        benchmark(box.run, ["sleep", "100"], timeout_s=200)
"""


def cut_off(project: Project, number: signal.Signals) -> tuple[int, str]:
    """A session that is sent a signal while a program runs in its box."""
    project.write(HANGING)
    theirs, ours = os.pipe()
    child: subprocess.Popen[str]
    with subprocess.Popen(
        project.argv(f"--box-runtimes={BOXES[-1]}"), cwd=project.place.folder, text=True,
        env={**project.place.env, "TOLD": str(ours)}, pass_fds=[ours],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as child:  # fmt: skip
        os.close(ours)
        assert os.read(theirs, 4) == b"here"
        os.close(theirs)
        child.send_signal(number)
        said, _ = child.communicate(timeout=120)
        return child.returncode, said


def test_ctrl_c_keeps_finished_trials_and_leaves_nothing(project: Project) -> None:
    status, said = cut_off(project, signal.SIGINT)
    assert status == pytest.ExitCode.INTERRUPTED, said
    run = project.stored()
    assert run.manifest["outcome"] == "interrupted"
    assert list(run.trials["outcome"]) == [Outcome.OK.value, Outcome.INTERRUPTED.value]
    assert project.left_behind() == ""


def test_what_a_killed_session_leaves_is_cleaned(project: Project) -> None:
    status, said = cut_off(project, signal.SIGKILL)
    assert status == -signal.SIGKILL, said
    assert list(project.stored().trials["outcome"]) == [Outcome.OK.value, "interrupted"]
    assert project.left_behind() != ""
    assert project.place.tarebench("clean").status == 0
    assert project.left_behind() == ""


def test_the_example_runs(project: Project) -> None:
    shutil.copy(TOP / "docs" / "examples" / "test_sorting.py", project.place.folder)
    said = project.pytest("--box-runtimes", BOXES[-1], *SHORT)
    assert "3 passed" in said
    listed = subprocess.run(
        [PROGRAM, "list", "runs", "--json"], cwd=project.place.folder, text=True,
        capture_output=True, check=True,
    )  # fmt: skip
    found: list[dict[str, Any]] = json.loads(listed.stdout)
    assert [run["outcome"] for run in found] == ["complete"]
