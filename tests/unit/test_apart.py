"""Work in a process of its own: only where it pays, and never in place of its own failure."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import pytest

from harness.analysis.apart import WORTH, apart

ASIDE = sys.platform == "linux" and (os.cpu_count() or 1) > 1


def counted(calls: list[int]) -> Callable[[], int]:
    def work() -> int:
        calls.append(os.getpid())
        return os.getpid()

    return work


def test_of_a_small_run_it_is_done_here_once_and_when_it_is_asked_for() -> None:
    calls: list[int] = []
    result = apart(counted(calls), WORTH - 1)
    assert calls == []
    assert result() == result() == os.getpid()
    assert len(calls) == 1


@pytest.mark.skipif(not ASIDE, reason="one processor, or a system without fork")
def test_of_a_large_one_it_is_done_in_another_process() -> None:
    calls: list[int] = []
    result = apart(counted(calls), WORTH)
    assert result() == result() != os.getpid()
    assert calls == []


@pytest.mark.skipif(not ASIDE, reason="one processor, or a system without fork")
def test_much_that_nobody_asks_for_holds_up_nothing() -> None:
    for _ in range(3):
        apart(lambda: b"x" * (4 << 20), WORTH)  # more than a pipe takes


@pytest.mark.parametrize("rows", [0, WORTH])
def test_what_fails_fails_where_it_is_asked_for(rows: int) -> None:
    def work() -> int:
        raise ValueError("no such thing")

    result = apart(work, rows)
    with pytest.raises(ValueError, match="no such thing"):
        result()


def test_a_process_that_was_ended_costs_nothing_but_time() -> None:
    here = os.getpid()

    def work() -> str:
        if os.getpid() != here:
            os._exit(9)
        return "done here"

    assert apart(work, WORTH)() == "done here"
