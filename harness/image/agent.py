"""The agent: the one program that is the same file in every box.

It is compiled on the user's machine from the source that the package carries, because a
static program of the host's own compiler needs no trust in a shipped binary. The result is
cached by the hash of the source and of the flags, so that it is compiled once.
"""

from __future__ import annotations

import hashlib
import shutil
from importlib import resources
from pathlib import Path

from harness import process
from harness.errors import CommandFailed, ImageError
from harness.image.cache import finish, partial_directory, sha256_of

FLAGS = ("-O2", "-static", "-s", "-Wall", "-Wl,--build-id=none")
"""Nothing that depends on the place or the time of the build: same compiler, same bytes."""

_HINT = "apt-get install gcc libc6-dev"


def agent_source() -> bytes:
    """The agent's C source as the package carries it."""
    return resources.files("harness.image").joinpath("agent.c").read_bytes()


def source_key() -> str:
    """What the compiled agent is cached by: the SHA-256 of its source and of the flags."""
    return hashlib.sha256(agent_source() + b"\0" + " ".join(FLAGS).encode()).hexdigest()


def cached_agent(cache: Path) -> Path | None:
    """The compiled agent if it is there already; never compiles."""
    path = cache / "agent" / source_key() / "agent"
    return path if path.is_file() else None


def build_agent(cache: Path) -> Path:
    """The compiled agent, compiled now if need be.

    Raises ImageError when there is no C compiler, or no static libc to link with.
    """
    if (ready := cached_agent(cache)) is not None:
        return ready
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise ImageError("the agent cannot be compiled: there is no C compiler", _HINT)
    final = cache / "agent" / source_key()
    with partial_directory(final) as partial:
        (partial / "agent.c").write_bytes(agent_source())
        try:
            process.run([compiler, *FLAGS, "-o", "agent", "agent.c"], cwd=partial)
        except CommandFailed as error:
            raise ImageError(f"the agent cannot be compiled: {error.message}", _HINT) from error
        (partial / "agent").chmod(0o755)
        finish(partial, final)
    return final / "agent"


def agent_sha256(cache: Path) -> str | None:
    """The SHA-256 of the compiled agent, or None while it is not compiled."""
    path = cached_agent(cache)
    return None if path is None else sha256_of(path)
