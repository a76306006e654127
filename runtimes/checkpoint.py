"""A container that CRIU can write to files and bring back: a shell of the image, asked by pipes.

The agent of every other box holds a connected socket whose other end is the harness. CRIU carries
no half of a connection (with `--ext-unix-sk` it comes back broken), and the agent, whose bytes are
part of the image's digest, knows no second way. So what is checkpointed is a container of its own,
of the same image and by the same bundle, in which the image's shell waits for questions from one
named pipe and answers into another. They lie in the folder that every box sees as /run/tarebench;
to CRIU they are files, which it opens again by name, and our ends last while the container is away.

That it is one and the same process that goes on is proven by its answers: each carries a number
that the shell drew when it began and that is nowhere but in its memory, and counts on from the one
before. What it holds is a variable, which it counts anew when it is asked for more.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.clock import Deadline, Marks, now_ns
from harness.errors import ChannelError, CommandFailed, DeadlineExceeded
from harness.image.cache import sha256_of
from harness.lifecycle import NotCheckpointed
from harness.model import CHANNEL_DIRECTORY, InstanceSpec
from harness.probes import criu
from harness.process import spawn
from runtimes.box import EXIT_TIMEOUT_S, Ending, last_words

PROGRAMS = ("/usr/bin/dash", "/usr/bin/head", "/usr/bin/tr")
SCRIPT = r"""
read -r name < /proc/sys/kernel/random/uuid
exec 3<> "$1/asked" 4<> "$1/told"
said=0 held=
while read -r word number <&3; do
    if [ "$word" = hold ]; then
        held=$held$(head -c "$number" /dev/zero | tr '\0' .)
        number=${#held}
    fi
    said=$((said + 1))
    echo "$name $said $number" >&4
done
"""
"""POSIX, for any shell. Its argument is the folder with the pipes."""
COMMAND = (PROGRAMS[0], "-c", SCRIPT, "sh", CHANNEL_DIRECTORY)

_ANNOTATION = "org.opencontainers.runc.checkpoint.enabled"
"""What runc, and crun in newer versions, say of themselves in their features."""
_CALL_TIMEOUT_S = 60.0
_MOST_BYTES = 4096

Call = Callable[..., None]
"""Runs a word of the OCI runtime's program to its end. Raises CommandFailed."""


def require(program: str, features: bytes) -> None:
    """Raises NotCheckpointed where the OCI runtime, by what its word `features` prints, or CRIU on
    this host takes none."""
    try:
        told = json.loads(features)["annotations"][_ANNOTATION]
    except (ValueError, LookupError, TypeError):
        told = ""
    if told != "true":
        raise NotCheckpointed(f"{program} does not say that it was built with CRIU")
    why = criu.obstacle()
    if why is not None:
        raise NotCheckpointed(why)


class Conversation:
    """Questions to the shell and its answers, by our ends of the two pipes."""

    def __init__(self, asked: int, told: int) -> None:
        self._asked = asked
        self._told = told
        self._heard = b""
        self._name = ""
        self._said = 0

    def ask(self, word: str, number: int) -> None:
        """`hold` so many bytes more; any other word has the number said back."""
        os.write(self._asked, f"{word} {number}\n".encode())

    def hear(self, wait_s: float, ended: int) -> tuple[int, int] | None:
        """The number in the next answer and when it arrived; None when none did.

        Raises ChannelError when the process of the pidfd `ended` has ended, or when it is another
        one that answers than before.
        """
        arrived_ns = now_ns()
        if b"\n" not in self._heard:
            waiting = select.poll()
            waiting.register(self._told, select.POLLIN)
            waiting.register(ended, select.POLLIN)
            ready = dict(waiting.poll(max(0.0, wait_s) * 1000))
            arrived_ns = now_ns()
            if not ready:
                return None
            if self._told not in ready:
                raise ChannelError("the container has ended")
            self._heard += os.read(self._told, _MOST_BYTES)  # a line is written at once
        line, _, self._heard = self._heard.partition(b"\n")
        return self._checked(line.decode()), arrived_ns

    def _checked(self, line: str) -> int:
        name, said, number = line.split()
        self._name = self._name or name
        self._said += 1
        if (name, said) != (self._name, str(self._said)):
            raise ChannelError(
                f"answer {said} of the process {name} came where answer {self._said} of the "
                f"process {self._name} was due"
            )
        return int(number)


@contextlib.contextmanager
def conversation(folder: Path) -> Iterator[Conversation]:
    """Two new pipes in a folder. Our ends can both read and write, so that they never close."""
    with ExitStack() as stack:
        ends: list[int] = []
        for name in ("asked", "told"):
            os.mkfifo(folder / name, 0o600)
            end = os.open(folder / name, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, end)
            ends.append(end)
        yield Conversation(*ends)


class Container:
    """One that lives, or is away. Made by `started`."""

    programs = PROGRAMS

    def __init__(self, spec: InstanceSpec, talk: Conversation, call: Call, life: ExitStack) -> None:
        self._spec = spec
        self._talk = talk
        self._call = call
        self._life = life
        self._work = spec.directory / "criu"
        self._work.mkdir()

    def start(self) -> None:
        """Returns when the shell has answered for the first time. Raises HarnessError."""
        self._begin("run")
        self._ask("ping", 0)

    def _begin(self, word: str, *options: str) -> None:
        pid_file = self._spec.directory / "pid"
        self._call(
            word, "--detach", *options, "--bundle", str(self._spec.directory),
            "--pid-file", str(pid_file), self._spec.name,
        )  # fmt: skip
        self._init = self._life.enter_context(Ending(int(pid_file.read_text())))

    def _ask(self, word: str, number: int) -> int:
        self._talk.ask(word, number)
        answer = self.take_pong(self._spec.ready_timeout_s)
        if answer is None:
            raise DeadlineExceeded(f"no answer after {self._spec.ready_timeout_s:g} s")
        return answer[0]

    def send_ping(self, stamp_ns: int) -> None:
        self._talk.ask("ping", stamp_ns)

    def take_pong(self, wait_s: float) -> tuple[int, int] | None:
        return self._talk.hear(wait_s, self._init.pidfd)

    def touch(self, size_bytes: int, seed: int | None = None) -> int:
        """The content is one character: nothing that saves a container looks at it."""
        del seed
        return self._ask("hold", size_bytes)

    def hash_files(self, paths: Sequence[str]) -> Mapping[str, str]:
        root = Path(f"/proc/{self._init.pid}/root")
        inside = {path: root / path.lstrip("/") for path in paths}
        return {path: sha256_of(file) for path, file in inside.items() if file.is_file()}

    def save(self, file: Path) -> None:
        """CRIU writes a folder, and ends what it has written."""
        with self._criu("dump"):
            self._call("checkpoint", *self._places(file), self._spec.name)
        self._init.wait(Marks(), Deadline(EXIT_TIMEOUT_S))
        self._life.close()

    def restore(self, file: Path) -> None:
        with self._criu("restore"):
            self._begin("restore", *self._places(file))

    def _places(self, file: Path) -> Sequence[str]:
        """Its logs lie elsewhere, so that they are not counted with what was saved."""
        return "--image-path", str(file), "--work-path", str(self._work)

    @contextlib.contextmanager
    def _criu(self, word: str) -> Iterator[None]:
        try:
            yield
        except CommandFailed as error:
            why = criu.first_error(self._work / f"{word}.log")
            raise NotCheckpointed(f"criu {word}: {why}" if why else error.message) from error


@contextlib.contextmanager
def started(spec: InstanceSpec, talk: Conversation, call: Call) -> Iterator[Container]:
    """One that has answered; what of it lives at the end is killed."""
    with ExitStack() as life:
        container = Container(spec, talk, call, life)
        container.start()
        yield container


def call(argv: Sequence[str], log: Path) -> None:
    """Run an OCI runtime's program to its end. Raises CommandFailed with the end of its log.

    It has /dev/null alone, and so has what it starts: CRIU carries no file that is ours.
    """
    with spawn(argv) as process:
        try:
            status = process.wait(_CALL_TIMEOUT_S)
        except TimeoutError:
            raise CommandFailed(f"{argv[0]} did not return") from None
    if status != 0:
        said = ""
        if log.exists():
            with log.open("rb") as file:
                said = last_words(file)
        raise CommandFailed(f"{argv[0]}: exit status {status}: {said or 'it said nothing'}")
