"""A runtime that hangs, breaks or is slow costs nobody the rest, and is told with its reason."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from harness import doctor, readying, registry
from harness.errors import RuntimeUnavailable, UsageError
from harness.model import Context, Image, RuntimeFacts
from harness.readying import ready
from runtimes.fake import Fake


class Ledger:
    """Nothing is made here."""

    def will_make(self, kind: str, name: str, **details: str) -> None: ...
    def removed(self, kind: str, name: str) -> None: ...


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context("run", tmp_path / "cache", tmp_path / "state", "tarebench-run", Ledger())


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """One of which a scripted runtime derives nothing."""
    return Image("sha256:0", tmp_path / "image", "0", ())


@pytest.fixture
def silent_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Docker's socket, on which somebody listens who never says a word."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "silent.sock"))
        listener.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path / 'silent.sock'}")
        monkeypatch.setattr("runtimes.docker_api._PROBE_TIMEOUT_S", 0.2)
        yield


def test_probe_that_never_returns_is_given_up(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readying, "PROBE_LIMIT_S", 0.2)
    with ExitStack() as stack:
        with pytest.raises(RuntimeUnavailable, match=r"did not answer within 0\.2 s") as caught:
            ready("fake,fail=silent", context, None, stack)
        assert "daemon" in caught.value.hint
        _, facts = ready("fake", context, None, stack)
    assert facts.versions == {"fake": "1"}


def test_probe_that_returns_too_late_is_closed_by_itself(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    go, closed = threading.Event(), threading.Event()

    def slow(self: Fake) -> RuntimeFacts:
        go.wait()
        return RuntimeFacts()

    monkeypatch.setattr(Fake, "probe", slow)
    monkeypatch.setattr(Fake, "close", lambda self: closed.set())
    monkeypatch.setattr(readying, "PROBE_LIMIT_S", 0.1)
    with ExitStack() as stack, pytest.raises(RuntimeUnavailable):
        ready("fake", context, None, stack)
    assert not closed.is_set()  # nobody is closed while somebody is inside
    go.set()
    assert closed.wait(20)


def test_preparation_that_never_returns_is_given_up_and_the_others_go_on(
    context: Context, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readying, "PREPARE_LIMIT_S", 0.2)
    steps: list[tuple[str, str]] = []
    with ExitStack() as stack:
        with pytest.raises(RuntimeUnavailable, match=r"could not be prepared within 0\.2 s") as why:
            ready("fake,fail=stuck", context, image, stack, lambda *step: steps.append(step))
        assert "daemon" in why.value.hint
        _, facts = ready("fake", context, image, stack)
    assert [step for _, step in steps] == ["looking", "preparing its form of the image"]
    assert facts.versions == {"fake": "1"}


def test_preparation_that_is_interrupted_undoes_what_it_has_begun_before_the_rest_is_torn_down(
    context: Context, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, done = threading.Event(), list[str]()

    def work(self: Fake, given: Image) -> None:
        try:
            begun.set()
            while not threading.Event().wait(0.01):
                pass
        finally:
            done.append("undone")

    def press_ctrl_c() -> None:
        begun.wait()
        me = threading.main_thread().ident
        assert me is not None
        signal.pthread_kill(me, signal.SIGINT)

    monkeypatch.setattr(Fake, "prepare", work)
    monkeypatch.setattr(Fake, "close", lambda self: done.append("closed"))
    user = threading.Thread(target=press_ctrl_c)
    user.start()
    with ExitStack() as stack, pytest.raises(KeyboardInterrupt):
        ready("fake", context, image, stack)
    user.join()
    assert done == ["undone", "closed"]


def test_unforeseen_failure_becomes_a_reason_and_the_runtime_is_closed(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    monkeypatch.setattr(Fake, "close", lambda self: closed.append(self.name))
    with ExitStack() as stack:
        with pytest.raises(RuntimeUnavailable, match="ZeroDivisionError: an adapter with a bug"):
            ready("fake,fail=bug", context, None, stack)
        assert closed == ["fake,fail=bug"]
        with pytest.raises(RuntimeUnavailable, match="told to be unavailable"):
            ready("fake,fail=probe", context, None, stack)
        with pytest.raises(UsageError):
            ready("fake,ready_ms=soon", context, None, stack)
        ready("fake", context, None, stack)
        assert "fake" not in closed
    assert closed[-1] == "fake"


@pytest.mark.usefixtures("silent_engine")
def test_engine_that_never_answers_is_told_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TAREBENCH_STATE", str(tmp_path / "lib"))
    monkeypatch.setattr(registry, "names", lambda: ["bare", "docker", "fake"])
    states = {state.name: state for state in doctor.known_runtimes()}
    assert list(states) == ["bare", "docker"]
    assert states["bare"].status == "ready"
    assert states["docker"].status == "unavailable"
    assert "did not answer within 0.2 s" in states["docker"].reason
    assert "DOCKER_HOST" in states["docker"].remedy
