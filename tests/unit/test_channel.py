"""The host's side of the agent: framing, stamps, readiness, and a real agent behind them."""

from __future__ import annotations

import itertools
import os
import queue
import select
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import paths
from harness.channel import READY_BYTES, Agent, Dialer, Listener
from harness.clock import HEARS_EVERY_S, Deadline, now_ns
from harness.errors import ChannelError, DeadlineExceeded, LaunchFailed
from harness.image.agent import build_agent
from harness.model import Job
from harness.process import Process, spawn, wait_pidfd
from harness.serving import Service
from harness.spool import SpooledOutput

LONG_S = 30.0


def frame(type: bytes, payload: bytes = b"") -> bytes:
    return struct.pack("<4sI", type, len(payload)) + payload


class Peer:
    """The far end of a listener, played by the test."""

    def __init__(self, listener: Listener) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(LONG_S)
        self.socket.connect(str(listener.path))

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def hear(self, count: int) -> bytes:
        return self.socket.recv(count, socket.MSG_WAITALL)

    def hang_up(self) -> None:
        self.socket.close()


class Asked(queue.Queue[tuple[int, bytes]]):
    """A queue that remembers how long it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits_s: list[float | None] = []

    def get(self, block: bool = True, timeout: float | None = None) -> tuple[int, bytes]:
        self.waits_s.append(timeout)
        return super().get(block, timeout)


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    with Listener(tmp_path / "channel") as made:
        yield made


@pytest.fixture
def peer(listener: Listener) -> Iterator[Peer]:
    made = Peer(listener)
    yield made
    made.hang_up()


# ---------------------------------------------------------------- readiness


def test_ready_is_stamped_between_saying_and_looking(listener: Listener, peer: Peer) -> None:
    before = now_ns()
    peer.say(READY_BYTES)
    ready_ns = listener.wait_ready(LONG_S)
    assert before <= ready_ns <= now_ns()
    assert listener.connected_ns is not None
    assert listener.connected_ns <= ready_ns
    assert listener.peer_pid is not None


def test_consumer_that_looks_late_sees_the_early_stamp(listener: Listener, peer: Peer) -> None:
    peer.say(READY_BYTES)
    arrived = listener._chunks.not_empty
    with arrived:
        assert arrived.wait_for(lambda: listener._chunks.queue, LONG_S)
    looked_ns = now_ns()
    assert listener.wait_ready(LONG_S) < looked_ns


@pytest.mark.parametrize(
    "said",
    [frame(b"PONG"), frame(b"REDY", b"!"), frame(b"HELO", b"x=1"), b"GET / HTTP/1.1\r\n\r\n"],
)
def test_another_first_word_is_refused(listener: Listener, peer: Peer, said: bytes) -> None:
    peer.say(said)
    with pytest.raises(LaunchFailed, match=r"instead of READY|no frame of our agent"):
        listener.wait_ready(LONG_S)


@pytest.mark.parametrize("said", [b"", READY_BYTES[:5]])
def test_hanging_up_before_ready_is_a_failure_at_once(
    listener: Listener, peer: Peer, said: bytes
) -> None:
    peer.say(said)
    peer.hang_up()
    with pytest.raises(LaunchFailed, match="hung up before it was ready"):
        listener.wait_ready(LONG_S)


def test_box_that_dies_before_it_connects_is_noticed(listener: Listener) -> None:
    begin = now_ns()
    with pytest.raises(LaunchFailed, match="ended before it was ready"):
        listener.wait_ready(LONG_S, alive=lambda: False)
    assert (now_ns() - begin) / 1e9 < LONG_S / 2


def test_silent_box_is_a_timeout(listener: Listener, peer: Peer) -> None:
    with pytest.raises(DeadlineExceeded, match=r"not ready after 0\.05 s"):
        listener.wait_ready(0.05)


# ---------------------------------------------------------------- framing


def test_frames_may_be_split_at_any_byte(tmp_path: Path) -> None:
    whole = READY_BYTES + frame(b"OUT1", b"abc") + frame(b"DONE", b"")
    for cut in range(1, len(whole)):
        with Listener(tmp_path / "channel") as listener:
            peer = Peer(listener)
            peer.say(whole[:cut])
            peer.say(whole[cut:])
            listener.wait_ready(LONG_S)
            found = [listener.next_frame(Deadline(LONG_S)) for _ in range(2)]
            assert [(f.type, f.payload) for f in found] == [(b"OUT1", b"abc"), (b"DONE", b"")]
            peer.hang_up()


def say_in_pieces(peer: Peer, data: bytes, sizes: list[int]) -> None:
    at = 0
    for size in itertools.cycle(sizes):
        if at >= len(data):
            return
        peer.say(data[at : at + size])
        at += size


@settings(max_examples=25, deadline=None)
@given(
    frames=st.lists(st.tuples(st.sampled_from([b"OUT1", b"OPEN"]), st.binary(max_size=300))),
    sizes=st.lists(st.integers(1, 40), min_size=1),
)
def test_any_frames_in_any_pieces_arrive_whole_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, frames: list[tuple[bytes, bytes]], sizes: list[int]
) -> None:
    data = b"".join(frame(*each) for each in frames)
    with Listener(tmp_path_factory.mktemp("any") / "channel") as listener:
        peer = Peer(listener)
        talking = threading.Thread(target=say_in_pieces, args=(peer, data, sizes))
        talking.start()
        found = [listener.next_frame(Deadline(LONG_S)) for _ in frames]
        talking.join()
        peer.hang_up()
    assert [(f.type, f.payload) for f in found] == frames
    stamps = [f.arrived_ns for f in found]
    assert stamps == sorted(stamps)


def test_oversize_frame_is_refused_before_it_is_kept(listener: Listener, peer: Peer) -> None:
    peer.say(struct.pack("<4sI", b"OUT1", 0xFFFFFFFF) + b"x" * 100)
    with pytest.raises(ChannelError, match="4294967295 bytes is no frame"):
        listener.next_frame(Deadline(LONG_S))


def test_end_of_the_channel_is_told_after_what_was_said(listener: Listener, peer: Peer) -> None:
    peer.say(frame(b"OUT1", b"last words"))
    peer.hang_up()
    assert listener.next_frame(Deadline(LONG_S)).payload == b"last words"
    with pytest.raises(ChannelError, match="closed its channel"):
        listener.next_frame(Deadline(LONG_S))


def test_sending_to_nobody_is_an_error(listener: Listener) -> None:
    with pytest.raises(ChannelError, match="never connected"):
        listener.send(b"PING")


def test_sending_to_a_box_that_has_gone_is_an_error(listener: Listener, peer: Peer) -> None:
    peer.say(READY_BYTES)
    listener.wait_ready(LONG_S)
    peer.hang_up()
    with pytest.raises(ChannelError, match="is gone"):
        listener.send(b"PING", bytes(8 << 20))


def test_closing_ends_the_thread_whatever_the_peer_does(tmp_path: Path) -> None:
    """Also when it connects in the very moment of closing, or floods the queue."""
    for flood in (b"", frame(b"OUT1", bytes(1 << 20)) * 4):
        for _ in range(20):
            path = tmp_path / "channel"
            listener = Listener(path)
            made = Peer(listener)
            made.socket.setblocking(False)
            if flood:
                made.socket.send(flood)
            listener.__exit__()
            assert not listener._thread.is_alive()
            assert not path.exists()
            made.hang_up()


def test_path_of_a_socket_may_be_long(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 100) / ("e" * 100)
    folder.mkdir(parents=True)
    with Listener(folder / "channel") as listener:
        assert listener.path.is_socket()


# ---------------------------------------------------------------- the conversation, scripted


def talk(listener: Listener, peer: Peer, *frames: bytes) -> Agent:
    peer.say(READY_BYTES + frame(b"HELO", b"init_ns=17\n") + b"".join(frames))
    listener.wait_ready(LONG_S)
    return Agent(listener, shares_clock=True, timeout_s=LONG_S)


def test_first_instruction_is_told_only_on_a_shared_clock(listener: Listener, peer: Peer) -> None:
    agent = talk(listener, peer)
    assert agent.init_ns() == 17
    assert Agent(listener, shares_clock=False).init_ns() is None


def test_nul_is_refused_before_anything_is_sent(listener: Listener, peer: Peer) -> None:
    agent = talk(listener, peer)
    with pytest.raises(ChannelError, match="NUL"):
        agent.run(Job(["/usr/bin/echo", "a\0b"]))
    with pytest.raises(ChannelError, match="NUL"):
        agent.hash_files(["/etc\0/passwd"])
    listener.send(b"PING")
    assert peer.hear(8) == frame(b"PING")


def test_agents_refusal_is_told(listener: Listener, peer: Peer) -> None:
    agent = talk(listener, peer, frame(b"FAIL", "no such thing: \xff".encode("latin-1")))
    with pytest.raises(ChannelError, match="the agent could not: no such thing"):
        agent.facts()


def test_unexpected_answer_is_an_error(listener: Listener, peer: Peer) -> None:
    agent = talk(listener, peer, frame(b"MEND"))
    with pytest.raises(ChannelError, match="MEND"):
        agent.round_trip_ns()


def test_answer_to_another_ping_is_an_error(listener: Listener, peer: Peer) -> None:
    agent = talk(listener, peer, frame(b"PONG", struct.pack("<qq", 1, 2)))
    with pytest.raises(ChannelError, match="another ping"):
        agent.round_trip_ns()


@pytest.mark.parametrize(
    ("shares_clock", "said_ns", "took"),
    [(True, 2000, lambda ns: ns == 2000), (True, 9 * 10**15, lambda ns: 0 < ns < LONG_S * 1e9),
     (False, 2000, lambda ns: ns == 0)],
    ids=["our clock", "more than there was", "a guest's"],
)  # fmt: skip
def test_a_start_heard_with_the_end_is_told_by_a_clock_that_is_ours(
    listener: Listener, peer: Peer, shares_clock: bool, said_ns: int, took: Callable[[int], bool]
) -> None:
    peer.say(READY_BYTES + frame(b"HELO", b"init_ns=17\n"))
    listener.wait_ready(LONG_S)
    said = f"status=0\nsignal=0\ntimed_out=0\ncpu_ns=1000\nduration_ns={said_ns}"
    answer = frame(b"STRT") + frame(b"DONE", said.encode())

    def answer_what_is_asked() -> None:
        peer.hear(8)
        peer.say(answer)

    answering = threading.Thread(target=answer_what_is_asked)
    answering.start()
    agent = Agent(listener, shares_clock=shares_clock, timeout_s=LONG_S)
    done = agent.run(Job(["/usr/bin/true"]))
    answering.join()
    assert took(done.ended_ns - done.started_ns)


# ---------------------------------------------------------------- a real agent


@pytest.fixture(scope="module")
def program() -> Path:
    return build_agent(paths.cache())


@pytest.fixture
def agent(listener: Listener, program: Path) -> Iterator[tuple[Agent, Process]]:
    with spawn([str(program), f"unix:{listener.path}"]) as process:
        listener.wait_ready(LONG_S, process.is_running)
        assert listener.peer_pid == process.pid
        yield Agent(listener, shares_clock=True), process


def test_agent_runs_a_job(agent: tuple[Agent, Process]) -> None:
    done = agent[0].run(Job(["/bin/sh", "-c", "echo $X; echo no >&2; exit 4"], env={"X": "é"}))
    assert done.stdout.read().decode() == "é\n"
    assert done.stderr.read() == b"no\n"
    assert (done.exit_status, done.signal, done.timed_out) == (4, None, False)
    assert 0 < done.duration_s <= (done.ended_ns - done.started_ns) / 1e9 + 0.1


def test_agents_stamps_are_ordered(agent: tuple[Agent, Process], listener: Listener) -> None:
    init_ns = agent[0].init_ns()
    assert init_ns is not None
    assert listener.connected_ns is not None
    assert init_ns <= listener.connected_ns + 1_000_000_000
    stamps = [agent[0].run(Job(["/bin/true"])) for _ in range(3)]
    flat = [ns for done in stamps for ns in (done.started_ns, done.ended_ns)]
    assert flat == sorted(flat)
    trip_ns, delay_ns = agent[0].round_trip_ns()
    assert delay_ns is not None
    assert 0 < delay_ns <= trip_ns


SERVICE = """
import os, socket, sys, time
with socket.socket(socket.AF_UNIX) as server:
    server.bind("late.sock")
    time.sleep(0.05)  # bound and not yet listening: connecting is refused meanwhile
    server.listen()
    connection, _ = server.accept()
    asked = connection.recv(100)
    connection.sendall(b"pid %d said " % os.getpid())
    connection.sendall(sys.stdin.buffer.read() + asked)
    time.sleep(1000)
"""


def service(folder: Path, answer: str, script: str = SERVICE, timeout_s: float = LONG_S) -> Service:
    job = Job([sys.executable, "-c", script], timeout_s=timeout_s, uid=os.getuid(), gid=os.getgid())
    return Service(job, str(folder), "late.sock", "hello", answer, input="given ")


def test_agent_serves_when_the_service_answers_and_ends_it(
    agent: tuple[Agent, Process], tmp_path: Path
) -> None:
    before = now_ns()
    found = agent[0].serve(service(tmp_path, "pid "))
    assert before < found.started_ns <= found.served_ns <= now_ns()
    assert found.tries > 1
    children = Path(f"/proc/{agent[1].pid}/task/{agent[1].pid}/children").read_text().split()
    assert len(children) == 1
    agent[0].ask_to_exit()
    agent[1].wait(LONG_S)
    assert not Path(f"/proc/{children[0]}").exists()


PATIENT = """
import os, socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.bind("late.sock")
    server.listen()
    while True:
        connection, _ = server.accept()
        connection.recv(100)
        silent, gone = os.path.exists("silent"), os.path.exists("gone")
        connection.sendall(b"" if silent else b"half and half" if os.path.exists("odd") else b"pid")
        silent and connection.recv(1)  # until the other side has lost its patience
        connection.close()
        gone and os._exit(0)
"""


def test_running_service_is_asked_and_what_it_does_not_answer_is_not_answered(
    agent: tuple[Agent, Process], tmp_path: Path
) -> None:
    patient = service(tmp_path, "pid", PATIENT)
    agent[0].serve(patient)
    for stamp in (1, 2, 3):
        agent[0].send_request(patient, stamp)
    answers = [agent[0].take_pong(LONG_S) for _ in range(3)]
    assert [answer and answer[0] for answer in answers] == [1, 2, 3]
    (tmp_path / "silent").touch()
    agent[0].send_request(replace(patient, job=replace(patient.job, timeout_s=0.05)), 4)
    agent[0].send_ping(5)
    found = agent[0].take_pong(LONG_S)
    assert found is not None
    assert found[0] == 5, "the fourth was given up, and the agent went on"
    agent[0].ask_to_exit()  # and the service with it
    agent[1].wait(LONG_S)


def test_service_that_has_gone_or_says_another_thing_is_a_failure(
    agent: tuple[Agent, Process], tmp_path: Path
) -> None:
    patient = service(tmp_path, "pid", PATIENT)
    agent[0].serve(patient)
    (tmp_path / "odd").touch()
    agent[0].send_request(patient, 1)
    with pytest.raises(ChannelError, match="answered something else: half and half"):
        agent[0].take_pong(LONG_S)
    (tmp_path / "gone").touch()
    agent[0].send_request(patient, 2)
    with pytest.raises(ChannelError, match="answered something else"):
        agent[0].take_pong(LONG_S)
    (child,) = Path(f"/proc/{agent[1].pid}/task/{agent[1].pid}/children").read_text().split()
    wait_pidfd(os.pidfd_open(int(child)), LONG_S)
    agent[0].send_request(patient, 3)
    with pytest.raises(ChannelError, match="the service does not listen: Connection refused"):
        agent[0].take_pong(LONG_S)


def test_late_answer_that_nobody_waits_for_disturbs_no_other(
    agent: tuple[Agent, Process],
) -> None:
    agent[0].send_ping(1)
    assert agent[0].run(Job(["/bin/true"])).exit_status == 0


@pytest.mark.parametrize(
    ("script", "answer", "timeout_s", "why"),
    [
        (SERVICE, "no ", LONG_S, "the service answered something else: pid "),
        ("import sys; sys.exit('bad luck')", "x", LONG_S, "exit status 1: bad luck"),
        ("import os; os.kill(os.getpid(), 9)", "x", LONG_S, "signal 9"),
        ("import time; time.sleep(1000)", "x", 0.3, "did not answer in time"),
    ],
)
def test_agent_says_why_a_service_does_not_serve(
    agent: tuple[Agent, Process], tmp_path: Path, script: str, answer: str, timeout_s: float,
    why: str,
) -> None:  # fmt: skip
    with pytest.raises(ChannelError, match=why):
        agent[0].serve(service(tmp_path, answer, script, timeout_s))
    assert agent[0].run(Job(["/bin/true"])).exit_status == 0


def test_agent_that_cannot_start_a_job_goes_on(agent: tuple[Agent, Process]) -> None:
    with pytest.raises(ChannelError, match="the agent could not"):
        agent[0].run(Job(["/there/is/nothing"]))
    assert agent[0].run(Job(["/bin/true"])).exit_status == 0


def test_agent_ends_when_asked(agent: tuple[Agent, Process]) -> None:
    agent[0].ask_to_exit()
    assert agent[1].wait(LONG_S) == 0
    agent[0].ask_to_exit()  # it has gone already, which is no error


def test_agent_ends_when_the_harness_does(tmp_path: Path, program: Path) -> None:
    with Listener(tmp_path / "channel") as listener:
        process = spawn([str(program), f"unix:{listener.path}"])
        listener.wait_ready(LONG_S, process.is_running)
    with process:
        process.wait(LONG_S)


def test_agent_without_a_channel_is_noticed(tmp_path: Path, program: Path) -> None:
    with (
        Listener(tmp_path / "channel") as listener,
        spawn([str(program), f"unix:{tmp_path / 'elsewhere'}"]) as process,
        pytest.raises(LaunchFailed, match="ended before it was ready"),
    ):
        listener.wait_ready(LONG_S, process.is_running)


# ---------------------------------------------------------------- output


@pytest.mark.parametrize("size", [0, 1, 4 << 20, (4 << 20) + 1, 9 << 20])
def test_output_is_the_same_in_memory_and_in_a_file(size: int) -> None:
    output = SpooledOutput()
    piece = bytes(range(256)) * 1024
    for at in range(0, size, len(piece)):
        output.add(piece[: size - at])
    assert output.size == size
    data = output.read()
    assert len(data) == size
    assert data[: len(piece)] == piece[:size]
    with output.open() as one, output.open() as other:
        assert one.read(10) == other.read(10)
    output.add(b"more")
    assert output.read()[-4:] == b"more"[-max(4, size) :]


def test_a_vmm_that_listens_itself_is_called(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as vmm,
        Dialer(tmp_path / "channel") as dialer,
    ):
        vmm.bind(str(dialer.path))
        vmm.listen(1)
        before = now_ns()
        dialer.dial()
        box, _ = vmm.accept()
        with box:
            box.sendall(READY_BYTES)
            ready_ns = dialer.wait_ready(LONG_S)
            assert before < (dialer.connected_ns or 0) < ready_ns
            assert dialer.peer_pid == os.getpid()
            dialer.send(b"EXIT")
            assert box.recv(8, socket.MSG_WAITALL) == frame(b"EXIT")


def test_a_vmm_that_does_not_listen_is_a_failed_launch(tmp_path: Path) -> None:
    with (
        Dialer(tmp_path / "channel") as dialer,
        pytest.raises(LaunchFailed, match="nobody listens"),
    ):
        dialer.dial()


class Console:
    """A VMM's console: a terminal inside, and outside a socket on which the VMM listens."""

    def __init__(self, path: Path) -> None:
        self._outside, self._inside = os.openpty()
        self.name = os.ttyname(self._inside)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.bind(str(path))
        self._socket.listen(1)
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        peer, _ = self._socket.accept()
        with peer, select.epoll() as poll:
            for descriptor in (peer.fileno(), self._outside):
                poll.register(descriptor, select.EPOLLIN)
            while True:
                for descriptor, _ in poll.poll():
                    data = os.read(descriptor, 65536)
                    if not data:
                        return
                    os.write(self._outside if descriptor == peer.fileno() else peer.fileno(), data)

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *exc: object) -> None:
        self._thread.join(LONG_S)
        self._socket.close()
        os.close(self._inside)
        os.close(self._outside)


def test_an_agent_speaks_over_a_terminal_byte_for_byte(tmp_path: Path, program: Path) -> None:
    path = tmp_path / "channel"
    with Console(path) as console, Dialer(path) as dialer:
        dialer.dial()
        with spawn([str(program), f"tty:{console.name}"]) as process:
            dialer.wait_ready(LONG_S, process.is_running)
            agent = Agent(dialer, shares_clock=True)
            script = r"printf '\003\004\r\n\177\377'; head -c 70000 /dev/zero"
            done = agent.run(Job(["/bin/sh", "-c", script]))
            assert done.stdout.read() == b"\x03\x04\r\n\x7f\xff" + bytes(70000)
            assert agent.round_trip_ns()[0] > 0
            agent.ask_to_exit()
            assert process.wait(LONG_S) == 0


def test_a_file_that_is_not_there_has_no_hash(listener: Listener, peer: Peer) -> None:
    absent = frame(b"HASH", b"/a\t-No such file or directory")
    agent = talk(listener, peer, absent, frame(b"HASH", b"/b\tc0ffee"), frame(b"HEND"))
    assert agent.hash_files(["/a", "/b"]) == {"/b": "c0ffee"}


def test_a_signal_is_heard_soon_however_long_a_job_takes(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python hears one that comes just before a wait when the wait is over: none is long."""
    monkeypatch.setattr(listener, "_chunks", asked := Asked())
    with pytest.raises(DeadlineExceeded):
        listener.next_frame(Deadline(2.5 * HEARS_EVERY_S))
    assert len(asked.waits_s) >= 3
    assert all(wait_s is not None and wait_s <= HEARS_EVERY_S for wait_s in asked.waits_s)
