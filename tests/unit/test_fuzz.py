"""Whatever is read is read or refused: a bounded number of bad inputs for every reader.

The same for minutes is tests/integration/test_fuzz_long.py; docs/robustness.md has the figures.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.answers import number
from harness.errors import ChannelError, HarnessError, UsageError
from tests.fuzz.campaign import Tally, once
from tests.fuzz.mutants import parted, reframed
from tests.fuzz.promises import Broken, Target, hold
from tests.fuzz.targets import HELLO, frame, targets


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What was left out is logged line by line: thousands here."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", sorted(targets()))
def test_a_reader_keeps_its_promises(name: str) -> None:
    target = targets()[name]
    for seed in target.seeds:
        hold(target, seed)
    tally = Tally(name)
    once(target, tally, target.few, seed=0)
    assert not tally.broken, (tally.broken, tally.culprit)
    assert tally.inputs >= target.few


def _writes(data: bytes, folder: Path) -> None:
    (folder / "inside").write_bytes(data)
    (folder / ".." / "outside").write_bytes(data)


def _fails(data: bytes, folder: Path) -> None:
    raise KeyError(data)


def _refuses(data: bytes, folder: Path) -> None:
    raise UsageError("no")


@pytest.mark.parametrize(
    ("feed", "told"), [(_writes, "outside"), (_fails, "KeyError"), (_refuses, "without")]
)
def test_a_broken_promise_is_noticed(feed: object, told: str) -> None:
    with pytest.raises(Broken, match=told):
        hold(Target("bad", (b"",), feed), b"x")  # type: ignore[arg-type]


@given(st.data())
def test_frames_that_are_bent_are_frames(data: st.DataObject) -> None:
    frames = parted(HELLO + frame(b"OUT1", b"a\0b"))
    assert [kind for kind, _ in frames] == [b"HELO", b"OUT1"]
    assert parted(data.draw(reframed(frames)))


@pytest.mark.parametrize("said", ["", "x", "1_0", "٣", "9" * 20, "0x1", " 1"])
def test_what_is_no_number_of_the_agents_is_refused(said: str) -> None:
    with pytest.raises(ChannelError, match="no number for held"):
        number({"held": said}, "held")


def test_a_sentence_about_something_long_is_not_long() -> None:
    error = HarnessError("begin" + "x" * 10**6 + "end")
    assert len(error.message) < 5000
    assert (error.message[:5], error.message[-3:]) == ("begin", "end")
