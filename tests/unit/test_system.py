"""One application in boxes for each part or one with all: its shell, its layouts and its report."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.analysis.frames import from_records, load_run
from harness.analysis.summary import summarise
from harness.errors import ChannelError, DeadlineExceeded, HarnessError
from harness.experiments import system
from harness.experiments.system import EACH, ONE, PARTS
from harness.metrics import METRICS
from harness.model import MIB, Limits, RuntimeClass, Sample
from harness.report.sections.system import make
from harness.report.style import NARROW, WIDE, settings
from harness.serving import Service
from harness.settings import System
from tests.synthetic import Plan, make_run, ok_record


class Bare:
    runtime_class = RuntimeClass.BARE


class Container:
    runtime_class = RuntimeClass.CONTAINER


def test_the_shell_gives_each_part_its_input_in_a_folder_of_its_own(tmp_path: Path) -> None:
    """Run for real, with programs that only copy what they are given."""
    text = system.script(str(tmp_path))
    for program in ("/usr/sbin/nginx", "/usr/bin/redis-server"):
        assert program in text
        text = text.replace(program, f"{shutil.which('tee')} given")
    text = text.replace(" -e stderr -p ", " ").replace(" -c /proc/self/fd/0", "")
    subprocess.run(["sh", "-c", text], check=True, timeout=60, stderr=subprocess.DEVNULL)
    for part, name in PARTS.items():
        service = system._workloads()[name].service
        assert service is not None
        assert (tmp_path / part / "given").read_text() == service.input


def test_a_part_is_asked_in_its_own_folder_and_started_with_all() -> None:
    asked = {part: system._asked(part, "/tmp") for part in PARTS}
    assert {each.socket for each in asked.values()} == {f"{part}/served.sock" for part in PARTS}
    assert len({tuple(each.job.argv) for each in asked.values()}) == 1
    assert {each.folder for each in asked.values()} == {"/tmp"}


class Slow:
    """Refuses a few requests, as what does not listen yet does; then answers, or says nothing."""

    def __init__(self, refusals: int, *, silent: bool = False) -> None:
        self.refusals, self.silent, self.asked = refusals, silent, 0

    def send_request(self, service: Service, stamp_ns: int) -> None:
        self.asked += 1

    def take_pong(self, wait_s: float) -> tuple[int, int] | None:
        if self.asked <= self.refusals:
            raise ChannelError("the service does not listen")
        return None if self.silent else (1, 2)


def test_a_part_is_asked_until_it_answers_or_its_time_is_over() -> None:
    store = system._asked("store", "/tmp")
    brief = replace(store, job=replace(store.job, timeout_s=0.05))
    late = Slow(3)
    assert system._answer(late, store) == 2  # type: ignore[arg-type]
    assert late.asked == 4
    with pytest.raises(ChannelError, match="does not listen"):
        system._answer(Slow(10**6), brief)  # type: ignore[arg-type]
    with pytest.raises(DeadlineExceeded, match="did not answer in time"):
        system._answer(Slow(0, silent=True), brief)  # type: ignore[arg-type]


def test_bare_metal_has_no_box_for_all() -> None:
    assert system._layouts(Bare(), System()) == [EACH]  # type: ignore[arg-type]
    assert system._layouts(Container(), System()) == [EACH, ONE]  # type: ignore[arg-type]
    with pytest.raises(HarnessError, match="no box"):
        system.fits(Bare(), System(layouts=("one-box",)))  # type: ignore[arg-type]


def test_the_one_box_has_the_limits_of_all() -> None:
    assert system._times(Limits(0.5, 64 * MIB, 100), 3, 2) == Limits(1.5, 192 * MIB, 300)
    assert system._times(Limits(cpus=1), 3, 2) == Limits(cpus=2)
    assert system._times(Limits(), 3, 2) == Limits()


def test_memory_is_absent_where_part_of_it_could_not_be_counted() -> None:
    whole, hole = {"pss": 1.0, "charged": 5.0}, {"pss": 1.0}
    names = [s.metric for s in system._samples(ONE, 10**9, whole, whole)]
    assert names == ["system.served", "system.memory"]
    assert [s.metric for s in system._samples(ONE, 10**9, hole, whole)] == ["system.served"]


def test_the_report_sets_a_box_for_each_beside_one_with_all(tmp_path: Path) -> None:
    manifest = {**load_run(make_run(tmp_path / "run", Plan(blocks=1))).manifest, "plan": []}
    chance = random.Random(1)
    kinds = {
        "bare": ("bare metal", "none", {EACH: (0.02, 9e6)}),
        "crun": ("container", "none", {EACH: (0.06, 12e6), ONE: (0.03, 10e6)}),
        "qemu": ("emulated machine", "tcg", {EACH: (6.0, 6e8), ONE: (3.0, 3e8)}),
    }
    records = [
        ok_record(
            "system", box, (kind, accel), block,
            [
                Sample(f"system.{name}", value * chance.uniform(0.95, 1.05),
                       METRICS[f"system.{name}"].unit, {"layout": layout})
                for layout, values in layouts.items()
                for name, value in zip(("served", "memory"), values, strict=True)
            ],
        )
        for block in range(10)
        for box, (kind, accel, layouts) in kinds.items()
    ]  # fmt: skip
    run = from_records(manifest, records)
    section = make(run, summarise(run))
    assert section is not None
    served, memory = section.exhibits
    assert served.table is not None
    assert [row[:2] for row in served.table.rows] == [
        ("bare", "a box for each"), ("crun", "a box for each"), ("crun", "one with all"),
        ("qemu (emulated)", "a box for each"), ("qemu (emulated)", "one with all"),
    ]  # fmt: skip
    for exhibit in (served, memory):
        assert exhibit.chart is not None
        for layout in (WIDE, NARROW):
            with settings():
                assert exhibit.chart.draw(layout).axes
    time, space = section.answers
    assert "qemu" not in time.headline + space.headline
    assert "bare" not in time.headline + space.headline
    assert time.decided
    assert "times the memory: crun 1." in space.headline
