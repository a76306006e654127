"""Checkpoints of containers, without CRIU: the shell that is asked, and why none is taken."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.errors import ChannelError, CommandFailed
from harness.inventory import Inventory, clean, left_over
from harness.lifecycle import NotCheckpointed
from harness.model import MIB
from harness.probes import criu
from harness.process import Process, find_program, spawn
from runtimes import checkpoint
from runtimes.checkpoint import Conversation

WAIT_S = 20.0
CHECKPOINTS = json.dumps({"annotations": {checkpoint._ANNOTATION: "true"}}).encode()


@contextmanager
def shell(folder: Path) -> Iterator[Process]:
    """The program of a container that is checkpointed, as a process of this host."""
    with spawn([str(find_program("sh")), "-c", checkpoint.SCRIPT, "sh", str(folder)]) as process:
        yield process


def answer(talk: Conversation, process: Process, word: str, number: int) -> int:
    talk.ask(word, number)
    heard = talk.hear(WAIT_S, process.pidfd)
    assert heard is not None
    return heard[0]


def test_the_shell_says_numbers_back_and_counts_what_it_holds(tmp_path: Path) -> None:
    with checkpoint.conversation(tmp_path) as talk, shell(tmp_path) as process:
        assert answer(talk, process, "ping", 123_456_789_012) == 123_456_789_012
        assert answer(talk, process, "hold", MIB) == MIB
        assert answer(talk, process, "hold", 1) == MIB + 1
        assert talk.hear(0.0, process.pidfd) is None, "one answer for each question"


def test_a_shell_that_stands_still_goes_on_where_it_was(tmp_path: Path) -> None:
    with checkpoint.conversation(tmp_path) as talk, shell(tmp_path) as process:
        answer(talk, process, "ping", 1)
        process.kill(signal.SIGSTOP)
        talk.ask("ping", 2)
        assert talk.hear(0.05, process.pidfd) is None
        process.kill(signal.SIGCONT)
        heard = talk.hear(WAIT_S, process.pidfd)
        assert heard is not None
        assert heard[0] == 2


def test_another_process_with_the_same_pipes_is_told_from_the_first(tmp_path: Path) -> None:
    with checkpoint.conversation(tmp_path) as talk:
        with shell(tmp_path) as first:
            answer(talk, first, "ping", 1)
        with shell(tmp_path) as second, pytest.raises(ChannelError, match="answer 1 of the proc"):
            answer(talk, second, "ping", 2)


def test_a_process_that_has_ended_is_not_waited_for(tmp_path: Path) -> None:
    with checkpoint.conversation(tmp_path) as talk, shell(tmp_path) as process:
        process.kill()
        talk.ask("ping", 1)
        with pytest.raises(ChannelError, match="has ended"):
            talk.hear(WAIT_S, process.pidfd)


@pytest.mark.parametrize(
    "told", [b"", b"not JSON", b"[]", b"{}", b'{"annotations": null}',
             CHECKPOINTS.replace(b"true", b"false")],
)  # fmt: skip
def test_a_program_without_criu_is_asked_for_nothing(told: bytes) -> None:
    with pytest.raises(NotCheckpointed, match="crun does not say"):
        checkpoint.require("crun", told)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo 'Error (criu/vdso.c:1): no' >&2; exit 1", "criu check: Error (criu/vdso.c:1): no"),
        ("exit 3", "criu check: exit status 3"),
        ("exec sleep 60", "no end after"),
    ],
)
def test_the_words_of_criu_are_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    program = tmp_path / "criu"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(criu, "_CHECK_TIMEOUT_S", 0.5)
    with pytest.raises(NotCheckpointed) as caught:
        checkpoint.require("runc", CHECKPOINTS)
    assert reason in caught.value.message


def test_the_first_error_of_a_log_is_found(tmp_path: Path) -> None:
    log = tmp_path / "dump.log"
    assert criu.first_error(log) is None
    log.write_text("(00.1) Warn  (a.c:1): odd\n(00.2) Error (b.c:2): no\n(00.3) Error (c.c:3): x\n")
    assert criu.first_error(log) == "(b.c:2): no"


def test_what_criu_leaves_is_written_down_before_and_goes(tmp_path: Path) -> None:
    cache = tmp_path / "criu.kdat"
    with Inventory("run", tmp_path / "inventories") as inventory:
        with criu.leaving_nothing(inventory, cache):
            assert [(e.kind, e.name) for e in inventory.entries()] == [("file", str(cache))]
            cache.write_text("found out")
        assert not cache.exists()
        assert not inventory.entries()
        cache.write_text("of somebody else's")
        with criu.leaving_nothing(inventory, cache):
            assert not inventory.entries()
        assert cache.exists()


def test_what_criu_left_of_a_killed_run_is_cleaned(tmp_path: Path) -> None:
    cache = tmp_path / "criu.kdat"
    with Inventory("killed", tmp_path / "inventories") as inventory:
        inventory.will_make("file", str(cache))
    assert left_over(inventory.path) == []
    cache.write_text("found out")
    assert [entry.name for entry in left_over(inventory.path)] == [str(cache)]
    assert clean(inventory.path) == []
    assert not cache.exists()


def test_a_program_that_fails_is_quoted_from_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    fails = ["/bin/sh", "-c", f"echo 'level=error msg=no' > {log}; exit 2"]
    with pytest.raises(CommandFailed, match="exit status 2: level=error msg=no"):
        checkpoint.call(fails, log)
    with pytest.raises(CommandFailed, match="it said nothing"):
        checkpoint.call(["/bin/false"], tmp_path / "none")
    checkpoint.call(["/bin/true"], log)
