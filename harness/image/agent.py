"""The agent: the one program that is the same file in every box, compiled on the user's machine."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from harness.image.cache import sha256_of
from harness.image.compiled import Program


def agent_program() -> Program:
    """The agent's C source as the package carries it: its two files as one, with their names."""
    folder = resources.files("harness.image")
    parts = ((name, folder.joinpath(name).read_bytes()) for name in ("agent.c", "isolation.c"))
    return Program("agent", b"".join(b'#line 1 "%s"\n%s' % (name.encode(), c) for name, c in parts))


def source_key() -> str:
    """What the compiled agent is cached by: the SHA-256 of its source and of the flags."""
    return agent_program().key


def build_agent(cache: Path) -> Path:
    """The compiled agent, compiled now if need be. Raises ImageError."""
    return agent_program().build(cache)


def agent_sha256(cache: Path) -> str | None:
    """The SHA-256 of the compiled agent, or None while it is not compiled."""
    path = agent_program().cached(cache)
    return None if path is None else sha256_of(path)
