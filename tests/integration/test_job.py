"""Workloads of one's own: what they print becomes samples, and whatever they do wrong is told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.errors import HarnessError
from harness.experiments import cpu, job
from harness.experiments.bench import Bench
from harness.imagecheck import built
from harness.model import Limits, Sample
from harness.settings import Cpu, Job
from harness.workload import Workload
from tests.command import Place
from tests.conftest import runtime_or_skip
from tests.lab import Lab

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(built() is None, reason="the image is not built: tarebench image build"),
]

TOP = Path(__file__).resolve().parent.parent.parent
RATE = {"unit": "1/s", "better": "higher"}


def bench(lab: Lab, argv: list[str], **keys: Any) -> Bench:
    """A chroot with a workload: the cheapest box that keeps a program inside."""
    runtime = runtime_or_skip(lab, "chroot")
    workload = msgspec.convert({"argv": argv, "timeout_s": 20.0, **keys}, Workload)
    return Bench(
        runtime=runtime, facts=runtime.probe(), image=lab.image, limits=Limits(),
        workload=workload, outside=(), run_id=lab.place.run_id, scratch=lab.place.scratch,
        state=lab.place.state, group=lab.place.group,
    )  # fmt: skip


def shell(script: str) -> list[str]:
    return ["/bin/busybox", "sh", "-c", script]


def parser(kind: str, **value: Any) -> dict[str, Any]:
    return {"kind": kind, "values": {"rate": {**value, **RATE}}}


def test_output_becomes_samples_beside_duration_and_cpu(lab: Lab) -> None:
    made = bench(lab, shell("echo '{\"a\": [3, 4]}'"), parser=parser("json", path="a.1"))
    found = job.measure(made, Job())
    samples = {s.metric: s for s in found.samples}
    assert samples["job.rate"] == Sample("job.rate", 4.0, "1/s")
    assert samples["job.duration"].value > 0
    assert samples["job.cpu"].unit == "s"
    assert found.identity.identical is True
    assert "/usr/bin/busybox" in found.identity.files or "/bin/busybox" in found.identity.files


@pytest.mark.parametrize(
    ("argv", "keys", "said"),
    [
        (shell("echo no json here"), {"parser": parser("json", path="a")},
         "the output is not JSON (.*) its output ends with: no json here"),
        (shell("echo last words; exit 3"), {"parser": parser("json", path="a")},
         "ended with exit status 3; the end of its output: last words"),
        (shell("echo waiting; sleep 60"), {"timeout_s": 0.5},
         "did not end within 0.5 s; the end of its output: waiting"),
        (shell("dd if=/dev/zero of=/dev/full.img"), {"uid": 0, "gid": 0},
         "exit status 1; the end of its output: .*No space left on device"),
        (shell("kill -9 $$"), {}, "ended with signal 9"),
        (shell("echo " + "a" * 40 + "!"), {"parser": parser("regex", pattern=r"^(a+)+$")},
         "not matched within"),
        (["/usr/bin/nothing-such"], {}, "the image has no program /usr/bin/nothing-such"),
        (shell("echo 1"), {"expected_output": "2\n"}, "something else than it must: 1"),
    ],
)  # fmt: skip
def test_whatever_goes_wrong_is_a_reason_with_the_end_of_the_output(
    lab: Lab, argv: list[str], keys: dict[str, Any], said: str
) -> None:
    with pytest.raises(HarnessError, match=said):
        job.measure(bench(lab, argv, **keys), Job())


def test_every_test_of_cpu_runs_once_in_an_order_that_is_written_down(lab: Lab) -> None:
    made = bench(lab, ["/bin/true"])
    found = cpu.measure(made, Cpu(tests=("events", "forks", "faults"), threads=(1, 2)))
    told = {(s.metric, s.dimensions["threads"]) for s in found.samples}
    assert told == {(f"cpu.{t}", n) for t in ("events", "forks", "faults") for n in ("1", "2")}
    assert all(s.value > 0 and s.unit == "1/s" for s in found.samples)
    order = str(found.conditions["order"]).split()
    assert [f"{s.metric.removeprefix('cpu.')}/{s.dimensions['threads']}"
            for s in found.samples] == order  # fmt: skip
    assert found.identity.identical is True


def test_tool_that_the_image_lacks_is_told_by_its_name(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "SYSBENCH", "/usr/bin/sysbench-that-is-not-there")
    with pytest.raises(HarnessError, match="the image has no program /usr/bin/sysbench-that"):
        cpu.measure(bench(lab, ["/bin/true"]), Cpu(tests=("events",)))


def test_the_documented_example_runs_and_a_failing_sibling_is_counted(tmp_path: Path) -> None:
    place = Place(tmp_path)
    example = (TOP / "docs/examples/sorting.toml").read_text()
    good = tmp_path / "good.toml"
    good.write_text(example)
    said = place.tarebench("run", good, "--runtime", "chroot", "--repeat", "1")
    assert said.status == 0, said.err
    assert "job.round" in said.err or "round" in said.err
    manifest = json.loads((said.folder / "manifest.json").read_bytes())
    assert manifest["metrics"]["job.round"]["better"] == "lower"
    assert {row["unit"] for row in place.rows(said.folder) if row["metric"] == "job.round"} == {"s"}
    assert "job.round" in place.told(said.folder)

    bad = tmp_path / "bad.toml"
    bad.write_text(example.replace("column = 2", "column = 7"))
    said = place.tarebench("run", bad, "--runtime", "chroot", "--repeat", "2")
    assert said.status == 1
    assert "3 trials failed" in said.err
    assert place.told(said.folder).count("a line has no column 7 for round") >= 3
    assert place.to_clean() == []
