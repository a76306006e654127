"""Tests of one's own in every box: `pytest docs/examples/test_sorting.py` (docs/pytest.md)."""

from __future__ import annotations

from typing import Any

import pytest

from harness.testing.box import Box

NUMBERS = "for i in $(seq {lines}); do echo $((i * 7919 % 10007)); done"


@pytest.mark.parametrize("lines", [1000])
def test_sort(box: Box, benchmark: Any, lines: int) -> None:
    """A program of the image, once a round in a living instance."""
    script = f"{NUMBERS.format(lines=lines)} | sort -n | tail -n 1"
    done = benchmark(box.run, ["/bin/busybox", "sh", "-c", script])
    assert done.stdout.read() == b"10000\n" or lines < 10007


def test_launch(box: Box, benchmark: Any) -> None:
    """From nothing to a box that can take its first job; what ends it is not timed."""
    benchmark.pedantic(box.start, setup=box.stop, rounds=5)


def test_agrees_with_bare_metal(box: Box) -> None:
    """Without `benchmark` it is a plain test, in every box."""
    done = box.run(["seq", "3"])
    assert done.stdout.read() == b"1\n2\n3\n"
