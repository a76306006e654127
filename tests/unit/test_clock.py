"""Marks are set once and told in the order of time; deadlines end."""

from __future__ import annotations

import pytest

from harness.clock import Deadline, Marks, now_ns
from harness.model import Mark


def test_mark_is_stamped_with_this_instant() -> None:
    marks = Marks()
    before = now_ns()
    stamped = marks.stamp(Mark.STARTED)
    assert before <= stamped <= now_ns()
    assert marks.get(Mark.STARTED) == stamped
    assert marks.get(Mark.READY) is None


def test_mark_is_set_once() -> None:
    marks = Marks()
    marks.at(Mark.READY, 5)
    with pytest.raises(ValueError, match="ready"):
        marks.at(Mark.READY, 6)
    with pytest.raises(ValueError, match="ready"):
        marks.stamp(Mark.READY)
    assert marks.get(Mark.READY) == 5


def test_frozen_marks_are_plain_names_in_the_order_of_time() -> None:
    marks = Marks()
    for mark, ns in ((Mark.EXITED, 30), (Mark.REQUEST, 10), (Mark.READY, 20)):
        marks.at(mark, ns)
    assert list(marks.freeze().items()) == [("request", 10), ("ready", 20), ("exited", 30)]


def test_counters_are_read_just_before_the_request_and_only_then() -> None:
    read_at: list[int] = []
    marks = Marks(before_request=lambda: read_at.append(now_ns()))
    marks.stamp(Mark.CREATED)
    assert read_at == []
    request = marks.stamp(Mark.REQUEST)
    marks.stamp(Mark.READY)
    assert len(read_at) == 1
    assert read_at[0] <= request


def test_deadline_in_the_past_has_no_time_left() -> None:
    assert Deadline(-1.0).over
    assert Deadline(-1.0).left_s() == 0.0
    ahead = Deadline(100.0)
    assert not ahead.over
    assert 99.0 < ahead.left_s() <= 100.0
