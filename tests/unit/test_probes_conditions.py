"""The weather of a trial: read around it, cheaply, and absent where the kernel tells nothing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.probes.conditions import Value, Weather

STAT = "cpu  {busy} 0 0 50 0 0 0 {steal} 0 0\ncpu0 1 1 1 1\n"
FILES = {
    "proc/loadavg": "1.50 1.0 0.9 3/200 77\n",
    "proc/stat": STAT.format(busy=100, steal=10),
    "proc/vmstat": "nr_free_pages 7\npswpin 5\npswpout 6\nzswpin 9\n",
    "proc/pressure/cpu": "some avg10=1.0 avg60=0 avg300=0 total=1000000\nfull avg10=0 total=9\n",
    "sys/kernel/mm/ksm/run": "0\n",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "4\n",
    "sys/devices/system/cpu/cpu0/topology/physical_package_id": "0\n",
    "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count": "4\n",
    "sys/devices/system/cpu/cpu1/topology/physical_package_id": "0\n",
}


@pytest.fixture
def host(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def change(host: Path, name: str, text: str) -> None:
    with (host / name).open("r+") as file:  # the same file: it is kept open, as the kernel's are
        file.truncate()
        file.write(text)


def test_what_happened_during_a_trial(host: Path) -> None:
    found: dict[str, Value] = {}
    with Weather(host) as weather, weather.trial(found):
        change(host, "proc/stat", STAT.format(busy=150, steal=30))
        change(host, "proc/vmstat", "nr_free_pages 7\npswpin 6\npswpout 8\nzswpin 99\n")
        change(host, "proc/pressure/cpu", "some avg10=1.0 total=3500000\n")
        for cpu in ("cpu0", "cpu1"):
            place = f"sys/devices/system/cpu/{cpu}/thermal_throttle/package_throttle_count"
            change(host, place, "7\n")
    assert found == pytest.approx({
        "load_before": 1.5, "running_before": 2, "trial_busy_s": 0.5, "trial_steal_s": 0.2,
        "trial_swapped_pages": 3, "trial_pressure_cpu_s": 2.5, "trial_throttled": 3,
    })  # fmt: skip


def test_a_setting_that_was_changed_since_the_run_began_is_told(host: Path) -> None:
    thp = "sys/kernel/mm/transparent_hugepage/enabled"
    with Weather(host) as weather:
        first: dict[str, Value] = {}
        with weather.trial(first):
            pass
        change(host, thp, "[always] madvise never\n")
        found: dict[str, Value] = {}
        with weather.trial(found):
            pass
    assert not [name for name in first if name.startswith("changed")]
    assert found["changed_thp"] == "madvise → always"
    assert "changed_ksm" not in found


def test_a_failed_trial_has_weather_too(host: Path) -> None:
    found: dict[str, Value] = {}
    with Weather(host) as weather, pytest.raises(ValueError, match="no"), weather.trial(found):
        raise ValueError("no")
    assert found["trial_busy_s"] == 0


def test_a_host_that_tells_nothing_has_no_weather(tmp_path: Path) -> None:
    found: dict[str, Value] = {}
    with Weather(tmp_path) as weather, weather.trial(found):
        pass
    assert found == {}


def test_it_costs_well_under_a_millisecond_and_keeps_no_file() -> None:
    rounds = 50
    files = len(list(Path("/proc/self/fd").iterdir()))
    with Weather() as weather:
        begin = time.thread_time_ns()
        for _ in range(rounds):
            with weather.trial({}):
                pass
        each_s = (time.thread_time_ns() - begin) / rounds / 1e9
    assert each_s < 0.001
    assert len(list(Path("/proc/self/fd").iterdir())) == files
