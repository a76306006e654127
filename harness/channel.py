"""The host's side of the agent: a listener that stamps arrivals, and the conversation.

Every box connects to a Unix socket on which we listen before it is asked for, so nothing is
polled and nothing is lost: boxes on the host's kernel connect by themselves, and for guests
the VMM does. One thread accepts, receives and stamps, and does nothing else; whoever waits
for a frame takes it, already stamped, from a queue.

Wire format (see harness/image/agent.c): an 8-byte header, four ASCII characters and the
payload's length as a little-endian 32-bit number, then the payload.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

from harness import answers
from harness.clock import HEARS_EVERY_S, Deadline, now_ns
from harness.cpuid import patience
from harness.errors import ChannelError, DeadlineExceeded, LaunchFailed
from harness.model import Completed, Job
from harness.serving import Served, Service
from harness.spool import SpooledOutput

_HEADER = struct.Struct("<4sI")
_RECEIVE_BYTES = 256 * 1024
_QUEUED_CHUNKS = 64
_MAX_FRAME_BYTES = 16 * 1024 * 1024
_MOST_OUTPUT_BYTES = 1024 * 1024 * 1024
_MOST_ANSWER_BYTES = 64 * 1024 * 1024
_MOST_OPENED = 100_000
"""What a box may say at most, so that it cannot fill our disk or our memory."""
_MOST_REASON_BYTES = 2000
_JOB_GRACE_S = 10.0
_ALIVE_S = 0.5
_SLOWEST_TOUCH = 10e6
"""Bytes a second at which an emulated guest writes its memory at the least."""
_STAMPER_NICE = -10
READY_BYTES = _HEADER.pack(b"REDY", 0)


class Frame:
    """One message, and the instant at which its last byte had arrived."""

    __slots__ = ("arrived_ns", "payload", "type")

    def __init__(self, type: bytes, payload: bytes, arrived_ns: int) -> None:
        self.type = type
        self.payload = payload
        self.arrived_ns = arrived_ns


class Listener:
    """Listens on a Unix socket for one instance; stamps when it connects and what it says.

    As a context manager it closes the socket and ends its thread. `peer_pid` is the process
    at the other end as this host sees it: the agent, or the VMM of a guest.
    """

    def __init__(self, path: Path, mode: int = 0o600) -> None:
        self.path = path
        self.connected_ns: int | None = None
        self.peer_pid: int | None = None
        self._chunks: queue.Queue[tuple[int, bytes]] = queue.Queue(_QUEUED_CHUNKS)
        self._connection: socket.socket | None = None
        self._buffer = bytearray()
        self._buffer_ns = 0
        self._ended = False
        self._socket = self._open(mode)
        self._thread = threading.Thread(target=self._stamp, name="stamper", daemon=True)
        self._start()

    def _open(self, mode: int) -> socket.socket:
        return _listen(self.path, mode)

    def _start(self) -> None:
        self._thread.start()

    def _connected(self) -> socket.socket:
        """The connection to the box, as soon as there is one."""
        connection, _ = self._socket.accept()
        self.connected_ns = now_ns()
        return connection

    def _stamp(self) -> None:
        """The stamping thread: accept, stamp, receive, stamp, and nothing else."""
        with contextlib.suppress(OSError):  # an ordinary user may not raise a priority
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _STAMPER_NICE)
        try:
            self._connection = connection = self._connected()
            put = self._chunks.put
            receive = connection.recv
            while True:
                data = receive(_RECEIVE_BYTES)
                put((now_ns(), data))
                if not data:
                    return
        except OSError:  # the listener was shut down, or the peer reset the connection
            with contextlib.suppress(queue.Full):
                self._chunks.put((now_ns(), b""), timeout=0.0)

    def wait_ready(self, timeout_s: float, alive: Callable[[], bool] = lambda: True) -> int:
        """Wait for READY and return its stamp.

        `alive` is asked now and then whether the box still lives, so that one which died
        before it could connect is a failure at once and not a time-out; READY itself is an
        event. Raises DeadlineExceeded, or LaunchFailed when the box died, hung up or said
        something else.
        """
        deadline = Deadline(timeout_s)
        while True:
            try:
                frame = self.next_frame(Deadline(min(_ALIVE_S, deadline.left_s())))
                break
            except DeadlineExceeded:
                if not alive() and self._chunks.empty():
                    raise LaunchFailed("the box ended before it was ready") from None
                if deadline.over:
                    raise DeadlineExceeded(f"not ready after {timeout_s:g} s") from None
            except ChannelError as error:
                why = "the box hung up" if self._ended else error.message
                raise LaunchFailed(f"{why} before it was ready") from error
        if frame.type != b"REDY" or frame.payload:
            raise LaunchFailed(f"the box said {frame.type!r} instead of READY")
        assert self._connection is not None
        credentials = self._connection.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")
        )
        self.peer_pid = struct.unpack("3i", credentials)[0] or None
        return frame.arrived_ns

    def next_frame(self, deadline: Deadline) -> Frame:
        """The next message. Raises DeadlineExceeded or ChannelError."""
        while True:
            frame = self._take_frame()
            if frame is not None:
                return frame
            if self._ended:
                raise ChannelError("the box closed its channel", "its console may say why")
            try:
                wait_s = min(HEARS_EVERY_S, deadline.left_s())
                self._buffer_ns, data = self._chunks.get(timeout=wait_s)
            except queue.Empty:
                if deadline.over:
                    raise DeadlineExceeded("the box said nothing in time") from None
                continue
            self._ended = not data
            self._buffer += data

    def _take_frame(self) -> Frame | None:
        if len(self._buffer) < _HEADER.size:
            return None
        type_, length = _HEADER.unpack_from(self._buffer)
        if length > _MAX_FRAME_BYTES:
            raise ChannelError(f"a frame of {length} bytes is no frame of our agent")
        end = _HEADER.size + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[_HEADER.size : end])
        del self._buffer[:end]
        return Frame(type_, payload, self._buffer_ns)

    def send(self, type: bytes, payload: bytes = b"") -> None:
        """Send one request. Raises ChannelError when the box has gone."""
        if self._connection is None:
            raise ChannelError("the box never connected")
        try:
            self._connection.sendall(_HEADER.pack(type, len(payload)) + payload)
        except OSError as error:
            raise ChannelError(f"the box is gone: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        while self._thread.is_alive():  # it may accept just now, or wait for room in the queue
            for end in (self._socket, self._connection):
                if end is not None:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(queue.Empty):
                self._chunks.get_nowait()
            self._thread.join(0.05)
        for end in (self._socket, self._connection):
            if end is not None:
                end.close()
        self._forget()

    def _forget(self) -> None:
        self.path.unlink(missing_ok=True)


class TcpListener(Listener):
    """For a box of another host that can reach us by its network alone.

    Nothing on the way is secret or proven, so the address should lie in a network of the two
    hosts' own. Only the first connection is taken, and its first word must be READY.
    """

    def __init__(self, address: str) -> None:
        self.address = (address, 0)
        super().__init__(Path())

    def _open(self, mode: int) -> socket.socket:
        """Raises LaunchFailed for an address that is not this host's."""
        del mode
        try:
            listening = socket.create_server(self.address, backlog=1)
        except OSError as error:
            raise LaunchFailed(f"cannot listen at {self.address[0]}: {error.strerror}") from error
        self.address = listening.getsockname()[:2]
        return listening

    def _forget(self) -> None:
        """There is no file."""


class Dialer(Listener):
    """For a VMM that listens itself: we connect once it does, before the box may speak."""

    def _open(self, mode: int) -> socket.socket:
        del mode
        return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)

    def _start(self) -> None:
        """Only when it has connected is there anything to receive."""

    def dial(self) -> None:
        """Connect, and receive from now on. Raises LaunchFailed where nobody listens."""
        try:
            with _short(self.path) as short:
                self._socket.connect(short)
        except OSError as error:
            raise LaunchFailed(f"nobody listens at {self.path}: {error.strerror}") from error
        self.connected_ns = now_ns()
        self._thread.start()

    def _connected(self) -> socket.socket:
        return self._socket


def _listen(path: Path, mode: int) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with _short(path) as short:
        listening.bind(short)
    path.chmod(mode)
    listening.listen(1)
    return listening


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """The path relative to its folder: a socket's path may have 107 bytes at most."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class Agent:
    """The conversation with one agent, over a listener that has seen READY."""

    def __init__(self, listener: Listener, *, shares_clock: bool, timeout_s: float = 60.0) -> None:
        self._listener = listener
        self._shares_clock = shares_clock
        self._timeout_s = timeout_s
        self._hello: dict[str, str] | None = None

    def over(self, listener: Listener) -> Agent:
        """The same agent in a box that came back, and speaks over another connection."""
        again = Agent(listener, shares_clock=self._shares_clock, timeout_s=self._timeout_s)
        again._hello = dict(self.hello())
        return again

    def init_ns(self) -> int | None:
        """The agent's first instruction, where its clock is the host's (a shared kernel)."""
        return answers.number(self.hello(), "init_ns") if self._shares_clock else None

    def hello(self) -> Mapping[str, str]:
        """What the agent says of itself after READY."""
        if self._hello is None:
            self._hello = answers.pairs(self._expect(b"HELO").payload)
        return self._hello

    def _expect(self, *types: bytes, deadline: Deadline | None = None) -> Frame:
        deadline = deadline or Deadline(self._timeout_s * patience())
        frame = self._listener.next_frame(deadline)
        while frame.type == b"PONG" and b"PONG" not in types:  # nobody waits for it any more
            frame = self._listener.next_frame(deadline)
        if frame.type == b"FAIL":
            why = frame.payload[:_MOST_REASON_BYTES].decode(errors="replace")
            raise ChannelError(f"the agent could not: {why}")
        if frame.type not in types:
            raise ChannelError(f"the agent said {frame.type!r}, not {types[0]!r}")
        return frame

    def run(self, job: Job) -> Completed:
        """Run a job inside; raises ChannelError when it cannot be started."""
        self.hello()
        strings = [
            str(job.uid), str(job.gid), str(int(job.timeout_s * 1e9)), str(int(job.trace)),
            str(len(job.argv)), *job.argv, *(f"{key}={value}" for key, value in job.env.items()),
        ]  # fmt: skip
        asked_ns = now_ns()
        self._listener.send(b"JOB ", _strings(strings))
        deadline = Deadline(job.timeout_s + _JOB_GRACE_S * patience())
        out, err, opened = SpooledOutput(), SpooledOutput(), set[str]()
        started_ns = 0
        while True:
            frame = self._expect(b"DONE", b"STRT", b"OUT1", b"OUT2", b"OPEN", deadline=deadline)
            if out.size + err.size > _MOST_OUTPUT_BYTES:
                raise ChannelError(f"the job printed more than {_MOST_OUTPUT_BYTES >> 20} MiB")
            if frame.type == b"STRT":
                started_ns = frame.arrived_ns
            elif frame.type == b"OUT1":
                out.add(frame.payload)
            elif frame.type == b"OUT2":
                err.add(frame.payload)
            elif frame.type == b"OPEN":
                _add_opened(opened, frame)
            else:
                ends = (started_ns, frame.arrived_ns)
                done = answers.completed(frame.payload, ends, out, err, tuple(sorted(opened)))
                if started_ns < done.ended_ns or not self._shares_clock:
                    return done
                # Both were read in one breath: this host's thread was late for the start. How long
                # it took the agent knows, whose clock is ours; but not more than there was.
                began_ns = max(asked_ns, done.ended_ns - round(done.duration_s * 1e9))
                return replace(done, started_ns=began_ns)

    def serve(self, service: Service) -> Served:
        """Start a service that stays, and wait for its first answer.

        Raises ChannelError when it cannot be started, ends, stays silent or says another thing.
        """
        self.hello()
        job = service.job
        strings = [
            str(job.uid), str(job.gid), str(int(job.timeout_s * 1e9)), str(int(job.trace)),
            str(int(service.poll_s * 1e9)), service.folder, service.socket, service.request,
            service.answer, service.input, str(len(job.argv)), *job.argv,
            *(f"{key}={value}" for key, value in job.env.items()),
        ]  # fmt: skip
        self._listener.send(b"SERV", _strings(strings))
        deadline = Deadline(job.timeout_s + _JOB_GRACE_S * patience())
        started_ns, opened = 0, set[str]()
        while True:
            frame = self._expect(b"SRVD", b"STRT", b"OPEN", deadline=deadline)
            if frame.type == b"STRT":
                started_ns = frame.arrived_ns
            elif frame.type == b"OPEN":
                _add_opened(opened, frame)
            else:
                tries = answers.number(answers.pairs(frame.payload), "tries")
                return Served(started_ns, frame.arrived_ns, tries, tuple(sorted(opened)))

    def round_trip_ns(self) -> tuple[int, int | None]:
        """One ping; the second figure, send to stamp, only where the clock is the host's."""
        before = now_ns()
        self.send_ping(before)
        echoed, sent_ns, arrived_ns = self._pong(Deadline(self._timeout_s * patience()))
        if echoed != before:
            raise ChannelError("the agent answered another ping")
        return arrived_ns - before, arrived_ns - sent_ns if self._shares_clock else None

    def send_ping(self, stamp_ns: int) -> None:
        """Send a ping that carries a stamp, and wait for nothing."""
        self.hello()
        self._listener.send(b"PING", struct.pack("<q", stamp_ns))

    def send_request(self, service: Service, stamp_ns: int) -> None:
        """Have the service that runs in the box asked; its answer comes as that of a ping does."""
        self.hello()
        strings = [
            str(int(service.job.timeout_s * 1e9)), service.folder, service.socket, service.request,
            service.answer,
        ]  # fmt: skip
        self._listener.send(b"RQST", struct.pack("<q", stamp_ns) + _strings(strings))

    def take_pong(self, wait_s: float) -> tuple[int, int] | None:
        """The next answer: the stamp of its request, and when it arrived; None in time of none."""
        try:
            echoed, _, arrived_ns = self._pong(Deadline(wait_s))
        except DeadlineExceeded:
            return None
        return echoed, arrived_ns

    def _pong(self, deadline: Deadline) -> tuple[int, int, int]:
        frame = self._expect(b"PONG", deadline=deadline)
        return (*answers.pong(frame.payload), frame.arrived_ns)

    def facts(self) -> Mapping[str, str]:
        """The view from inside: kernel, CPUs, meminfo, limits that can be seen there."""
        self.hello()
        self._listener.send(b"FACT")
        return dict(
            frame.payload.decode(errors="replace").partition("=")[::2]
            for frame in self._until(b"FACT", b"FEND")
        )

    def hash_files(self, paths: Sequence[str]) -> Mapping[str, str]:
        """SHA-256 of the files that are there; raises ChannelError for an unreadable one."""
        self.hello()
        self._listener.send(b"HASH", _strings(paths))
        found: dict[str, str] = {}
        for frame in self._until(b"HASH", b"HEND"):
            path, _, digest = os.fsdecode(frame.payload).rpartition("\t")
            if digest == "-No such file or directory":
                continue
            if digest.startswith("-"):
                raise ChannelError(f"{path} cannot be read from inside: {digest[1:]}")
            found[path] = digest
        return found

    def drop_cached(self, paths: Sequence[str]) -> None:
        """Take files out of the page cache of the box's kernel; raises ChannelError."""
        self.hello()
        self._listener.send(b"DROP", _strings(paths))
        self._expect(b"DEND")

    def derive_manifest(self, root: str, excludes: Sequence[str]) -> bytes:
        """The manifest of the tree at `root`, derived from inside."""
        self.hello()
        self._listener.send(b"MANI", _strings([root, *excludes]))
        return b"".join(frame.payload for frame in self._until(b"MANI", b"MEND", timeout_s=600))

    def touch(self, size_bytes: int, seed: int | None = None) -> int:
        """Hold so many bytes more, every page written; returns what is held in all.

        Pages are pseudo-random by `seed`, by default one that no other call has. Raises
        ChannelError when it cannot: the box may have been lost to its memory limit.
        """
        self.hello()
        seed = secrets.randbits(64) if seed is None else seed
        self._listener.send(b"TUCH", _strings([str(size_bytes), str(seed)]))
        try:
            limit_s = self._timeout_s + size_bytes / _SLOWEST_TOUCH
            return self._held(Deadline(limit_s * patience()))
        except ChannelError as error:
            raise ChannelError(
                f"the box could not touch {size_bytes} bytes, which may be more than its memory "
                f"limit allows: {error.message}"
            ) from error

    def release(self) -> int:
        """Give back all that `touch` took; returns what is still held, which is 0."""
        self.hello()
        self._listener.send(b"RELS")
        return self._held(Deadline(self._timeout_s * patience()))

    def _held(self, deadline: Deadline) -> int:
        said = answers.pairs(self._expect(b"HELD", deadline=deadline).payload)
        return answers.number(said, "held")

    def _until(self, kind: bytes, end: bytes, timeout_s: float | None = None) -> Iterator[Frame]:
        deadline, said_bytes = Deadline((timeout_s or self._timeout_s) * patience()), 0
        while (frame := self._expect(kind, end, deadline=deadline)).type != end:
            said_bytes += len(frame.payload)
            if said_bytes > _MOST_ANSWER_BYTES:
                raise ChannelError(f"the agent answered more than {_MOST_ANSWER_BYTES >> 20} MiB")
            yield frame

    def ask_to_exit(self) -> None:
        """Ask for the end of the box; that it has gone already is no error."""
        with contextlib.suppress(ChannelError):
            self._listener.send(b"EXIT")


def _strings(texts: Sequence[str]) -> bytes:
    if any("\0" in text for text in texts):
        raise ChannelError("a NUL byte cannot be passed to a program")
    return b"".join(os.fsencode(text) + b"\0" for text in texts)


def _add_opened(opened: set[str], frame: Frame) -> None:
    opened.add(os.fsdecode(frame.payload))
    if len(opened) > _MOST_OPENED:
        raise ChannelError(f"the agent named more than {_MOST_OPENED} opened files")
