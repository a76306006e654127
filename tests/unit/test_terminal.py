"""How a run looks in a terminal: figures for people, plain lines, and the closing table."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from harness import events
from harness.clock import duration_text
from harness.model import Outcome, Sample, Trial, TrialRecord
from harness.terminal import (
    LiveProgress,
    PlainProgress,
    bytes_text,
    failure_line,
    headline_tables,
    listing_text,
    progress,
    results_table,
    seconds,
)

TRIAL = Trial(trial="00003", experiment="startup", runtime="runc", block=1, position=0)


def record(runtime: str, ready: float | None, reason: str = "", **more: object) -> TrialRecord:
    samples = [] if ready is None else [Sample("startup.ready", ready, "s")]
    fields: dict[str, object] = {
        "trial": "00003", "experiment": "startup", "runtime": runtime, "runtime_class": "jail",
        "accel": "none", "block": 1, "position": 0, "warmup": False,
        "outcome": Outcome.OK if ready is not None else Outcome.FAILED, "reason": reason,
        "started_utc": "", "wall_s": 0.5, "samples": samples,
    }  # fmt: skip
    return TrialRecord(**{**fields, **more})  # type: ignore[arg-type]


def console(width: int = 80, terminal: bool = False) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, highlight=False)


def shown(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return to.file.getvalue()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00 µs"), (1.5e-6, "1.50 µs"), (0.000784, "784 µs"), (0.00121, "1.21 ms"),
        (0.0661, "66.1 ms"), (0.5, "500 ms"), (1.0, "1.00 s"), (12.34, "12.3 s"), (512.0, "512 s"),
        (-0.002, "-2.00 ms"),
    ],
)  # fmt: skip
def test_seconds_have_three_digits(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.00 MiB"), (146800, "0.14 MiB"), (10 << 20, "10.0 MiB"), (20 << 30, "20.0 GiB")],
)
def test_bytes(value: float, text: str) -> None:
    assert bytes_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.4, "0 s"), (99, "99 s"), (100, "2 min"), (5400, "90 min"), (7260, "2 h 1 min")],
)
def test_durations(value: float, text: str) -> None:
    assert duration_text(value) == text


def test_progress_fits_where_it_is_shown() -> None:
    assert isinstance(progress(console(terminal=True), quiet=False), LiveProgress)
    assert isinstance(progress(console(), quiet=False), PlainProgress)
    quiet = console(terminal=True)
    with progress(quiet, quiet=True) as observe:
        observe(events.Preparing("runc", "looking"))
    assert shown(quiet) == ""


def test_plain_lines_are_one_line_each_whatever_the_width() -> None:
    to = console(width=20)
    with PlainProgress(to) as observe:
        observe(events.Preparing("runc", "preparing its form of the image"))
        observe(events.Skipped("kvm", "no [bold]device[/]", "load the module"))
        observe(events.Proven("runc", True, ""))
        observe(events.Proven("bare", False, "differs"))
        observe(events.Planned([TRIAL]))
        observe(events.Began(TRIAL, 1, 20, None))
        observe(events.Began(TRIAL, 2, 20, 3.0))
        observe(events.Ended(record("runc", 0.1)))
        observe(events.Ended(record("runc", None, "it broke")))
        observe(events.Finishing("writing the report"))
    assert shown(to).splitlines() == [
        "runc: preparing its form of the image",
        "kvm: skipped: no [bold]device[/] (load the module)",
        "runc: runs the identical image",
        "bare: NOT proven identical: differs",
        "1 trials",
        "block 1: trial 1 of 20",
        "trial 00003 (startup on runc, block 1): failed: it broke",
        "writing the report",
    ]


def test_where_a_rule_decides_the_end_nobody_counts_against_a_plan() -> None:
    """With --until a plan has a thousand blocks, of which it may take ten."""
    goal = "1 of 2 medians known to ±5.0%, the least runc: ±8.1%"
    to, live = console(terminal=True, width=120), console(terminal=True, width=120)
    PlainProgress(to)(events.Began(TRIAL, 9, None, None, goal))
    assert shown(to).splitlines() == [f"block 1: trial 9; {goal}"]
    progress = LiveProgress(live)
    progress(events.Began(TRIAL, 9, None, 60.0, goal))
    live.print(progress._render())
    assert f"startup runc (block 1) · trial 9, at most 60 s left; {goal}" in shown(live)
    assert "\u2501" not in shown(live), "a bar would say how far it is"


def test_live_progress_shows_medians_failures_and_the_time_left() -> None:
    to = console(terminal=True)
    live = LiveProgress(to)
    live(events.Began(TRIAL, 7, 20, 42.0))
    for value in (0.1, 0.2, 0.9):
        live(events.Ended(record("runc", value)))
    live(events.Ended(record("runc", 5.0, warmup=True)))
    live(events.Ended(record("runc", None, "it broke")))
    to.print(live._render())
    text = shown(to)
    assert "200 ms" in text
    assert "startup runc (block 1) · trial 7 of 20, 42 s left" in text
    assert "it broke" in text


def test_failure_is_one_line() -> None:
    line = failure_line(record("runc", None, "it broke"))
    assert line == "trial 00003 (startup on runc, block 1): failed: it broke"


def test_closing_table_has_a_line_a_runtime_the_quickest_first() -> None:
    charged = [Sample("memory.charged", 10 << 20, "bytes")]
    to = console()
    to.print(
        results_table(
            [
                record("runc", 0.06),
                record("runc", 0.08),
                record("runc", 9.0, warmup=True),
                record("chroot", 0.001),
                record("chroot", None, "x"),
                record("qemu", None, "no boot"),
                record("host", 0.5, experiment="canary"),
                record("runc", 1.0, experiment="memory", samples=charged),
            ]
        )
    )
    lines = shown(to).splitlines()
    rows = [
        line for line in lines if line.split()[:1] and line.split()[0] in ("chroot", "runc", "qemu")
    ]
    assert [row.split()[0] for row in rows] == ["chroot", "runc", "qemu"]
    assert rows[0].rstrip().endswith("1")
    assert "70.0 ms" in rows[1]
    assert "10.0 MiB" in rows[1]
    assert "–" in rows[2]
    assert "canary" not in shown(to)
    assert "9.00 s" not in shown(to)
    assert max(map(len, lines)) <= 80


def charged(state: str, mib: float) -> Sample:
    return Sample("memory.charged", mib * (1 << 20), "bytes", {"state": state, "n": "2"})


def test_states_of_memory_have_a_table_and_only_the_idle_one_is_compared() -> None:
    idle = record("runc", 1.0, experiment="memory", samples=[charged("idle", 5)])
    assert headline_tables([idle]) == []
    first = Sample("memory.cache.first", 42 << 20, "bytes", {"state": "cache"})
    states = [charged("idle", 5), charged("touched", 69), charged("ballooned", 6), first]
    records = [idle, record("qemu", 1.0, experiment="memory", samples=states)]
    (built,) = headline_tables(records)
    to = console()
    to.print(built)
    heading, *rows = [line.split() for line in shown(to).splitlines() if line.strip()]
    assert heading == ["charged", "idle", "touched", "ballooned", "1st", "reader"]
    assert rows[0] == ["runc", "5.00", "MiB", "–", "–", "–"]
    assert rows[1] == ["qemu", "5.00", "MiB", "69.0", "MiB", "6.00", "MiB", "42.0", "MiB"]
    to = console()
    to.print(results_table(records))
    assert "69.0" not in shown(to)


def test_headlines_of_other_experiments_have_tables_of_their_own() -> None:
    def event(runtime: str, threads: str, value: float, warmup: bool = False) -> TrialRecord:
        sample = Sample("cpu.events", value, "1/s", {"test": "t", "threads": threads})
        return record(runtime, 1.0, experiment="cpu", samples=[sample], warmup=warmup)

    [table] = headline_tables(
        [
            event("bare", "1", 200.0), event("bare", "1", 400.0), event("bare", "2", 900.0),
            event("runc", "1", 250.0), event("runc", "1", 9.0, warmup=True),
            record("runc", 0.5),
        ]
    )  # fmt: skip
    to = console()
    to.print(table)
    lines = [line.split() for line in shown(to).splitlines() if line.strip()]
    assert lines[-2:] == [["bare", "300", "900"], ["runc", "250", "–"]]


def test_table_of_nothing_is_no_error() -> None:
    console().print(results_table([]))


def test_listing() -> None:
    rows: list[dict[str, Any]] = [
        {"name": "quick", "description": "What does the box cost?"},
        {"name": "startup.ready", "description": "until READY", "unit": "s"},
    ]  # fmt: skip
    lines = listing_text(rows, 80).splitlines()
    assert lines[0].split() == ["quick", *["What", "does", "the", "box", "cost?"]]
    assert lines[1].endswith("until READY · s")
    assert listing_text([], 80) == "nothing yet"


def test_headlines_of_many_runtimes_fit_a_narrow_terminal() -> None:
    """More runtimes than values: a line a runtime, else each name would be cut."""
    names = [f"docker,network=none,storage={kind}" for kind in ("layer", "volume", "other")]
    made = [
        TrialRecord(
            f"{n:05d}", "io", name, "container", "none", 0, n, False, Outcome.OK, "", "", 1.0,
            samples=[Sample("io.randread.iops", 12345.6 + n, "1/s", {"depth": depth})
                     for depth in ("1", "16")],
        )
        for n, name in enumerate(names)
    ]  # fmt: skip
    out = io.StringIO()
    for each in headline_tables(made):
        Console(file=out, width=80).print(each)
    for n, name in enumerate(names):
        assert any(name in line and line.count(f"12,34{6 + n}") == 2 for line in
                   out.getvalue().splitlines())  # fmt: skip
