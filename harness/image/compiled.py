"""Small static C programs that the package carries as source and the host's compiler makes.

A program is compiled on the user's machine because a static program of the host's own compiler
needs no trust in a shipped binary. The result is cached by the hash of the source and of the
flags, so that it is compiled once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness import process
from harness.errors import CommandFailed, ImageError
from harness.image.cache import finish, partial_directory

FLAGS = ("-O2", "-static", "-s", "-Wall", "-Wl,--build-id=none")
"""Nothing that depends on the place or the time of the build: same compiler, same bytes."""

_HINT = "apt-get install gcc libc6-dev"


@dataclass(frozen=True)
class Program:
    """One program: its name, its C source, and what is defined for it beyond the source."""

    name: str
    source: bytes
    defines: Sequence[str] = ()

    @property
    def flags(self) -> Sequence[str]:
        """What the compiler is given."""
        return (*FLAGS, *(f"-D{define}" for define in self.defines))

    @property
    def key(self) -> str:
        """What the compiled program is cached by: the SHA-256 of its source and flags."""
        return hashlib.sha256(self.source + b"\0" + " ".join(self.flags).encode()).hexdigest()

    def cached(self, cache: Path) -> Path | None:
        """The compiled program if it is there already; never compiles."""
        path = cache / self.name / self.key / self.name
        return path if path.is_file() else None

    def build(self, cache: Path) -> Path:
        """The compiled program, compiled now if need be.

        Raises ImageError when there is no C compiler, or no static libc to link with.
        """
        if (ready := self.cached(cache)) is not None:
            return ready
        compiler = process.find_program("cc") or process.find_program("gcc")
        if compiler is None:
            raise ImageError(f"the {self.name} cannot be compiled: there is no C compiler", _HINT)
        final = cache / self.name / self.key
        with partial_directory(final) as partial:
            (partial / f"{self.name}.c").write_bytes(self.source)
            argv = [compiler, *self.flags, "-o", self.name, f"{self.name}.c"]
            try:
                process.run(argv, cwd=partial)
            except CommandFailed as error:
                raise ImageError(
                    f"the {self.name} cannot be compiled: {error.message}", _HINT
                ) from error
            (partial / self.name).chmod(0o755)
            finish(partial, final)
        return final / self.name
