"""What the report says of disks: verdicts, what is compared with nothing, and the audit."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.analysis.frames import RunData, from_records
from harness.analysis.summary import summarise
from harness.model import Outcome, Sample, TrialRecord
from harness.report.section import Exhibit, Section
from harness.report.sections import disk

CLASSES = {
    "bare": ("bare metal", "none"), "runc": ("container", "none"),
    "kvm": ("virtual machine", "kvm"),
    "runc,storage=volume": ("container", "none"), "qemu": ("emulated machine", "tcg"),
    "kvm,cache=writeback": ("virtual machine", "kvm"),
}  # fmt: skip
PLACE = {"storage": "directory", "filesystem": "ext4", "device": "sda (8:0)"}


@dataclass(frozen=True)
class Made:
    """A run to make: each runtime's speed; what the device moved over fio's own bytes."""

    speeds: Mapping[str, float]
    blocks: int = 10
    device: float | None = 1.0
    flushes: float = 1.0
    conditions: Mapping[str, Mapping[str, str | bool]] = field(default_factory=dict)
    hypervisor: bool = False


def make(made: Made) -> RunData:
    dice = random.Random(1)
    records: list[TrialRecord] = []
    for block in range(made.blocks):
        weather = dice.gauss(1, 0.2)
        for position, (runtime, speed) in enumerate(made.speeds.items()):
            kind, accel = CLASSES[runtime]
            rate = 10_000 * weather * speed * dice.gauss(1, 0.01)
            records.append(
                TrialRecord(
                    f"{len(records):05d}", "io", runtime, kind, accel, block, position, False,
                    Outcome.OK, "", "2026-11-23T20:00:00Z", 1.0, samples=_samples(made, rate),
                    conditions={**PLACE, **made.conditions.get(runtime, {})},
                )
            )  # fmt: skip
    manifest = {
        "schema": 1, "run": "made", "guards": [], "host": {"hypervisor": made.hypervisor},
        "scenario": {"name": "io", "runtimes": list(made.speeds),
                     "thresholds": {"io.randread.iops": {"ratio": 1.05}}},
    }  # fmt: skip
    return from_records(manifest, records)


def _samples(made: Made, rate: float) -> list[Sample]:
    found = []
    for depth in ("1", "16"):
        at = {"depth": depth}
        of_job = at | {"job": "randread"}
        found += [
            Sample("io.randread.iops", rate * int(depth), "1/s", at),
            Sample("io.randread.latency", 1 / rate, "s", at | {"quantile": "0.5"}),
            Sample("io.randread.latency", 9 / rate, "s", at | {"quantile": "0.99"}),
            Sample("io.bytes", 1e6, "bytes", of_job),
            Sample("io.box_bytes", 1e6, "bytes", of_job),
        ]
        if made.device is not None:
            found.append(Sample("io.device_bytes", made.device * 1e6, "bytes", of_job))
    return [
        *found,
        Sample("io.fsync.latency", 20 / rate, "s", {"depth": "1", "quantile": "0.5"}),
        Sample("io.fsync.calls", 100.0, "1", {"depth": "1"}),
        Sample("io.fsync.flushes", 100.0 * made.flushes, "1", {"depth": "1"}),
    ]


def section(made: Made) -> Section:
    run = make(made)
    found = disk.make(run, summarise(run))
    assert found is not None
    return found


def exhibit(found: Section, name: str) -> Exhibit:
    return next(e for e in found.exhibits if e.name == name)


def rows(found: Exhibit) -> Mapping[tuple[str, ...], tuple[str, ...]]:
    assert found.table is not None
    return {row[:3]: row for row in found.table.rows}


def test_a_run_without_io_has_no_section() -> None:
    run = make(Made({}))
    assert disk.make(run, summarise(run)) is None


def test_equal_and_slower_boxes_are_told_apart_with_their_intervals() -> None:
    run = make(Made({"bare": 1.0, "runc": 1.004, "kvm": 0.7}))
    (answer,) = disk.answers(run, summarise(run))
    assert "as many in runc as on bare metal, within 5 %" in answer.headline
    assert "times as many in kvm" in answer.headline
    assert "all 2 at once" in answer.detail


def test_nothing_is_said_of_emulated_machines_but_they_are_shown() -> None:
    found = section(Made({"bare": 1.0, "qemu": 0.05}))
    assert found.answers == ()
    chart = exhibit(found, "disk_reads").chart
    assert chart is not None
    assert "qemu" in chart.alt
    verdicts = [row[-1] for key, row in rows(exhibit(found, "disk_relative")).items()
                if key[2] == "qemu (emulated)"]  # fmt: skip
    assert verdicts
    assert all("no conclusion: emulated in software" in verdict for verdict in verdicts)


def test_a_disk_behind_the_hosts_cache_is_compared_with_nothing() -> None:
    cached: dict[str, dict[str, str | bool]] = {
        "kvm,cache=writeback": {"host_cached": True, "cache": "writeback"}
    }
    found = section(Made({"bare": 1.0, "kvm,cache=writeback": 9.0}, conditions=cached))
    assert found.answers == ()
    assert any("page cache lay in between" in note for note in found.notes)
    row = rows(exhibit(found, "disk_relative"))["random reads, 4 KiB", "1", "kvm,cache=writeback"]
    assert row[-3:] == ("–", "–", "none: the host's page cache lay in between")
    chart = exhibit(found, "disk_relative").chart
    assert chart is None or "kvm" not in chart.alt


def test_a_missing_interval_is_no_verdict() -> None:
    run = make(Made({"bare": 1.0, "runc": 0.5}, blocks=3))
    (answer,) = disk.answers(run, summarise(run))
    assert "not decided" in answer.headline


def test_the_audit_shows_every_counter_over_fios_own() -> None:
    run = make(Made({"bare": 1.0}, device=1.25, flushes=2.0))
    summary = summarise(run)
    (row,) = disk.audit(run, summary, disk.shares(run, summary)).rows
    assert row[4] == "sda (8:0)"
    assert row[6:] == ("1.00", "–", "1.25", "–", "2.00")


def test_what_the_audit_finds_stands_above_the_figures() -> None:
    def notes(made: Made) -> str:
        run = make(made)
        summary = summarise(run)
        return " ".join(disk.notes(run, summary, disk.shares(run, summary)))

    assert notes(Made({"bare": 1.0})) == ""
    assert "somebody else used it too" in notes(Made({"bare": 1.0}, device=2.0))
    assert "flushed less often" in notes(Made({"bare": 1.0}, flushes=0.0))
    assert "what caches lie behind its device is unknown" in notes(
        Made({"bare": 1.0}, hypervisor=True)
    )
    unknown = Made({"bare": 1.0}, device=None, conditions={"bare": {"device": ""}})
    assert "No block device is known below bare" in notes(unknown)


def test_charts_show_every_level_that_is_known() -> None:
    chart = exhibit(section(Made({"bare": 1.0, "runc": 0.9})), "disk_reads").chart
    assert chart is not None
    assert "depth 16 median" in chart.alt
    assert "p99 " in chart.alt
    assert "p99.9" not in chart.alt
