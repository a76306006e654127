"""What the report and the claims say of copy-on-write and of images on their way."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from harness.analysis.claims import declared
from harness.analysis.claims.answers import Verdict, answer
from harness.analysis.frames import RunData, from_records
from harness.analysis.language import speaking
from harness.analysis.summary import summarise
from harness.metrics import METRICS
from harness.model import MIB, Outcome, Sample, TrialRecord
from harness.report.section import Section
from harness.report.sections import cow, registry
from harness.report.tables import Table

BOXES = {
    "runc": ("container", "none", "overlay"), "docker": ("container", "none", "overlay"),
    "qemu": ("emulated machine", "tcg", "qcow2"),
}  # fmt: skip
IMAGE = 280 * MIB


def sample(metric: str, value: float, **dimensions: str) -> Sample:
    return Sample(metric, value, METRICS[metric].unit, dimensions)


def of_roots(dice: random.Random, layer: str, *, copies: bool) -> Iterator[Sample]:
    for form in (layer, *["copy"] * copies):
        whole = form == "copy"
        yield sample("cow.create", (1.0 if whole else 0.001) * dice.gauss(1, 0.02), form=form)
        yield sample("cow.create_bytes", IMAGE if whole else 8192, form=form)
        for size, up in (("64 KiB", 1.1), ("16 MiB", 1.5)):
            first = 0.02 * (1 if whole else up) * dice.gauss(1, 0.01)
            yield sample("cow.first_write", first, form=form, size=size)
            yield sample("cow.next_write", 0.02 * dice.gauss(1, 0.01), form=form, size=size)
            yield sample("cow.first_write_bytes", 0 if whole else MIB, form=form, size=size)
        yield sample("cow.fleet_bytes", IMAGE * (4 if whole else 1), form=form, instances="4")
        yield sample("cow.added_bytes", IMAGE if whole else MIB, form=form)
        yield sample("cow.shared_bytes", 0 if whole else IMAGE, form=form)


def of_ways(dice: random.Random) -> Iterator[Sample]:
    for state, moved, took in (("cold", 90 * MIB, 9.0), ("shared", 1.01 * MIB, 0.3)):
        for way in ("push", "pull"):
            yield sample(f"registry.{way}_bytes", moved, state=state)
            yield sample(f"registry.{way}", took * dice.gauss(1, 0.02), state=state)
    yield sample("registry.disk_copy", 0.5 * dice.gauss(1, 0.02))
    yield sample("registry.disk_copy_bytes", 300 * MIB)


@pytest.fixture(scope="module")
def run() -> RunData:
    dice = random.Random(1)
    records: list[TrialRecord] = []
    for block in range(10):
        for position, (name, (kind, accel, layer)) in enumerate(BOXES.items()):
            found = {"cow": of_roots(dice, layer, copies=name != "docker")}
            found |= {"registry": of_ways(dice)} if name == "docker" else {}
            for experiment, samples in found.items():
                records.append(
                    TrialRecord(
                        f"{len(records):05d}", experiment, name, kind, accel, block, position,
                        False, Outcome.OK, "", "2026-11-23T20:00:00Z", 1.0, samples=list(samples),
                    )
                )  # fmt: skip
    manifest = {
        "schema": 1, "run": "made", "guards": [], "host": {"hypervisor": False},
        "scenario": {"name": "cow", "runtimes": list(BOXES), "thresholds": {}},
    }  # fmt: skip
    return from_records(manifest, records)


def table(section: Section | None, name: str) -> Table:
    assert section is not None
    found = next(each.table for each in section.exhibits if each.name == name)
    assert found is not None
    return found


def test_layers_stand_before_copies_each_form_with_its_own(run: RunData) -> None:
    section = cow.make(run, summarise(run))
    rows = table(section, "cow_create").rows
    assert [row[0] for row in rows] == [
        "runc, overlay layer", "runc, whole copy", "docker, overlay layer",
        "qemu (emulated), qcow2 overlay", "qemu (emulated), whole copy",
    ]  # fmt: skip
    assert 900 < float(rows[0][2].partition(" times")[0]) < 1100
    assert rows[1][2] == rows[2][2] == "–"  # a copy, and an engine that copies nothing
    fleet = table(section, "cow_fleet").rows
    assert fleet[0][1:3] == ("4", "280 MiB (280 to 280 MiB)")
    assert fleet[0][3].startswith("4.0 times")
    assert table(section, "cow_second").rows[1][1:] == (
        "280 MiB (280 to 280 MiB)", "0 B (0 to 0 B)",
    )  # fmt: skip


def test_writes_are_told_by_size_and_beside_the_next_one(run: RunData) -> None:
    section = cow.make(run, summarise(run))
    assert section is not None
    charts = [each.chart for each in section.exhibits if each.chart]
    assert [chart.name for chart in charts] == [
        "cow-create", "cow-write-0", "cow-write-1", "cow-fleet",
    ]  # fmt: skip
    assert "16 MiB" in charts[2].alt
    assert "first write" in charts[2].alt
    assert "the same once more" in charts[2].alt
    large = next(r for r in table(section, "cow_write_1").rows if "16 MiB" in r[0])
    assert large[0] == "runc, overlay layer, 16 MiB"
    assert 1.4 < float(large[3].split()[0]) < 1.6


def test_the_headline_names_no_emulated_machine(run: RunData) -> None:
    for maker in (cow, registry):
        section = maker.make(run, summarise(run))
        assert section is not None
        (told,) = section.answers
        assert "docker" in told.headline
        assert "qemu" not in told.text


def test_ways_are_told_cold_beside_shared(run: RunData) -> None:
    section = registry.make(run, summarise(run))
    moved = table(section, "registry_bytes").rows
    assert [row[0] for row in moved] == ["docker, push", "docker, pull", "docker, copy of a disk"]
    assert moved[0][1].startswith("90.0 MiB")
    assert moved[0][3].startswith("89 times")
    assert moved[2][2:] == ("–", "–")
    assert table(section, "registry_times").rows[0][1].startswith("9.")


def test_runs_without_them_have_no_such_section(run: RunData) -> None:
    bare = from_records(run.manifest, [])
    for maker in (cow, registry):
        assert maker.make(bare, summarise(bare)) is None


def test_the_claims_of_layers_and_registries_are_decided(run: RunData) -> None:
    told = {each.claim.id: each for each in answer(declared.read(), [run])}
    assert told["cow-fast"].verdict is Verdict.HOLDS
    assert told["layered-small"].verdict is Verdict.HOLDS
    assert told["registry"].verdict is Verdict.HOLDS


def test_both_sections_speak_chinese(run: RunData) -> None:
    with speaking("zh"):
        for maker in (cow, registry):
            section = maker.make(run, summarise(run))
            assert section is not None
            texts = [section.title, section.link, *(answer.text for answer in section.answers)]
            for exhibit in section.exhibits:
                texts += [exhibit.heading] if exhibit.heading else []
                texts += [exhibit.chart.alt] if exhibit.chart else []
                texts += [exhibit.table.caption] if exhibit.table else []
            assert all(any("\u4e00" <= letter <= "\u9fff" for letter in text) for text in texts)
