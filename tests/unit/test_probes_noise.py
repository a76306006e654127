"""What makes a host noisy: each kind over its limit is named with its number and a remedy."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from harness.probes import noise
from harness.probes.noise import Look, judge

QUIET = Look(
    at_s=100.0, cpu_s={"user": 10.0, "system": 5.0, "idle": 100.0, "steal": 0.0}, load=0.1,
    swapped=7, waited_s={"cpu": 1.0, "memory": 1.0, "io": 1.0},
    processes={(1, "init"): 1.0, (9, "make"): 2.0},
)  # fmt: skip
LATER = replace(QUIET, at_s=101.0, cpu_s={**QUIET.cpu_s, "idle": 102.0})


def noisy(after: Look) -> dict[str, noise.Reading]:
    return {each.name: each for each in judge(QUIET, after, 2) if each.noisy}


def test_a_quiet_host_is_quiet() -> None:
    found = judge(QUIET, LATER, 2)
    assert not noisy(LATER)
    names = ["load", "busy", "steal", "swap", "pressure_cpu", "pressure_memory", "pressure_io"]
    assert [each.name for each in found] == names


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        ({"load": 1.5}, "load", "1.50 over the last minute, limit 1.00"),
        ({"cpu_s": {**LATER.cpu_s, "user": 10.5}}, "busy", "0.50 processors busy"),
        ({"cpu_s": {**LATER.cpu_s, "steal": 0.1}}, "steal", "4.8% of the time"),
        ({"swapped": 12}, "swap", "5 pages swapped"),
        ({"waited_s": {**LATER.waited_s, "cpu": 1.2}}, "pressure_cpu", "20% of the time"),
        ({"waited_s": {**LATER.waited_s, "memory": 1.02}}, "pressure_memory", "limit 1%"),
        ({"waited_s": {**LATER.waited_s, "io": 1.5}}, "pressure_io", "a disk in 50%"),
    ],
)
def test_each_noise_is_named(change: dict[str, object], name: str, said: str) -> None:
    found = noisy(replace(LATER, **change))  # type: ignore[arg-type]
    assert list(found) == [name]
    assert said in found[name].text
    assert found[name].remedy


def test_who_is_busy_is_named() -> None:
    busy = {**LATER.cpu_s, "user": 10.5}
    found = noisy(replace(LATER, cpu_s=busy, processes={(1, "init"): 1.0, (9, "make"): 2.48}))
    assert found["busy"].text.endswith(": make (pid 9) 0.48")


def test_what_the_kernel_does_not_count_is_absent() -> None:
    silent = replace(LATER, load=None, waited_s={})
    assert [each.name for each in judge(QUIET, silent, 2)] == ["busy", "steal", "swap"]


def test_a_process_that_spins_is_heard_on_this_host() -> None:
    with subprocess.Popen([sys.executable, "-c", "print(1, flush=True)\nwhile True: pass"],
                          stdout=subprocess.PIPE) as spinner:  # fmt: skip
        assert spinner.stdout is not None
        spinner.stdout.readline()
        before = noise.look()
        noise.listen(0.5)
        found = {each.name: each for each in judge(before, noise.look(), 2)}
        spinner.kill()
    assert found["busy"].noisy
    assert found["busy"].value > 0.2
