"""What is judged of a host, tried on invented hosts and on this one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.probes import guards
from harness.probes.guards import BLOCK, INFO, WARN, Guard, View

CPU = "sys/devices/system/cpu"
CLOCK = "sys/devices/system/clocksource/clocksource0"
GUEST = "processor : 0\nflags : fpu hypervisor\n"


def judged(root: Path, texts: Mapping[str, str], **more: object) -> dict[str, Guard]:
    for name, text in texts.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    view = View(root=root, cpus=2, **more)  # type: ignore[arg-type]
    return {guard.name: guard for guard in guards.judge(view)}


def test_a_host_that_tells_nothing_has_no_guards(tmp_path: Path) -> None:
    assert judged(tmp_path, {}) == {}


@pytest.mark.parametrize(
    ("texts", "name", "value", "severity"),
    [
        ({"proc/cpuinfo": "processor : 0\nflags : fpu\n"}, "nesting", "none", INFO),
        ({"proc/cpuinfo": GUEST, f"{CLOCK}/available_clocksource": "tsc kvm-clock"},
         "nesting", "KVM", WARN),
        ({"proc/cpuinfo": GUEST, "sys/class/dmi/id/sys_vendor": "QEMU"},
         "nesting", "QEMU TCG", BLOCK),
        ({"sys/kernel/mm/ksm/run": "0"}, "ksm", "off", INFO),
        ({"sys/kernel/mm/ksm/run": "1", "sys/kernel/mm/ksm/pages_sharing": "7"},
         "ksm", "on, 7 pages shared", WARN),
        ({"sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never"},
         "thp", "madvise", INFO),
        ({"sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never"},
         "thp", "always", WARN),
        ({f"{CPU}/cpu0/cpufreq/scaling_governor": "performance"}, "governor", "performance", INFO),
        ({f"{CPU}/cpu0/cpufreq/scaling_governor": "performance",
          f"{CPU}/cpu1/cpufreq/scaling_governor": "powersave"},
         "governor", "performance, powersave", WARN),
        ({f"{CPU}/intel_pstate/no_turbo": "1"}, "turbo", "off", INFO),
        ({f"{CPU}/cpufreq/boost": "1"}, "turbo", "on", INFO),
        ({f"{CPU}/smt/active": "1"}, "smt", "on", INFO),
        ({f"{CPU}/online": "0-1", "proc/self/status":
          "Name:\tx y\nCapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-63"},
         "placement", "left to the scheduler, raised priority of stamps", INFO),
        ({f"{CPU}/online": "0", "proc/self/status": "CapEff:\t0\nCpus_allowed_list:\t0"},
         "placement", "left to the scheduler, ordinary priority of stamps", INFO),
        ({f"{CPU}/online": "0-3,8", "proc/self/status": "Cpus_allowed_list:\t0-2,8"},
         "placement", "0-2,8 of 0-3,8", WARN),
        ({"proc/stat": "cpu 50 0 0 48 0 0 0 2"}, "steal", "2.00% since boot", WARN),
        ({"proc/stat": "cpu 50 0 0 50 0 0 0 0"}, "steal", "0.00% since boot", INFO),
        ({"proc/loadavg": "0.10 0.2 0.3 1/100 5"}, "load", "0.10 on 2 CPUs", INFO),
        ({"proc/loadavg": "3.00 0.2 0.3 1/100 5"}, "load", "3.00 on 2 CPUs", WARN),
        ({"proc/pressure/io": "some avg10=20.5 avg60=1 avg300=1 total=9"},
         "pressure_io", "20 % of the last 10 s", WARN),
        ({f"{CPU}/vulnerabilities/meltdown": "Not affected"},
         "mitigations", "kernel's default; none left vulnerable", INFO),
        ({f"{CPU}/vulnerabilities/mds": "Vulnerable: no microcode", "proc/cmdline":
          "quiet mitigations=off"}, "mitigations", "mitigations=off; vulnerable: mds", WARN),
        ({"proc/meminfo": "SwapTotal: 0 kB"}, "swap", "none", INFO),
        ({"sys/module/kvm/parameters/nx_huge_pages": "Y"}, "nx_huge_pages", "Y", INFO),
        ({"proc/self/mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw,favordynmods 0 0"},
         "favordynmods", "on", INFO),
        ({"proc/self/mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0"}, "cgroups", "v2", INFO),
        ({"sys/module/damon_reclaim/parameters/enabled": "Y"}, "damon", "damon_reclaim", WARN),
        ({"proc/77/comm": "kdamond.0"}, "damon", "a kdamond runs", WARN),
        ({f"{CLOCK}/current_clocksource": "hpet"}, "clocksource", "hpet", WARN),
        ({f"{CLOCK}/current_clocksource": "tsc"}, "clocksource", "tsc", INFO),
        ({"sys/class/power_supply/BAT0/status": "Discharging"}, "battery", "discharging", WARN),
        ({"sys/class/thermal/thermal_zone0/temp": "91000"}, "temperature", "91 °C", WARN),
    ],
)  # fmt: skip
def test_a_condition_is_named_and_weighed(
    tmp_path: Path, texts: Mapping[str, str], name: str, value: str, severity: str
) -> None:
    guard = judged(tmp_path, texts)[name]
    assert (guard.value, guard.severity) == (value, severity)


def test_quiet_pressure_and_idle_damon_are_not_mentioned(tmp_path: Path) -> None:
    found = judged(tmp_path, {
        "proc/pressure/cpu": "some avg10=0.50 avg60=1 avg300=1 total=9",
        "sys/module/damon_reclaim/parameters/enabled": "N",
    })  # fmt: skip
    assert found == {}


def test_swapping_now_is_a_warning(tmp_path: Path) -> None:
    found = judged(tmp_path, {"proc/meminfo": "SwapTotal: 2048 kB"}, swapped_pages=3)
    assert found["swap"].value == "2 MiB, 3 pages moved now"
    assert found["swap"].severity == WARN


def test_the_spread_of_equal_work(tmp_path: Path) -> None:
    assert guards.spread([100] * 200) == 1.0
    assert guards.spread([100] * 97 + [300] * 3) == 3.0
    calm = judged(tmp_path, {}, loops_ns=[100] * 100)["jitter"]
    assert calm.severity == INFO
    noisy = judged(tmp_path, {}, loops_ns=[100] * 90 + [400] * 10)["jitter"]
    assert (noisy.severity, noisy.value) == (WARN, "99th percentile 4.00 × the median")


def test_this_host_s_guards_speak_in_sentences() -> None:
    found = guards.read()
    assert len({guard.name for guard in found}) == len(found) > 3
    for guard in found:
        assert guard.severity in (INFO, WARN, BLOCK)
        assert guard.value
        assert guard.text.endswith(".")
        assert guard.text[0].isupper()
