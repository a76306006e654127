"""CPU time from the kernel's own texts."""

from __future__ import annotations

import os

from harness.probes import cpu

STAT = """cpu  84101 10 27537 675362 7386 20 795 1264 500 0
cpu0 38289 0 11192 346344 1833 0 50 557 0 0
ctxt 4912404
"""


def test_seconds_are_ticks_over_their_rate() -> None:
    seconds = cpu.parse_stat(STAT, ticks=100)
    assert seconds["user"] == 841.01
    assert seconds["steal"] == 12.64
    assert "guest" not in seconds


def test_busy_leaves_out_idle_waiting_and_stolen_time() -> None:
    assert cpu.busy(cpu.parse_stat(STAT, ticks=1)) == 84101 + 10 + 27537 + 20 + 795


def test_an_old_kernel_without_steal_has_none() -> None:
    seconds = cpu.parse_stat("cpu 1 2 3 4\n", ticks=1)
    assert cpu.steal_share(seconds) == 0.0
    assert cpu.busy(seconds) == 6


def test_steal_is_a_share_of_everything() -> None:
    assert cpu.steal_share({"user": 1.0, "idle": 2.0, "steal": 1.0}) == 0.25
    assert cpu.steal_share({}) == 0.0


def test_a_program_s_name_may_hold_anything() -> None:
    rest = "S 1 1 1 0 -1 4194560 100 200 0 0 7 5 3 1 20 0 1 0 100 0 0"
    assert cpu.parse_process_stat(f"42 (a) b (c) {rest}", ticks=1) == 16


def test_this_host_answers() -> None:
    assert cpu.busy_s() > 0
    assert cpu.steal_s() >= 0
    assert cpu.count() >= 1
    own = cpu.process_s(os.getpid())
    assert own is not None
    assert own >= 0


def test_a_process_that_is_gone_has_no_time() -> None:
    assert cpu.process_s(2**22 + 1) is None


def test_only_a_mitigation_at_work_counts() -> None:
    states = {"meltdown": "Not affected", "mds": "Vulnerable: no microcode",
              "spectre_v2": "Mitigation: Retpolines"}  # fmt: skip
    assert cpu.mitigated(states) == {"spectre_v2"}
    assert all(text == text.strip() for text in cpu.vulnerabilities().values())
