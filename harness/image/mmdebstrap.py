"""Calling mmdebstrap: a Debian tree from the host's own mirrors, with nothing left on the host.

Two things are made by it, the one root filesystem and the disks of the lab. What both need is
here: the host's apt settings, mounts that end with the program, its steps passed on line by
line, a deadline, and the end of all its helpers.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from harness import process
from harness.clock import Deadline
from harness.errors import ImageError
from harness.image.cache import remove_tree
from harness.image.sources import DEBIAN_KEYRING, apt_settings, source_lines

Progress = Callable[[str], None]

_BUILD_TIMEOUT_S = 1800.0
_TAIL_LINES = 15


def bootstrap(
    target: Path, arguments: Sequence[str], suite: str, components: str,
    *, epoch: int, mode: str, tell: Progress,
) -> None:  # fmt: skip
    """Run mmdebstrap with the host's sources; see its manual for modes, options and hooks.

    It works in a folder beside `target`. Raises ImageError with the end of what it said.
    """
    program = process.find_program("mmdebstrap")
    if program is None:
        raise ImageError("mmdebstrap is not installed", "apt-get install mmdebstrap")
    work = target.parent / "work"
    work.mkdir()
    options = _apt_options(work / "apt.conf", apt_settings(), mode)
    argv = [
        program, f"--mode={mode}", f"--components={components}", *arguments,
        *(f"--aptopt={option}" for option in options),
        *([f"--keyring={DEBIAN_KEYRING}"] if DEBIAN_KEYRING.exists() else []),
        suite, str(target), *source_lines(suite, components),
    ]  # fmt: skip
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "SOURCE_DATE_EPOCH": str(epoch)}
    environment.pop("APT_CONFIG", None)
    if mode == "root":
        # What a killed build leaves lies in our partial folder. (An unshared mmdebstrap could
        # not reach a folder in a private home.)
        environment["TMPDIR"] = str(work)
        argv = [*_private_mounts(), *argv]
    _run_telling(argv, environment, tell)
    remove_tree(work)


def _apt_options(file: Path, settings: str, mode: str) -> list[str]:
    """The host's apt settings for mmdebstrap; they may hold a proxy's password.

    Root's mmdebstrap reads them from a file that nobody else can. An unshared one runs as
    another user, who could not reach a file in a private home, and gets them as words.
    """
    if mode != "root":
        return [line.strip().removesuffix(";") for line in settings.splitlines() if line.strip()]
    file.touch(mode=0o600)
    file.write_text(settings)
    return [str(file)]


def _private_mounts() -> list[str]:
    """What to put before mmdebstrap so that its mounts are nobody else's.

    As root it mounts /proc, /sys and /dev/* in the tree that it makes, and would leave them
    on the host if it were killed. In a mount namespace of its own they go with it, and it is
    told to end when we do. Where namespaces are forbidden, so are its mounts.
    """
    setpriv, unshare = process.find_program("setpriv"), process.find_program("unshare")
    if setpriv is None or unshare is None:
        raise ImageError("setpriv and unshare are not installed", "apt-get install util-linux")
    private = [unshare, "--mount", "--propagation", "private"]
    if process.run([*private, "true"], check=False).returncode != 0:
        return []
    return [setpriv, "--pdeathsig", "TERM", *private]


def _run_telling(argv: list[str], environment: Mapping[str, str], tell: Progress) -> None:
    """Run a long program and pass its steps on, line by line, as it says them."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    said: list[str] = []
    try:
        child = process.spawn(argv, stdout=writer, stderr=writer, env=environment)
    finally:
        os.close(writer)
    with child, os.fdopen(reader, "rb", buffering=0) as pipe:
        try:
            for line in _lines(pipe.fileno(), Deadline(_BUILD_TIMEOUT_S)):
                said = [*said[-_TAIL_LINES:], line]
                if line.startswith("I: ") and not line.startswith("I: running --"):
                    tell(line[3:])
            status = child.wait(60)
        except BaseException:
            _ask_to_end(child)
            raise
    if status != 0:
        unknown = [line for line in said if "Unable to locate package" in line]
        if unknown:
            name = unknown[0].rpartition(" ")[2]
            raise ImageError(
                f"the image's distribution has no package {name}", f"apt-cache search {name}"
            )
        raise ImageError(
            f"mmdebstrap: exit status {status}: " + "\n".join(said),
            "see whether apt-get update works; ordinary users need uidmap and a /etc/subuid entry",
        )


def _ask_to_end(child: process.Process) -> None:
    """End mmdebstrap with all that it has started, as Ctrl-C in a terminal would.

    Nothing may still write when its folder is removed, so the rest of its process group is
    killed and waited for.
    """
    group = child.pid
    _signal_group(group, signal.SIGTERM)
    with suppress(TimeoutError):
        child.wait(10)
    deadline = Deadline(10)
    while _signal_group(group, signal.SIGKILL) and not deadline.over:
        with suppress(TimeoutError):
            child.wait(0.05)
        time.sleep(0.05)


def _signal_group(group: int, number: signal.Signals) -> bool:
    """False when nobody is left in the process group (or none that may be signalled)."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _lines(descriptor: int, deadline: Deadline) -> Iterator[str]:
    held = b""
    while True:
        if not select.select([descriptor], [], [], deadline.left_s())[0]:
            raise ImageError("the image was not built in time", "is the mirror reachable?")
        chunk = os.read(descriptor, 65536)
        *whole, held = (held + chunk).replace(b"\r", b"\n").split(b"\n")
        yield from (line.decode(errors="replace") for line in whole if line)
        if not chunk:
            if held:
                yield held.decode(errors="replace")
            return
