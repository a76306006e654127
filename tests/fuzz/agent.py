"""The other direction: our agent, fed with garbage by whoever holds its channel.

It is the agent's own source, compiled with the address and undefined-behaviour sanitizers, as
PID 1 of namespaces of its own in a root that holds nothing but itself and the libraries that
it needs: whatever a mutated request asks it to run, to kill or to read is not there. A control
group bounds the memory that it may be asked to hold.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.channel import Listener
from harness.clock import Deadline
from harness.errors import ChannelError, DeadlineExceeded
from harness.image.agent import agent_program
from harness.inventory import Inventory, sweep
from harness.model import MIB, Limits
from harness.probes.cgroups import Group, Layout, run_group_name
from harness.process import find_program, run, spawn
from tests.fuzz.promises import Broken, Target
from tests.fuzz.targets import frame

SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-w")
OPTIONS = b"""
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0:allocator_may_return_null=1:handle_segv=1";
}
"""
"""Compiled in, because the sanitizer would look for them in /proc, and the jail has none."""

MEMORY_BYTES = 192 * MIB
_LIBRARY = re.compile(rb"(/\S+) \(0x")
_HEARS_S, _ENDS_S = 2.0, 20.0


def requests() -> tuple[bytes, ...]:
    """What a harness asks, each kind once: the inputs to begin with."""
    job = [b"65534", b"65534", b"50000000", b"0", b"2", b"/agent", b"--version", b"A=b"]
    service = [b"65534", b"65534", b"20000000", b"0", b"200000", b"/", b"s.sock", b"q", b"a", b"in",
               b"1", b"/agent"]  # fmt: skip
    asked = [b"20000000", b"/", b"s.sock", b"q", b"a"]
    return (
        _asked(b"JOB ", *job) + _asked(b"FACT"),
        _asked(b"JOB ", *job[:3], b"1", *job[4:]),
        _asked(b"SERV", *service) + frame(b"RQST", struct.pack("<q", 1) + _texts(*asked)),
        _asked(b"HASH", b"/agent", b"/absent") + _asked(b"DROP", b"/agent"),
        _asked(b"MANI", b"/", b"/lib") + frame(b"PING", struct.pack("<q", 5)),
        _asked(b"TUCH", b"65536", b"1") + frame(b"RELS") + frame(b"EXIT"),
    )


def _texts(*texts: bytes) -> bytes:
    return b"".join(text + b"\0" for text in texts)


def _asked(kind: bytes, *texts: bytes) -> bytes:
    return frame(kind, _texts(*texts))


@dataclass(frozen=True)
class Jail:
    """The root of the boxes, and the group in which they are."""

    root: Path
    group: Group

    def target(self) -> Target:
        """The agent that hears."""
        return Target("agent-hears", requests(), self.feed, own=(self.root, *self.group.paths()))

    def scratch(self) -> Path:
        """A folder for what an agent says on its standard error."""
        return Path(tempfile.mkdtemp(dir=self.root))

    def feed(self, data: bytes, folder: Path) -> None:
        """Start the agent, say this to it, hang up, and see that it ends well. Raises Broken."""
        channel, said = self.root / "channel", folder / "stderr"
        unshare = find_program("unshare")
        assert unshare is not None
        with ExitStack() as stack:
            listener = stack.enter_context(Listener(channel))
            groups = stack.enter_context(self.group.joinable())
            errors = stack.enter_context(said.open("wb"))
            groups_of = [word for number in groups for word in ("--cgroup-fd", str(number))]
            argv = [unshare, "--mount", "--pid", "--net", "--ipc", "--uts", "--fork",
                    "--kill-child", f"--root={self.root}", "/agent", "unix:/channel",
                    *groups_of]  # fmt: skip
            process = spawn(argv, env={}, stderr=errors.fileno())
            try:
                listener.wait_ready(_ENDS_S, process.is_running)
                _converse(listener, data)
                listener.__exit__()
                status = process.wait(_ENDS_S)
            except TimeoutError:
                raise Broken("the agent does not end when its host has gone") from None
            finally:
                process.kill()
                process.wait()
        _judge(status, said.read_text(errors="replace"), data)


def _converse(listener: Listener, data: bytes) -> None:
    """Say all at once, and hear out what comes: frames, until it has no more to say."""
    connection = listener._connection
    assert connection is not None
    with contextlib.suppress(OSError):  # it may have ended in the middle of it
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    deadline = Deadline(_HEARS_S)
    try:
        while True:
            listener.next_frame(deadline)
    except DeadlineExceeded:  # a job that goes on; that the host goes now ends it
        return
    except ChannelError as error:
        if "closed" not in error.message:
            raise Broken(f"the agent answered with what is no frame: {error.message}") from error


def _judge(status: int, said: str, data: bytes) -> None:
    if "ERROR: AddressSanitizer" in said or "runtime error" in said:
        raise Broken(said[:3000])
    if status == 0 or (status == 137 and b"TUCH" in data):  # asked for more than its group has
        return
    raise Broken(f"the agent ended with status {status}: {said[:300]}")


@contextmanager
def jail() -> Iterator[Jail]:
    """Compile the agent and make its root; all of it goes at the end. Needs root and a compiler."""
    token = secrets.token_hex(4)
    group = Group(Layout.detect(), run_group_name(token))
    with Inventory(f"fuzz-{token}") as inventory, tempfile.TemporaryDirectory() as place:
        root = Path(place).resolve()
        inventory.will_make("cgroup", group.name)
        try:
            _furnish(root)
            group.create(Limits(memory_bytes=MEMORY_BYTES, pids=64))
            yield Jail(root, group)
        finally:
            sweep(inventory)


def _furnish(root: Path) -> None:
    source = root / "agent.c"
    source.write_bytes(agent_program().source + OPTIONS)
    run(["cc", *SANITIZERS, "-o", root / "agent", source])
    source.unlink()
    for library in _LIBRARY.findall(run(["ldd", root / "agent"]).stdout):
        path = Path(os.fsdecode(library))
        copy = root / path.relative_to("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        copy.chmod(0o755)


def why_not() -> str:
    """Why no jail can be made here; empty where it can."""
    if os.geteuid() != 0:
        return "only root makes namespaces and control groups"
    if not Layout.detect().writable():
        return "there are no control groups to write to"
    missing = [name for name in ("cc", "ldd", "unshare") if find_program(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else ""
