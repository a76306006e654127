"""Whether this host could checkpoint a container, in the words of CRIU itself."""

from __future__ import annotations

from harness.process import find_program, run

_CHECK_TIMEOUT_S = 20.0


def obstacle() -> str | None:
    """Why CRIU cannot work here; None where it says that it can.

    `criu check` asks the kernel for everything that a dump needs. An older CRIU on a newer
    kernel fails already there.
    """
    program = find_program("criu")
    if program is None:
        return "criu is not installed"
    said = run([program, "check"], check=False, timeout_s=_CHECK_TIMEOUT_S)
    if said.returncode == 0:
        return None
    lines = (said.stderr or said.stdout).decode(errors="replace").strip().splitlines()
    return f"criu check: {lines[0] if lines else f'exit status {said.returncode}'}"
