"""The launcher (launcher.c) as a program to be built: steps of a command line, then an exec."""

from __future__ import annotations

from importlib import resources

from harness.image.compiled import Program
from runtimes.privileges import DENIED_CALLS


def launcher_program() -> Program:
    """The launcher's source, and the system calls that it refuses."""
    source = resources.files("runtimes").joinpath("launcher.c").read_bytes()
    return Program("launcher", source, (f"DENIED={' '.join(f'X({c})' for c in DENIED_CALLS)}",))
