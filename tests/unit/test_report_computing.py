"""What the report says of a box's processor: verdicts, what takes them away, and the words."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.analysis.frames import RunData, from_records
from harness.analysis.relative import Relative, beside_bare, p_values
from harness.analysis.summary import summarise
from harness.analysis.verdicts import Verdict
from harness.model import Identity, Outcome, Sample, Trial, TrialRecord
from harness.report.section import Section
from harness.report.sections import computing

CLASSES = {
    "bare": ("bare metal", "none"), "chroot": ("jail", "none"), "crun": ("container", "none"),
    "docker": ("container", "none"), "qemu": ("emulated machine", "tcg"),
    "kvm": ("virtual machine", "kvm"),
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A run to make: each runtime's speed, and the noise of each block's measurement."""

    speeds: Mapping[str, float]
    blocks: int = 10
    noise: float = 0.01
    metrics: tuple[str, ...] = ("cpu.events",)
    conditions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    guards: tuple[Mapping[str, Any], ...] = ()
    differing: tuple[str, ...] = ()
    """Runtimes whose trials did not execute the image's own files."""


def make(made: Made) -> RunData:
    """The run; what disturbs a block disturbs all its boxes."""
    dice = random.Random(1)
    records: list[TrialRecord] = []
    plan: list[Trial] = []
    for block in range(made.blocks):
        weather = dice.gauss(1, 0.2)
        for position, (runtime, speed) in enumerate(made.speeds.items()):
            trial = Trial(f"{len(plan):05d}", "cpu", runtime, block, position)
            kind, accel = CLASSES[runtime]
            samples = [
                Sample(metric, 1000 * weather * speed * dice.gauss(1, made.noise), "1/s",
                       {"test": "t", "threads": threads})
                for metric in made.metrics for threads in ("1", "16")
            ]  # fmt: skip
            plan.append(trial)
            records.append(
                TrialRecord(
                    trial.trial, "cpu", runtime, kind, accel, block, position, False, Outcome.OK,
                    "", "2026-11-23T20:00:00Z", 1.0, samples=samples,
                    identity=Identity(identical=runtime not in made.differing),
                    conditions={"kernel": "Linux 6.1 x", **made.conditions.get(runtime, {})},
                )
            )  # fmt: skip
    manifest = {
        "schema": 1, "run": "made", "guards": list(made.guards),
        "scenario": {"name": "cpu", "runtimes": list(made.speeds),
                     "thresholds": {m: {"ratio": 1.05} for m in made.metrics}},
    }  # fmt: skip
    return from_records(manifest, records)


def of(made: Made, runtime: str, metric: str = "cpu.events") -> Relative:
    run = make(made)
    found = beside_bare(run, summarise(run), made.metrics)
    return next(r for r in found if r.row.runtime == runtime and r.metric == metric)


def section(made: Made) -> Section:
    run = make(made)
    found = computing.make(run, summarise(run))
    assert found is not None
    return found


def test_equal_speed_is_a_verdict_and_not_the_lack_of_one() -> None:
    found = of(Made({"bare": 1.0, "crun": 1.005}), "crun")
    assert found.verdict is Verdict.EQUIVALENT
    assert found.ratio is not None
    assert abs(found.ratio.value - 1) < 0.02


def test_a_difference_is_found_through_blocks_that_vary_far_more() -> None:
    found = of(Made({"bare": 1.0, "docker": 0.9}), "docker")
    assert found.verdict is Verdict.WORSE


def test_noise_and_few_blocks_give_no_conclusion() -> None:
    noisy = of(Made({"bare": 1.0, "crun": 1.0}, noise=0.3), "crun")
    assert (noisy.verdict, noisy.why) == (
        Verdict.NO_CONCLUSION, "the interval includes both answers",
    )  # fmt: skip
    few = of(Made({"bare": 1.0, "crun": 0.5}, blocks=5), "crun")
    assert few.verdict is Verdict.NO_CONCLUSION
    assert "5 of the 6 blocks" in few.why


def test_emulation_never_gets_a_verdict_nor_a_place_beside_the_others() -> None:
    made = Made({"bare": 1.0, "crun": 1.0, "qemu": 0.05})
    found = of(made, "qemu")
    assert (found.verdict, found.why) == (Verdict.NO_CONCLUSION, "emulated in software")
    first, second = section(made).exhibits
    assert first.chart is not None
    assert second.chart is not None
    assert "qemu" not in first.chart.alt
    assert "crun" not in second.chart.alt
    assert not any("qemu" in answer.text for answer in section(made).answers)
    assert first.table is not None
    assert [r[-1] for r in first.table.rows if r[2] == "qemu (emulated)"] == [
        "no conclusion: emulated in software"
    ] * 2


def test_other_mitigations_take_a_machines_verdict_away() -> None:
    made = Made({"bare": 1.0, "kvm": 0.9}, conditions={"kvm": {"mitigations_differ": "spectre_v2"}})
    assert of(made, "kvm").verdict is Verdict.NO_CONCLUSION
    assert any("other CPU mitigations" in note for note in section(made).notes)
    assert of(Made({"bare": 1.0, "kvm": 0.9}), "kvm").verdict is Verdict.WORSE


def test_what_is_not_the_image_gets_no_verdict() -> None:
    found = of(Made({"bare": 1.0, "kvm": 0.5}, differing=("kvm",)), "kvm")
    assert found.verdict is Verdict.NO_CONCLUSION
    assert found.why == "what ran in it is not the image's own"


def test_nothing_is_held_against_bare_metal_that_was_not_the_image() -> None:
    made = Made({"bare": 1.0, "crun": 0.5}, differing=("bare",))
    found = of(made, "crun")
    assert found.verdict is Verdict.NO_CONCLUSION
    assert found.why == "bare: what ran in it is not the image's own"
    run = make(made)
    assert p_values(run, summarise(run).rows) == []


def test_another_kernel_is_told() -> None:
    made = Made({"bare": 1.0, "kvm": 0.9}, conditions={"kvm": {"kernel": "Linux 5.10 y"}})
    (note,) = section(made).notes
    assert "its own kernel (Linux 5.10)" in note


def test_a_guard_that_blocks_stops_every_verdict() -> None:
    guard = {"name": "nesting", "value": "tcg", "severity": "block", "text": "emulated host"}
    found = of(Made({"bare": 1.0, "crun": 0.5}, guards=(guard,)), "crun")
    assert (found.verdict, found.why) == (Verdict.NO_CONCLUSION, "emulated host")


def test_the_answer_names_who_is_equal_and_who_is_not() -> None:
    (answer,) = section(Made({"bare": 1.0, "chroot": 1.0, "crun": 1.0, "docker": 0.8})).answers
    assert answer.headline.startswith("Chroot and crun compute as fast as bare metal, within 5 %")
    assert "docker computes at 0.8" in answer.headline
    assert "all 6 at once" in answer.detail


def test_without_bare_metal_there_are_values_and_no_ratio() -> None:
    found = section(Made({"crun": 1.0, "docker": 1.0}))
    assert found.answers == ()
    (exhibit,) = found.exhibits
    assert exhibit.chart is None
    assert exhibit.table is not None
    assert {row[5] for row in exhibit.table.rows} == {"–"}


def test_tests_stand_in_their_order_and_threads_by_number() -> None:
    table = (
        section(Made({"bare": 1.0, "crun": 1.0}, metrics=("cpu.events", "cpu.forks")))
        .exhibits[0]
        .table
    )
    assert table is not None
    assert [(row[0].split(" ·")[0], row[1]) for row in table.rows[::2]] == [
        ("plain computing", "1"), ("plain computing", "16"), ("forks", "1"), ("forks", "16"),
    ]  # fmt: skip


def test_chance_among_many_comparisons_makes_no_difference() -> None:
    """With as many comparisons as a report has, no box that is the same is called different."""
    metrics = tuple(computing.TESTS)[:4]
    run = make(Made({"bare": 1.0, "chroot": 1.0, "crun": 1.0, "docker": 1.0}, blocks=8,
                    noise=0.05, metrics=metrics))  # fmt: skip
    found = [r for r in beside_bare(run, summarise(run), metrics) if r.ratio is not None]
    assert len(found) == 24
    assert not [r for r in found if r.verdict.is_difference]
