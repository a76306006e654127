"""Two runs at once on one host are refused, or told of each other; the kernel keeps the names."""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path

import pytest

from harness.alone import VARIABLE, Claim
from harness.errors import EnvironmentRefused, UsageError

HERE, THERE, THIRD = Path("/a/first-run"), Path("/b/second-run"), Path("/c/third-run")


@pytest.fixture(autouse=True)
def word(monkeypatch: pytest.MonkeyPatch) -> str:
    """A word of this test's own, which no other run on this host uses."""
    found = f"t-{secrets.token_hex(4)}"
    monkeypatch.setenv(VARIABLE, found)
    return found


def test_second_run_is_refused_with_the_name_of_the_first_until_that_has_ended() -> None:
    with Claim(HERE) as first:
        assert first.others() == []
        with pytest.raises(EnvironmentRefused) as refused:
            Claim(THERE)
        assert refused.value.message.endswith(f"first-run (pid {os.getpid()})")
        assert "--force" in refused.value.hint
        assert refused.value.exit_code == 3
        assert first.others() == [], "who is refused disturbs nobody"
    with Claim(THERE):
        pass


def test_forced_run_and_its_neighbour_know_of_each_other() -> None:
    with Claim(HERE) as first:
        with Claim(THERE, force=True) as second:
            assert second.others() == [f"first-run (pid {os.getpid()})"]
        assert first.others() == [f"second-run (pid {os.getpid()})"]
        assert first.others() == [f"second-run (pid {os.getpid()})"], "also when it is asked again"


def test_forced_run_that_outlives_the_first_is_not_overlooked() -> None:
    first = Claim(HERE)
    with Claim(THERE, force=True):
        first.close()
        with pytest.raises(EnvironmentRefused, match="second-run"):
            Claim(THIRD)


def test_same_run_folder_is_left_to_the_lock_of_its_journal() -> None:
    with Claim(HERE), Claim(HERE) as again:
        assert again.others() == []
    with Claim(HERE), pytest.raises(EnvironmentRefused):
        Claim(THERE / HERE.name)


def test_another_word_is_another_world(monkeypatch: pytest.MonkeyPatch) -> None:
    with Claim(HERE):
        monkeypatch.setenv(VARIABLE, "another")
        with Claim(THERE) as apart:
            assert apart.others() == []
    monkeypatch.setenv(VARIABLE, "no word")
    with pytest.raises(UsageError, match="is not a word"):
        Claim(HERE)


@pytest.mark.parametrize("name", ["r" * 300, "ü" * 100, "a b/c d", "…" * 60])
def test_any_folder_has_a_name_that_the_kernel_takes(name: str) -> None:
    with Claim(Path("/x") / name), pytest.raises(EnvironmentRefused, match="another run goes on"):
        Claim(THERE)


def test_who_holds_a_name_without_running_keeps_nobody_from_it(word: str) -> None:
    """Anybody may take a name in that table; only one that says who runs is heeded."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as squatter:
        squatter.bind(f"\0tarebench/{word}/one")
        with Claim(HERE) as run:
            assert run.others() == []


def test_what_anybody_sends_is_one_line_of_a_guard(word: str) -> None:
    with Claim(HERE) as run, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(f"\0{own_address(word)}")
        for said in (b"\x1b[2J<script>\n", b"\xff" * 3000, b""):
            sender.send(said)
        told = run.others()
    assert told
    assert all(line.isprintable() and len(line) <= 200 for line in told)


def own_address(word: str) -> str:
    lines = Path("/proc/net/unix").read_text().splitlines()
    (line,) = [line for line in lines if f"@tarebench/{word}/run/" in line]
    return line.partition("@")[2]
