"""Memory of processes and of the host from the kernel's own texts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from harness.experiments import ledger
from harness.experiments.bench import Bench
from harness.model import Instance, RuntimeClass
from harness.probes import cgroups, memory

ROLLUP = """5581f5a6b000-7ffc5f5ff000 ---p 00000000 00:00 0                          [rollup]
Rss:                3472 kB
Pss:                 846 kB
Pss_Dirty:           388 kB
Swap:                  0 kB
"""


def test_rollup_gives_pss_and_rss_in_bytes() -> None:
    found = memory.parse_rollup(ROLLUP)
    assert found == memory.ProcessMemory(pss_bytes=846 * 1024, rss_bytes=3472 * 1024)


def test_a_zombie_has_no_memory() -> None:
    assert memory.parse_rollup("") is None


def test_lines_that_are_no_sizes_are_passed_over() -> None:
    assert memory.parse_kib("HugePages_Total:       0\nMemFree: 5 kB\nx: y kB\n") == {
        "MemFree": 5120
    }


def test_available_is_free_cached_and_reclaimable() -> None:
    assert memory.available({"MemFree": 1, "Cached": 2, "SReclaimable": 4, "Buffers": 8}) == 7
    assert memory.available({"MemFree": 1, "Cached": 2}) == 3


ZONES = """Node 0, zone    DMA32
  pages free     772855
  pagesets
    cpu: 0
              count:    8
              high:     1910
    cpu: 1
              count:    24066
              high:     26081
  vm stats threshold: 30
"""


def test_free_pages_that_a_cpu_keeps_are_counted() -> None:
    assert memory.free_lists_bytes(ZONES) == (8 + 24066) * os.sysconf("SC_PAGE_SIZE")
    assert memory.free_lists_bytes("") == 0


def test_this_process_and_host_answer() -> None:
    own = memory.process_memory(os.getpid())
    assert own is not None
    assert 0 < own.pss_bytes <= own.rss_bytes
    assert memory.host_available_bytes() > 0


def test_a_process_that_is_gone_has_no_memory() -> None:
    assert memory.process_memory(2**22 + 1) is None


def test_a_box_without_a_counted_group_has_no_charge(tmp_path: Path) -> None:
    assert memory.charged([], []) is None
    assert memory.charged([], [tmp_path]) is None


def test_processes_outside_of_the_group_are_added_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.stat").write_text("anon 1000\nfile 200\nshmem 50\nkernel 30\n")
    inside, outside, gone = 1, 2, 3

    def groups_of(self: cgroups.Layout, pid: int) -> list[Path]:
        if pid == gone:
            raise FileNotFoundError
        return [tmp_path / "below"] if pid == inside else [Path("/elsewhere")]

    monkeypatch.setattr(cgroups.Layout, "groups_of", groups_of)
    sizes = memory.ProcessMemory(pss_bytes=7, rss_bytes=9)
    held = {inside: sizes, outside: sizes, gone: None}
    monkeypatch.setattr(memory, "process_memory", held.get)
    assert memory.charged([inside, outside, gone], [tmp_path]) == 1230 + 7

    def refuse(pid: int) -> None:
        raise PermissionError

    monkeypatch.setattr(memory, "process_memory", refuse)
    assert memory.charged([inside], [tmp_path]) == 1230
    assert memory.charged([inside, outside], [tmp_path]) is None


@pytest.mark.usefixtures("as_nobody")
def test_a_process_that_may_not_be_looked_into_leaves_no_sum() -> None:
    own = os.getpid()
    with pytest.raises(PermissionError):
        memory.process_memory(1)
    assert memory.together([own]) is not None
    assert memory.together([own, 2**22 + 1]) is not None, "that has ended, and costs nothing"
    assert memory.together([own, 1]) is None


@pytest.mark.usefixtures("as_nobody")
def test_a_box_with_a_process_that_may_not_be_looked_into_has_no_pss() -> None:
    bench = cast("Bench", SimpleNamespace(
        runtime=SimpleNamespace(runtime_class=RuntimeClass.CONTAINER)
    ))  # fmt: skip

    def of(*pids: int) -> Mapping[str, float]:
        box = SimpleNamespace(processes=lambda: pids, cgroups=lambda: ())
        return ledger.read_point(bench, [cast("Instance", box)])

    assert 0 < of(os.getpid())["pss"] <= of(os.getpid())["rss"]
    assert {"pss", "rss", "charged"} & set(of(os.getpid(), 1)) == set()
