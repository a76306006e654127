"""Another host, reached by ssh: what is carried there, and how its boxes' channel comes back.

The host is the one that a libvirt URI with the transport ssh names, reached by the same user,
key and program. One connection is held for as long as the host is used; everything else goes
through it. Its one session echoes what it is sent: that tells when it is up, measures the
round trip, and ends it all by itself when the harness is gone.

What boots (kernel, initramfs, disk) is carried over once: a file is named by its content's
digest there, so that a second run finds it. A channel is a socket there that ssh connects to
the listener here, so that READY is stamped where it always is, by this host's clock.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import shlex
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from harness.clock import Deadline, now_ns
from harness.errors import CommandFailed, RuntimeUnavailable
from harness.image.cache import sha256_of
from harness.process import Process, find_program, run, spawn

KIND = "far-folder"
_CONNECT_TIMEOUT_S = 10
_ALIVE_S, _ALIVE_COUNT = 5, 3
_CALL_TIMEOUT_S = 60.0
_CARRY_TIMEOUT_S = 3600.0
_ROUND_TRIPS = 21
_LOG_CHARACTERS = 500
_DIGEST_CHARACTERS = 24


@dataclass(frozen=True)
class Address:
    """The far end of a URI, as ssh is told it."""

    program: str
    options: tuple[str, ...]
    host: str

    @classmethod
    def of(cls, uri: str) -> Address:
        """From a libvirt URI with the transport ssh, by the parameters that libvirt documents."""
        parts = urlsplit(uri)
        given = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        options = ["-o", "BatchMode=yes"]
        if parts.port is not None:
            options += ["-p", str(parts.port)]
        if parts.username is not None:
            options += ["-l", unquote(parts.username)]
        if "keyfile" in given:
            options += ["-i", given["keyfile"]]
        if given.get("no_verify", "0") != "0":
            options += ["-o", "StrictHostKeyChecking=no"]
        host = parts.hostname or ""
        if not host or host.startswith("-"):  # ssh would take it for an option
            raise RuntimeUnavailable(f"{host!r} is no host", "write qemu+ssh://USER@HOST/system")
        return cls(given.get("command", "ssh"), tuple(options), host)


def is_far(uri: str) -> bool:
    """Whether a URI names a host that is reached by ssh."""
    parts = urlsplit(uri)
    return parts.scheme.endswith("+ssh") and parts.hostname is not None


class FarHost:
    """One host, connected; `folder` is where its files of ours are."""

    def __init__(self, uri: str, state: Path) -> None:
        """Connect, in bounded time. Raises RuntimeUnavailable. `state` takes ssh's socket."""
        self.address = Address.of(uri)
        self._control = state / f"ssh-{os.getpid()}-{now_ns():x}"
        self._log = state / "ssh.log"
        self._stack = ExitStack()
        try:
            self._session = self._stack.enter_context(self._connected())
            self.round_trip_ns = self._measure()
            self.folder = self._make_folder()
        except BaseException:
            self._stack.close()
            raise

    @property
    def name(self) -> str:
        return self.address.host

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Process]:
        """The master connection, with a session of `cat` in it."""
        argv = [
            self._program(), "-M", "-S", str(self._control), *self.address.options,
            "-o", f"ConnectTimeout={_CONNECT_TIMEOUT_S}",
            "-o", f"ServerAliveInterval={_ALIVE_S}", "-o", f"ServerAliveCountMax={_ALIVE_COUNT}",
            "-E", str(self._log), self.address.host, "exec cat",
        ]  # fmt: skip
        (its_input, self._say), (self._hear, its_output) = os.pipe(), os.pipe()
        try:
            try:
                process = spawn(argv, stdin=its_input, stdout=its_output)
            finally:
                os.close(its_input)
                os.close(its_output)
            with process:
                yield process
                os.close(self._say)  # the session ends, and ssh with it
                self._say = -1
                with contextlib.suppress(TimeoutError):
                    process.wait(_ALIVE_S)
        finally:
            for descriptor in (self._say, self._hear):
                if descriptor >= 0:
                    os.close(descriptor)

    @property
    def is_alive(self) -> bool:
        return self._session.is_running()

    def _measure(self) -> int:
        """The median of some round trips of one byte, which are the first proof of life too."""
        deadline, taken = Deadline(3.0 * _CONNECT_TIMEOUT_S), list[int]()
        for _ in range(_ROUND_TRIPS):
            start = now_ns()
            with contextlib.suppress(BrokenPipeError):
                os.write(self._say, b".")
            heard = select.select([self._hear], [], [], deadline.left_s())[0]
            if not heard or not os.read(self._hear, 1):
                raise RuntimeUnavailable(
                    f"{self.name} cannot be reached by ssh: {self._said()}",
                    f"let `{self._by_hand()}` work without a password",
                )
            taken.append(now_ns() - start)
        return int(statistics.median(taken[1:]))

    def _said(self) -> str:
        with contextlib.suppress(OSError):
            if said := self._log.read_text(errors="replace").strip():
                return said.splitlines()[-1][-_LOG_CHARACTERS:]
        return "it does not answer"

    def _by_hand(self) -> str:
        return shlex.join([self.address.program, *self.address.options, self.address.host, "true"])

    def _program(self) -> str:
        program = find_program(self.address.program)
        if program is None:
            raise RuntimeUnavailable(
                f"{self.address.program} is not installed", "apt-get install openssh-client"
            )
        return program

    def _muxed(self, *options: str, command: Sequence[str] = ()) -> list[str]:
        """ssh through the connection that is open; it makes none of its own."""
        own = ["-S", str(self._control), "-o", "ControlMaster=no", "-o", "ProxyCommand=false"]
        argv = [self._program(), *own, *self.address.options, *options, self.address.host]
        return [*argv, shlex.join(command)] if command else argv

    def run(self, *argv: str, timeout_s: float = _CALL_TIMEOUT_S) -> str:
        """Run a program there; its words are quoted for the far shell. Raises CommandFailed."""
        done = run(self._muxed("-T", command=argv), timeout_s=timeout_s)
        return done.stdout.decode(errors="replace")

    def _make_folder(self) -> str:
        """A folder of the user's own on the host's disk. Raises RuntimeUnavailable."""
        script = (
            "umask 022; d=/var/tmp/tarebench-$(id -u); mkdir -p $d && "
            "[ -O $d ] && [ ! -L $d ] && chmod 711 $d && echo $d"
        )
        try:
            return self.run("sh", "-c", script).strip()
        except CommandFailed as error:
            raise RuntimeUnavailable(
                f"{self.name} gives no folder below /var/tmp: {error.message}", error.hint
            ) from error

    def carry(self, file: Path) -> Path:
        """Where a file is there, brought now unless it is; holes stay holes.

        Raises CommandFailed. The name tells the content, and a file gets its name when it is
        whole: two runs that bring the same do no harm.
        """
        status = file.stat()
        target = f"{self.folder}/{_digest(file, status.st_mtime_ns)}-{file.name}"
        partial = f"{target}.{os.getpid()}"
        ask = 'test -e "$1" && echo there || mkdir "$2"'
        if "there" not in self.run("sh", "-c", ask, "sh", target, partial):
            self._stream(file, partial)
            move = 'chmod 644 "$1/$2" && mv "$1/$2" "$3" && rmdir "$1"'
            self.run("sh", "-c", move, "sh", partial, file.name, target)
        return Path(target)

    def _stream(self, file: Path, folder: str) -> None:
        tar = [find_program("tar") or "/bin/tar", "--sparse", "-cf", "-"]
        pack = [*tar, "-C", str(file.parent), file.name]
        unpack = self._muxed("-T", command=["tar", "-C", folder, "-xf", "-"])
        read, write = os.pipe()
        with ExitStack() as stack:
            source = stack.enter_context(spawn(pack, stdout=write))
            sink = stack.enter_context(spawn(unpack, stdin=read))
            os.close(read)
            os.close(write)
            try:
                statuses = sink.wait(_CARRY_TIMEOUT_S), source.wait(_CALL_TIMEOUT_S)
            except TimeoutError as error:
                raise CommandFailed(f"carrying {file} to {self.name} takes too long") from error
        if any(statuses):
            raise CommandFailed(f"{file} could not be carried to {self.name}: {self._said()}")

    def make_folder(self, folder: Path) -> None:
        """A folder for one instance, which others may enter but not list. CommandFailed."""
        self.run("mkdir", "-m", "711", "--", str(folder))

    def has_folder(self, folder: Path) -> bool:
        """Whether a folder is there. CommandFailed."""
        return bool(self.run("sh", "-c", 'test -d "$1" && echo yes || :', "sh", str(folder)))

    def remove_folder(self, folder: Path) -> None:
        """Raises CommandFailed."""
        self.run("rm", "-rf", "--", str(folder))

    @contextlib.contextmanager
    def channel(self, there: Path, here: Path) -> Iterator[None]:
        """A socket there on which ssh listens, and which it connects to a listener here."""
        ways = ["-R", f"{there}:{here}"]
        run(self._muxed("-O", "forward", *ways), timeout_s=_CALL_TIMEOUT_S)
        try:
            self.run("chmod", "666", str(there))  # the VMM may be another user's
            yield
        finally:
            with contextlib.suppress(CommandFailed):
                run(self._muxed("-O", "cancel", *ways), timeout_s=_CALL_TIMEOUT_S)

    def close(self) -> None:
        """End the connection; all that went through it ends too."""
        self._stack.close()


@functools.cache
def _digest(file: Path, mtime_ns: int) -> str:
    """Of a file's content, which is read once as long as it stays as it is."""
    del mtime_ns
    return sha256_of(file)[:_DIGEST_CHARACTERS]


class FarFolders:
    """Removes instances' folders on far hosts. A host that cannot be asked is an error."""

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        with _reached(details["uri"]) as host:
            return host.has_folder(Path(name))

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        with _reached(details["uri"]) as host:
            host.remove_folder(Path(name))


@contextlib.contextmanager
def _reached(uri: str) -> Iterator[FarHost]:
    with tempfile.TemporaryDirectory() as state:
        host = FarHost(uri, Path(state))
        try:
            yield host
        finally:
            host.close()


folders = FarFolders()
"""What the group `tarebench.cleaners` names for the kind `far-folder`."""
