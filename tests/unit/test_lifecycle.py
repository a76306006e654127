"""The life of a box without a box: what proves a pause and a return, and the report."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from harness.analysis.frames import from_records, load_run
from harness.analysis.summary import summarise
from harness.clock import now_ns
from harness.errors import DeadlineExceeded
from harness.experiments import lifecycle
from harness.experiments.lifecycle import WrongState
from harness.metrics import METRICS
from harness.model import MIB, Sample
from harness.report.sections.lifecycle import STEPS, make
from harness.report.style import NARROW, WIDE, settings
from harness.settings import Lifecycle
from tests.synthetic import Plan, make_run, ok_record

BRIEF = Lifecycle(silence_s=0.001, ready_timeout_s=0.01)


class Box:
    """A box of a few words. `pauses` or not, `forgets` its memory when it comes back or not."""

    def __init__(self, *, pauses: bool = True, forgets: bool = False, dead: bool = False) -> None:
        self.pauses, self.forgets, self.dead = pauses, forgets, dead
        self.asleep, self.held, self.asked = False, 0, list[int]()

    def pause(self) -> None:
        self.asleep = self.pauses

    def resume(self) -> None:
        self.asleep = False

    def save(self, file: Path) -> None:
        file.write_bytes(b"x" * 8192)

    def restore(self, file: Path) -> None:
        assert file.exists()
        self.held *= not self.forgets

    def touch(self, size_bytes: int, seed: int | None = None) -> int:
        self.held += size_bytes
        return self.held

    def send_ping(self, stamp_ns: int) -> None:
        self.asked.append(stamp_ns)

    def take_pong(self, wait_s: float) -> tuple[int, int] | None:
        if self.asleep or self.dead or not self.asked:
            return None
        return self.asked.pop(), now_ns()


def test_a_pause_is_proven_by_silence() -> None:
    found = lifecycle._paused(Box(), BRIEF)  # type: ignore[arg-type]
    assert set(found) == {"pause", "resume"}
    assert all(value > 0 for value in found.values())
    with pytest.raises(WrongState, match="answered while it was paused"):
        lifecycle._paused(Box(pauses=False), BRIEF)  # type: ignore[arg-type]
    with pytest.raises(DeadlineExceeded):
        lifecycle._paused(Box(dead=True), BRIEF)  # type: ignore[arg-type]


def test_a_return_is_proven_by_the_memory_that_is_held(tmp_path: Path) -> None:
    box = Box()
    found = lifecycle._saved(box, tmp_path / "state", box.touch(MIB), BRIEF)
    assert set(found) == {"save", "save_bytes", "restore"}
    assert found["save_bytes"] >= 8192
    other = Box(forgets=True)
    with pytest.raises(WrongState, match="holds 1 bytes"):
        lifecycle._saved(other, tmp_path / "state", other.touch(MIB), BRIEF)


def test_the_report_has_a_row_for_each_step_that_there_is(tmp_path: Path) -> None:
    manifest = {**load_run(make_run(tmp_path / "run", Plan(blocks=1))).manifest, "plan": []}
    chance = random.Random(1)
    kinds = {
        "crun": ("container", "none",
                 {"ready": 0.007, "pause": 0.004, "resume": 0.005, "stop": 0.002}),
        "runc": ("container", "none", {"ready": 0.02, "save": 0.2, "restore": 0.1, "stop": 0.003}),
        "kvm": ("virtual machine", "kvm", {"ready": 0.9, "pause": 0.01, "resume": 0.01, "save": 0.3,
                                           "restore": 0.3, "stop": 0.1, "save_bytes": 6e7}),
    }  # fmt: skip
    records = [
        ok_record(
            "lifecycle", box, (kind, accel), block,
            [
                Sample(f"lifecycle.{name}", value * chance.uniform(0.95, 1.05),
                       METRICS[f"lifecycle.{name}"].unit)
                for name, value in values.items()
            ],
            {"checkpoint": "criu is not installed" if box == "crun" else None},
        )
        for block in range(10)
        for box, (kind, accel, values) in kinds.items()
    ]  # fmt: skip
    run = from_records(manifest, records)
    section = make(run, summarise(run))
    assert section is not None
    (exhibit,) = section.exhibits
    assert exhibit.table is not None
    assert exhibit.chart is not None
    assert len(exhibit.table.headings) == len(STEPS) + 3
    assert [row[0] for row in exhibit.table.rows] == ["runc", "crun", "kvm"]
    rows = {str(cell[0]) for cell in exhibit.chart.numbers.rows}
    assert {"crun,pause", "kvm,start from a file", "runc,save to a file"} <= rows
    assert "crun,save to a file" not in rows
    for layout in (WIDE, NARROW):
        with settings():
            assert exhibit.chart.draw(layout).axes
    saved, stopped = section.answers
    assert re.search(r"kvm (2\.[89]|3\.[012])", saved.headline)
    assert re.search(r"runc (0\.(19|2))", saved.headline)
    assert saved.decided
    assert stopped.headline.index("crun") < stopped.headline.index("kvm")
    taken, missing = section.notes
    assert taken.startswith("Saved by CRIU was a container of runc with a shell")
    assert missing == "No checkpoint was taken of crun: criu is not installed."
