"""Whether this host could checkpoint a container, in the words of CRIU itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from harness.errors import CommandFailed
from harness.model import Ledger
from harness.process import find_program, run

CACHE = Path("/run/criu.kdat")
"""What CRIU has found out of this kernel; each call of it writes that anew where it is not."""

_CHECK_TIMEOUT_S = 20.0


def obstacle() -> str | None:
    """Why CRIU cannot work here; None where it says that it can.

    `criu check` asks the kernel for everything that a dump needs. An older CRIU on a newer
    kernel fails already there.
    """
    program = find_program("criu")
    if program is None:
        return "criu is not installed"
    try:
        said = run([program, "check"], check=False, timeout_s=_CHECK_TIMEOUT_S)
    except CommandFailed as error:  # it hangs, or cannot be started
        return f"criu check: {error.message}"
    if said.returncode == 0:
        return None
    lines = (said.stderr or said.stdout).decode(errors="replace").strip().splitlines()
    return f"criu check: {lines[0] if lines else f'exit status {said.returncode}'}"


def first_error(log: Path) -> str | None:
    """The first error in a log of CRIU's; None where it tells of none, or is not there."""
    try:
        lines = log.read_text(errors="replace").splitlines()
    except OSError:
        return None
    return next((line.partition("Error ")[2] for line in lines if "Error " in line), None)


@contextlib.contextmanager
def leaving_nothing(ledger: Ledger, cache: Path = CACHE) -> Iterator[None]:
    """CRIU may be called meanwhile: its cache goes afterwards, unless it was there before."""
    if cache.exists():
        yield
        return
    ledger.will_make("file", str(cache))
    try:
        yield
    finally:
        cache.unlink(missing_ok=True)
        ledger.removed("file", str(cache))
