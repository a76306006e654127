"""Whether limits hold, from what a box says of itself and what its group's files say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from harness.experiments.limits import mismatches
from harness.model import MIB, Instance, Limits, LimitSupport, RuntimeClass, Support

ALL = LimitSupport(cpus=Support.SUPPORTED, memory=Support.SUPPORTED, pids=Support.SUPPORTED)
GIVEN = Limits(cpus=0.5, memory_bytes=128 * MIB, pids=64)
V1_INSIDE = {
    "v1.memory.limit": f"{128 * MIB}\n", "v1.cpu.quota_us": "50000", "v1.cpu.period_us": "100000",
    "v1.pids.max": "64",
}  # fmt: skip
V2_INSIDE = {"v2.memory.max": f"{128 * MIB}", "v2.cpu.max": "50000 100000", "v2.pids.max": "64"}
V1_FILES = {
    "memory.limit_in_bytes": f"{128 * MIB}\n", "cpu.cfs_quota_us": "50000\n",
    "cpu.cfs_period_us": "100000\n", "pids.max": "64\n",
}  # fmt: skip
V2_FILES = {"memory.max": f"{128 * MIB}\n", "cpu.max": "50000 100000\n", "pids.max": "64\n"}


class Box:
    """A box that says what the test wants."""

    def __init__(self, said: Mapping[str, str] | None = None, groups: Sequence[Path] = ()) -> None:
        self._said = said or {}
        self._groups = groups

    def facts(self) -> Mapping[str, str]:
        return self._said

    def cgroups(self) -> Sequence[Path]:
        return self._groups


def found(box: Box, kind: RuntimeClass, limits: Limits = GIVEN) -> Sequence[str]:
    return mismatches(cast("Instance", box), kind, limits, ALL)


@pytest.mark.parametrize("inside", [V1_INSIDE, V2_INSIDE])
def test_container_sees_its_own_limits(inside: dict[str, str]) -> None:
    assert found(Box(inside), RuntimeClass.CONTAINER) == []


@pytest.mark.parametrize("files", [V1_FILES, V2_FILES])
@pytest.mark.parametrize("kind", [RuntimeClass.BARE, RuntimeClass.JAIL, RuntimeClass.CONTAINER])
def test_hosts_files_count_where_the_box_shows_none(
    tmp_path: Path, files: dict[str, str], kind: RuntimeClass
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert found(Box({}, [tmp_path]), kind) == []


def test_jail_is_not_asked_for_what_it_sees_of_the_host(tmp_path: Path) -> None:
    for name, text in V1_FILES.items():
        (tmp_path / name).write_text(text)
    lie = {key: "1" for key in V1_INSIDE}
    assert found(Box(lie, [tmp_path]), RuntimeClass.JAIL) == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("v1.memory.limit", "9223372036854771712", "the memory limit is 9223372036854771712"),
        ("v1.cpu.quota_us", "-1", "the CPU quota is -1/100000, not 0.5 CPUs"),
        ("v1.cpu.quota_us", "100000", "the CPU quota is 100000/100000, not 0.5 CPUs"),
        ("v1.pids.max", "max", "pids are max, not 64"),
    ],
)
def test_limit_that_does_not_hold_is_told(key: str, value: str, said: str) -> None:
    (line,) = found(Box({**V1_INSIDE, key: value}), RuntimeClass.CONTAINER)
    assert said in line


def test_a_limit_above_what_the_box_sees_counts(tmp_path: Path) -> None:
    for name, text in V2_FILES.items():
        (tmp_path / name).write_text(text)
    none = {"v2.memory.max": "max\n", "v2.cpu.max": "max 100000", "v2.pids.max": "max"}
    assert found(Box(none, [tmp_path]), RuntimeClass.CONTAINER) == []


def test_unlimited_v2_group_is_told(tmp_path: Path) -> None:
    for name in V2_FILES:
        (tmp_path / name).write_text("max 100000\n" if name == "cpu.max" else "max\n")
    lines = found(Box({}, [tmp_path]), RuntimeClass.BARE)
    assert len(lines) == 3
    assert any("the memory limit is max" in line for line in lines)


def test_box_that_tells_nothing_does_not_pass() -> None:
    lines = found(Box(), RuntimeClass.CONTAINER)
    assert len(lines) == 3
    assert any("absent" in line for line in lines)
    assert any("unlimited" in line for line in lines)


def guest(memory_kib: int, cpus: int) -> Box:
    return Box({"meminfo": f"MemTotal: {memory_kib} kB\nMemFree: 1 kB\n", "cpus": str(cpus)})


def test_guest_is_held_to_its_processors_and_memory() -> None:
    limits = Limits(cpus=1.5, memory_bytes=128 * MIB)
    assert found(guest(100 * 1024, 2), RuntimeClass.MACHINE, limits) == []
    (line,) = found(guest(100 * 1024, 1), RuntimeClass.EMULATED, limits)
    assert "1 CPUs, not 2" in line
    for kib in (64 * 1024, 129 * 1024):
        (line,) = found(guest(kib, 2), RuntimeClass.MACHINE, limits)
        assert f"{kib * 1024} bytes of memory" in line


def test_what_was_not_asked_for_or_is_not_supported_is_not_looked_at() -> None:
    box = cast("Instance", Box())
    assert mismatches(box, RuntimeClass.CONTAINER, Limits(), ALL) == []
    assert mismatches(box, RuntimeClass.BARE, GIVEN, LimitSupport()) == []
