"""A run of an emulated host: every box carries the mark, and nothing is concluded from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.frames import RunData, load_run
from harness.analysis.relative import beside, unfair
from harness.analysis.summary import summarise
from harness.analysis.verdicts import Verdict
from harness.probes.guards import View, judge
from harness.report import build
from harness.report.style import Subject
from tests.synthetic import Plan, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunData:
    """As a run in the lab records it: the guard is the one that the probe gives there."""
    folder = make_run(tmp_path_factory.mktemp("lab") / "run", Plan(blocks=6))
    stored = json.loads((folder / "manifest.json").read_text())
    stored["host"] |= {"emulated": True, "virtualization": "QEMU TCG"}
    (folder.parent / "proc").mkdir()
    (folder.parent / "proc" / "cpuinfo").write_text("processor : 0\nflags : fpu hypervisor\n")
    found = judge(View(folder.parent, hypervisor_vendor="TCGTCGTCGTCG"))
    (guard,) = [guard for guard in found if guard.name == "nesting"]
    stored["guards"] = [{"name": guard.name, "value": guard.value, "severity": guard.severity,
                         "text": guard.text}]  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(stored))
    return load_run(folder)


def test_every_box_is_marked_and_kept_out_of_verdicts(run: RunData) -> None:
    summary = summarise(run)
    assert {row.runtime for row in summary.rows} >= {"bare", "docker", "qemu"}
    assert all(row.emulated for row in summary.rows)
    assert all(unfair(run, row.runtime) for row in summary.rows)
    found = beside(run, summary, "startup.ready", "bare", {})
    verdicts = {each.row.runtime: each.judgement.verdict for each in found if each.judgement}
    assert "docker" in verdicts
    assert set(verdicts.values()) == {Verdict.NO_CONCLUSION}


def test_what_kvm_ran_there_was_not_translated_itself(tmp_path: Path, run: RunData) -> None:
    folder = make_run(tmp_path / "run", Plan(runtimes=("bare", "runc", "qemu", "kvm"), blocks=6))
    manifest = {**load_run(folder).manifest, "guards": run.manifest["guards"]}
    manifest["host"] = {**manifest["host"], "emulated": True}
    found = summarise(replace(load_run(folder), manifest=manifest)).undecided
    assert found is not None
    assert found.emulated == ("qemu",)
    assert any("emulated host" in text for text in found.guards)


def test_what_has_no_accelerator_is_not_said_to_have_one() -> None:
    assert Subject("runc", "container", "none", True).kind == "emulated in software"
    assert Subject("kvm", "vm", "kvm", True).kind == "emulated in software (KVM)"
    assert Subject("qemu", "vm", "", True).kind == "emulated in software (TCG)"


@pytest.mark.parametrize(("lang", "word"), [("en", "emulated host"), ("zh", "模拟的宿主机")])
def test_the_report_says_so_in_both_languages(
    run: RunData, lang: str, word: str, tmp_path: Path
) -> None:
    build([run], tmp_path / "report.md", format="md", lang=lang)
    assert word in (tmp_path / "report.md").read_text()
