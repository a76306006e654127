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

from harness.alone import Claim
from harness.analysis.frames import RunData, load_run
from harness.imagecheck import built
from harness.model import Outcome
from tests.command import Place
from tests.conftest import runtime_or_skip
from tests.lab import open_lab

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
MINE = """
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

    def test_launch(box, benchmark):
        benchmark.pedantic(box.start, setup=box.stop, rounds=4)
        assert 0 < box.ready_s <= benchmark.stats.stats.max

    def test_first_job(box, benchmark):
        benchmark.pedantic(box.run, (["true"],), setup=box.fresh, rounds=3)

    def test_twice(box):
        box.start()

    def test_outside(box, benchmark):
        benchmark.pedantic(box.run, (["cat", "/etc/hostname"],), rounds=2)

    def test_elsewhere(box, benchmark):
        benchmark(sorted, [2, 1])

    def test_skipped(box, benchmark):
        pytest.skip("not today")

    @pytest.mark.parametrize("n", [1, 2])
    class TestMany:
        def test_seq(self, box, benchmark, n):
            benchmark(box.run, ["seq", str(n)])
"""
ABSENT = "fake,fail=probe"
"""A runtime that cannot work anywhere."""


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


@dataclass(frozen=True)
class Done:
    """A session that has ended: what it printed, and the run that it stored."""

    project: Project
    said: str
    run: RunData

    def trial(self, test: str) -> dict[str, Any]:
        """The only trial of a test."""
        rows = [
            {str(key): value for key, value in row.items()}
            for row in self.run.trials.to_dict(orient="records")
            if row["conditions"]["test"].startswith(f"test_mine.py::{test}[")
        ]
        (row,) = rows
        return row


def session(folder: Path, source: str, *arguments: str, status: int = 0) -> Done:
    project = Project(Place(folder))
    project.write(source)
    said = project.pytest(*SHORT, *arguments, status=status)
    return Done(project, said, project.stored())


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The example of the documentation, on every box that is surely here."""
    source = (TOP / "docs" / "examples" / "test_sorting.py").read_text()
    asked = ["--box-runtimes", ",".join(BOXES), "--benchmark-json=out.json"]
    return session(tmp_path_factory.mktemp("example"), source, *asked)


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Six trials on two boxes, as far as there are two."""
    asked = ["-v", "--box-runtimes", ",".join(BOXES[:2]), "--box-trials=6", "--box-seed=5"]
    return session(tmp_path_factory.mktemp("trials"), SORT, *asked)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Done:
    """Tests that go well and tests that do not, where a named runtime does not work."""
    asked = ["-v", f"--box-runtimes=bare,{ABSENT}"]
    return session(tmp_path_factory.mktemp("mixed"), MINE, *asked, status=1)


def rows(table: str, test: str) -> set[str]:
    """The ids that have a row in pytest-benchmark's table."""
    heads = [line.split()[0] for line in table.splitlines() if line.startswith(f"{test}[")]
    return {head.removeprefix(f"{test}[").removesuffix("]") for head in heads}


def test_every_box_has_a_row_in_the_table(example: Done) -> None:
    assert rows(example.said, "test_sort") == {f"{name}-1000" for name in BOXES}
    assert rows(example.said, "test_launch") == set(BOXES)
    assert f"{3 * len(BOXES)} passed" in example.said
    assert f"benchmark 'test_mine.test_sort lines=1000': {len(BOXES)} tests" in example.said


def test_every_box_has_a_trial_in_the_store(example: Done) -> None:
    run = example.run
    assert run.manifest["outcome"] == "complete"
    assert run.manifest["metrics"]["pytest.test_mine.test_sort"]["better"] == "lower"
    assert not run.notes
    told = json.loads((example.project.place.folder / "out.json").read_text())["benchmarks"]
    sorting = {b["extra_info"]["runtime"]: b for b in told if b["name"].startswith("test_sort")}
    assert set(sorting) == set(BOXES)
    for runtime, row in sorting.items():
        (value,) = run.values("pytest.test_mine.test_sort", runtime, lines="1000")
        assert value == row["stats"]["median"] > 0
        assert row["extra_info"]["image"] == run.manifest["image"]["digest"]
        assert row["extra_info"]["identical"] is True
        assert row["extra_info"]["emulated"] is False
        assert run.manifest["runtimes"][runtime]["verified"]["identical"] is True
        assert run.manifest["channel"][runtime]["round_trip_ns"]


def test_a_session_leaves_nothing_and_says_where_the_run_is(example: Done) -> None:
    assert example.project.left_behind() == ""
    assert example.run.folder is not None
    assert str(example.run.folder) in example.said.replace("\n", "")
    listed = json.loads(example.project.place.tarebench("list", "runs", "--json").out)
    assert [run["outcome"] for run in listed] == ["complete"]


def test_the_stored_run_is_reported_and_exported(trials: Done) -> None:
    place = trials.project.place
    report = place.tarebench("report", "latest", "--format", "md")
    assert report.status == 0, report.err
    text = Path(report.out.strip()).read_text().replace("\\_", "_")
    assert "pytest.test_mine.test_sort" in text
    assert "A trial’s value is the median of its rounds" in text
    assert "--box-seed=5" in text
    assert "--seed 5" not in text
    exported = place.tarebench("export", "latest", "--to", "csv").out
    assert exported.count("pytest.test_mine.test_sort") == 6 * len(BOXES[:2])
    refused = place.tarebench("resume", "latest")
    assert refused.status == 2
    assert "Traceback" not in refused.err


@pytest.mark.skipif(len(BOXES) < 2, reason="needs a second runtime, and so root")
def test_trials_are_blocks_in_random_order(trials: Done) -> None:
    stored = trials.run.trials
    assert list(stored["block"]) == [n for n in range(6) for _ in range(2)]
    assert all(set(own["runtime"]) == set(BOXES[:2]) for _, own in stored.groupby("block"))
    assert set(stored.groupby("block")["runtime"].first()) == set(BOXES[:2])
    assert "test_sort[bare-trial5] PASSED" in trials.said


def test_a_runtime_that_was_named_must_work(mixed: Done) -> None:
    assert f"test_late[{ABSENT}] ERROR" in mixed.said
    assert f"{ABSENT}: this fake was told to be unavailable (ask for another)" in mixed.said
    assert set(mixed.run.trials["runtime"]) == {"bare"}
    assert mixed.run.manifest["skipped"][ABSENT]["reason"]


def test_what_fails_inside_fails_the_test_with_the_end_of_its_output(mixed: Done) -> None:
    failed = ["test_status[bare] FAILED", "test_missing[bare] FAILED", "test_text[bare] FAILED"]
    passed = ["test_late[bare] PASSED", "test_judged[bare] PASSED"]
    assert all(f"test_mine.py::{test}" in mixed.said for test in [*failed, *passed])
    assert "WorkloadFailed: /bin/busybox ended with exit status 3" in mixed.said
    assert "the end of its output: so it goes" in mixed.said
    assert "the image has no program no-such-program" in mixed.said
    assert "channel.py" not in mixed.said
    assert "During handling" not in mixed.said
    trial = mixed.trial("test_status")
    assert trial["outcome"] == Outcome.FAILED.value
    assert "so it goes" in trial["reason"]


def test_launches_can_be_timed(mixed: Done) -> None:
    assert "the box on bare is running already" in mixed.said
    for test, launches, rounds in (("test_launch", 5, 4), ("test_first_job", 4, 3)):
        trial = mixed.trial(test)
        assert trial["outcome"] == Outcome.OK.value
        assert trial["conditions"]["launches"] == launches
        assert trial["conditions"]["rounds"] == rounds
        assert trial["identity"]["identical"] is True
        assert trial["marks"]["request"] < trial["marks"]["ready"] < trial["marks"]["removed"]


def test_what_bare_metal_opens_beyond_the_image_is_told(mixed: Done) -> None:
    assert "bare: not proven to run the identical image" in mixed.said
    assert mixed.trial("test_outside")["identity"]["outside"] == ["/etc/hostname"]
    assert mixed.trial("test_outside")["identity"]["identical"] is False


def test_only_what_is_measured_in_the_box_is_a_trial(mixed: Done) -> None:
    stored = {conditions["test"] for conditions in mixed.run.trials["conditions"]}
    assert not [test for test in stored if "elsewhere" in test or "skipped" in test]
    assert mixed.run.manifest["outcome"] == "complete"


def test_parameters_of_the_test_are_dimensions(mixed: Done) -> None:
    assert "test_mine.testmany.test_seq n=2" in mixed.said
    for n in ("1", "2"):
        assert len(mixed.run.values("pytest.test_mine.testmany.test_seq", n=n)) == 1


def test_a_runtime_that_was_not_named_is_skipped_with_its_reason(project: Project) -> None:
    project.write("def test_here(box):\n    assert box.run(['true']).exit_status == 0")
    said = project.pytest("-rs", "-k", "bare or kvm", "--box-runtimes=all")
    assert "1 passed" in said
    if not Path("/dev/kvm").exists():
        assert "SKIPPED" in said
        assert "kvm: " in said
    assert not project.runs()


@pytest.mark.parametrize(
    ("given", "status", "words"),
    [
        ("--box-runtimes=dokcer", 2, ["there is no runtime 'dokcer'", "did you mean docker?"]),
        ("--box-packages=zstd,-evil", 4, ["-evil holds what is no package's name"]),
        ("--box-trials=0", 4, ["argument --box-trials"]),
    ],
)
def test_bad_usage_is_one_sentence(
    project: Project, given: str, status: int, words: Sequence[str]
) -> None:
    project.write(SORT)
    said = project.pytest(given, status=status)
    assert all(word in said for word in words)
    assert "Traceback" not in said
    assert "harness/testing" not in said


def test_a_disabled_benchmark_stores_nothing(project: Project) -> None:
    project.write(SORT)
    assert "1 passed" in project.pytest("--box-runtimes=bare", "--benchmark-disable")
    assert not project.runs()


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

    def tell():
        os.write(int(os.environ["TOLD"]), b"here")

    def test_hangs(box, benchmark):
        benchmark.pedantic(box.run, (["sleep", "100"],), {"timeout_s": 200}, setup=tell)
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


@pytest.mark.slow
def test_docker_and_an_emulated_machine(project: Project) -> None:
    with open_lab() as lab:  # closed before the session: only one private engine can run
        for name in ("docker", "qemu"):
            runtime_or_skip(lab, name)
    project.write("""
        def test_seq(box, benchmark):
            assert box.emulated == (box.runtime == "qemu")
            done = benchmark.pedantic(box.run, (["seq", "3"],), rounds=3)
            assert done.stdout.read().split() == [b"1", b"2", b"3"]
    """)
    said = project.pytest("--box-runtimes=docker,network=none,qemu")
    assert rows(said, "test_seq") == {"docker,network=none", "qemu(emulated)"}
    run = project.stored()
    assert list(run.trials["outcome"]) == ["ok", "ok"]
    assert all(proof["identical"] for proof in run.trials["identity"])
    assert project.left_behind() == ""


def test_session_beside_a_run_is_refused_by_its_name_and_can_be_forced(project: Project) -> None:
    """The claim is this process's own, under the word of this session of tests."""
    project.write("def test_it(box):\n    box.run(['true'])\n")
    with Claim(Path("/somewhere/first-run")) as run:
        said = project.pytest("--box-runtimes", "bare", status=1)
        assert "another run goes on on this host: first-run" in said
        assert run.others() == []
        project.pytest("--box-runtimes", "bare", "--box-force")
        assert len(run.others()) == 1
