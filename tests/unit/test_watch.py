"""The guard of a ramp stops it before the host is short of anything, and says of what."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from harness.experiments import watch as watches
from harness.experiments.watch import Bounds, Stop, Watch
from harness.model import MIB
from harness.probes import pressure
from harness.probes.room import Room, look, stays

GIB = 1024 * MIB
ROOMY = Room(
    available_bytes=8 * GIB, swapped_out=0, stalled_s={"memory": 1.0, "cpu": 1.0},
    disk_free_bytes=100 * GIB, disk_stays_bytes=GIB, pids_free=30_000, descriptors_free=10_000,
)  # fmt: skip


class Host:
    """What the guard sees; a test changes it, and waits for the guard to act."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room = ROOMY
        self.ended = threading.Event()
        monkeypatch.setattr(watches, "look", lambda folders: self.room)
        monkeypatch.setattr(watches, "_LOOK_EVERY_S", 0.001)
        monkeypatch.setattr(watches, "_SHORTEST_WINDOW_S", 0.01)

    def watch(self, bounds: Bounds) -> Watch:
        return Watch((), bounds, self.ended.set)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def await_stop(watch: Watch) -> Stop:
    tick = threading.Event()
    for _ in range(5000):
        if watch.stop is not None:
            return watch.stop
        tick.wait(0.002)
    raise AssertionError("the guard did not stop it")


def test_looks_ahead_by_what_instances_have_taken(host: Host) -> None:
    watch = host.watch(Bounds(2 * GIB))
    assert watch.ahead(0, 1, 100 * MIB) is None
    host.room = replace(ROOMY, available_bytes=3 * GIB)  # ten have taken 512 MiB each
    assert watch.ahead(10, 1, 0) is None
    stop = watch.ahead(10, 2, 0)
    assert stop is not None
    assert stop.rule == "reserve"
    assert "3072 MiB of memory were available, 2 more would take about 1280 MiB" in stop.text


def test_first_instance_is_expected_to_take_what_is_declared(host: Host) -> None:
    watch = host.watch(Bounds(2 * GIB))
    stop = watch.ahead(0, 1, 7 * GIB)
    assert stop is not None
    assert stop.rule == "reserve"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"disk_free_bytes": 900 * MIB}, "disk"),
        ({"pids_free": 900}, "pids"),
        ({"descriptors_free": 150}, "descriptors"),
    ],
)
def test_other_things_that_run_out(host: Host, change: dict[str, int], rule: str) -> None:
    watch = host.watch(Bounds(2 * GIB))
    host.room = replace(ROOMY, **change)  # type: ignore[arg-type]
    stop = watch.ahead(10, 1, 0)
    assert stop is not None
    assert stop.rule == rule


@pytest.mark.parametrize(("free", "stops"), [(288 * MIB, False), (70 * MIB, True)])
def test_a_small_file_system_is_used_but_for_a_quarter(host: Host, free: int, stops: bool) -> None:
    """/run of a host of 3 GB of memory has 300 MB."""
    small = stays(300 * MIB)
    host.room = replace(ROOMY, disk_free_bytes=free, disk_stays_bytes=small)
    assert (host.watch(Bounds(2 * GIB)).ahead(0, 1, 0) is not None) == stops
    assert stays(100 * GIB) == GIB


def test_stops_by_itself_when_the_reserve_is_touched(host: Host) -> None:
    with host.watch(Bounds(2 * GIB)) as watch:
        host.room = replace(ROOMY, available_bytes=2 * GIB - 1)
        assert await_stop(watch).rule == "reserve"
        assert watch.ahead(1, 1, 0) == watch.stop
    assert not host.ended.is_set()
    assert watch.emergency is None


def test_far_below_the_reserve_everything_is_ended(host: Host) -> None:
    with host.watch(Bounds(2 * GIB)) as watch:
        host.room = replace(ROOMY, available_bytes=GIB - 1)
        assert host.ended.wait(20)
        assert watch.emergency is not None
        assert "1024 MiB of memory were available, and 2048 MiB are to stay" in watch.emergency.text


def test_swapping_stops(host: Host) -> None:
    with host.watch(Bounds(2 * GIB)) as watch:
        host.room = replace(ROOMY, swapped_out=10_000)
        assert await_stop(watch) == Stop("swap", "the host swapped 10000 pages out")


def test_pressure_is_a_share_of_the_last_seconds(host: Host) -> None:
    with host.watch(Bounds(2 * GIB, cpu_pressure=0.5)) as watch:
        host.room = replace(ROOMY, stalled_s={"memory": 900.0, "cpu": 1.0})
        threading.Event().wait(0.1)  # no event tells that nothing happens
        assert watch.stop is None
        host.room = replace(ROOMY, stalled_s={"memory": 900.0, "cpu": 10.0})
        assert await_stop(watch).rule == "cpu_pressure"


def test_this_host_is_seen(tmp_path: Path) -> None:
    room = look((tmp_path,))
    assert room.available_bytes > 0
    assert room.disk_free_bytes > 0
    files = [Path("/dev/null").open() for _ in range(20)]  # noqa: SIM115
    try:
        assert look((tmp_path,)).descriptors_free <= room.descriptors_free - 20
    finally:
        for file in files:
            file.close()


def test_pressure_files() -> None:
    text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=1500000\nfull avg10=0 total=20\n"
    assert pressure.parse(text) == {"some": 1.5, "full": 0.00002}
    assert pressure.stalled_s(Path("/nowhere")) == {}


def test_a_guard_that_cannot_look_ends_the_ramp(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(folders: object) -> Room:
        raise FileNotFoundError(2, "No such file or directory", "scratch")

    with host.watch(Bounds(2 * GIB)) as watch:
        monkeypatch.setattr(watches, "look", gone)
        assert host.ended.wait(10)
    assert watch.emergency is not None
    assert "could not be looked at: [Errno 2] No such file" in watch.emergency.text


def test_an_end_that_fails_does_not_end_the_guard(host: Host) -> None:
    def fails() -> None:
        host.ended.set()
        raise RuntimeError("one of them does not end")

    with Watch((), Bounds(2 * GIB), fails) as watch:
        host.room = replace(ROOMY, available_bytes=GIB // 2)
        assert host.ended.wait(10)
    assert watch.emergency is not None
    assert watch.emergency.rule == "reserve"
