"""The command as somebody who is not root, with no right of root's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.command import TIME_LIMIT_S

USER = 4321
"""A number that is nobody's on any host that we know; its group has the same."""
NAMED = 65534
"""A user with a name, which libvirt asks for: nobody."""


def as_user(
    home: Path,
    *arguments: str | Path,
    groups: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    user: int = USER,
    limit_s: float = TIME_LIMIT_S,
) -> subprocess.CompletedProcess[str]:
    """Run the command there; skips where such a user cannot start any Python of ours.

    The environment's Python may lie in a folder that is root's alone: then the system's own
    serves, with our libraries.
    """
    become = ["setpriv", f"--reuid={user}", f"--regid={user}",
              f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"]  # fmt: skip
    libraries = Path(pytest.__file__).parents[1]
    given = {
        "HOME": str(home), "PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": f"{libraries}:{Path(__file__).parents[1]}",
    } | {
        key: os.environ[key] for key in ("TAREBENCH_CACHE", "TAREBENCH_APART") if key in os.environ
    } | dict(env or {})  # fmt: skip
    candidates = (usable(become, path, given) for path in (sys.executable, "/usr/bin/python3"))
    python = next(filter(None, candidates), None)
    if python is None:
        pytest.skip("another user may not start this Python, or not enter the checkout's folder")
    main = [*become, "env", python, "-c", "from harness.cli import main; main()"]
    return subprocess.run(
        [*main, *arguments], cwd=home, env=given, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=limit_s, check=False,
    )  # fmt: skip


def usable(become: list[str], python: str, env: dict[str, str]) -> str | None:
    """The interpreter, if another user may start it, it is of our version, and finds our code."""
    code = "import sys, harness.model; print(*sys.version_info[:2])"
    said = subprocess.run(
        [*become, "env", python, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    return python if said.stdout.split() == [str(n) for n in sys.version_info[:2]] else None
