"""Make a machine ready for tarebench: Debian's packages, then a virtual environment.

Called by the Makefile with whatever `python3` there is, before anything is installed. A
second call does nothing and takes a fraction of a second: host needs are looked up as files,
and the environment carries a stamp of everything it was made from.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import host
from host import say

TOP = Path(__file__).resolve().parent.parent
VENV = TOP / ".venv"
STAMP = VENV / "tarebench.stamp"
OLDEST = (3, 11)
NEWER = ("python3.13", "python3.12", "python3.11")


class SetupFailed(Exception):
    """Something without which nothing works; the text says what to do."""


def main(argv: Sequence[str]) -> int:
    """Run the set-up; returns an exit code."""
    options = _parser().parse_args(argv)
    try:
        if options.give_back:
            give_back()
            return 0
        _need_python()
        host.provide(ask=_may_ask(), for_tests=options.for_tests)
        importlib.invalidate_caches()
        environment(for_tests=options.for_tests)
        give_back()
    except SetupFailed as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the next make goes on from here")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for-tests", action="store_true", help="also what the tests need")
    parser.add_argument(
        "--give-back",
        action="store_true",
        help="only hand files that sudo made in the checkout to the checkout's owner",
    )
    return parser


def _may_ask() -> bool:
    return os.environ.get("YES", "") in {"", "0"} and sys.stdin.isatty() and sys.stderr.isatty()


def _need_python() -> None:
    """Go on in a newer Python where the default one is too old."""
    if sys.version_info >= OLDEST:
        return
    for name in NEWER:
        path = shutil.which(name)
        if path:
            os.execv(path, [path, *sys.argv])
    wanted = ".".join(map(str, OLDEST))
    raise SetupFailed(f"Python {wanted} or newer is needed; this is {sys.version.split()[0]}")


def environment(for_tests: bool) -> None:
    """Make or refresh `.venv`; nothing is done when nothing it is made from has changed.

    Test tools, once there, stay: `make run` after `make test` rebuilds nothing.
    """
    inputs = _inputs()
    stamped = STAMP.read_text().split() if STAMP.exists() else []
    parts = set(stamped[1:]) if stamped and _works() else set()
    fresh = bool(parts) and stamped[0] == inputs
    wanted = ["tarebench"] + ["test"] * (for_tests or "test" in parts)
    machines = host.libvirt_headers() and not (fresh and parts & {"machines", "no-machines"})
    if fresh and parts.issuperset(wanted) and not machines:
        return
    if not _works():
        _create()
    STAMP.unlink(missing_ok=True)
    if not fresh or not parts.issuperset(wanted):
        _install(wanted)
    if not fresh:
        parts = set()
    if machines:
        parts |= {"machines" if _install_machines() else "no-machines"}
    STAMP.write_text("\n".join([inputs, *sorted({*wanted, *parts})]) + "\n")
    say("the environment .venv is ready")


def _inputs() -> str:
    """A digest of everything that the environment is made from, its own place included."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt", "harness/__init__.py"):
        digest.update((TOP / name).read_bytes())
    digest.update(f"{TOP} {sys.base_prefix} {sys.version}".encode())
    return digest.hexdigest()


def _works() -> bool:
    python = VENV / "bin" / "python"
    if not python.exists():
        return False
    return subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0


def _create() -> None:
    say("making the environment .venv")
    with_pip = importlib.util.find_spec("ensurepip") is not None
    if not with_pip and importlib.util.find_spec("pip") is None:
        raise SetupFailed(
            "this Python can make no environment: it has neither ensurepip nor pip. As root: "
            "apt-get install python3-venv"
        )
    shutil.rmtree(VENV, ignore_errors=True)
    without = [] if with_pip else ["--without-pip"]
    made = subprocess.run([sys.executable, "-m", "venv", *without, VENV], check=False)
    if made.returncode != 0:
        raise SetupFailed("the environment could not be made; the lines above say why")


def _pip() -> list[str | Path]:
    """The environment's own pip, or the system's working for it."""
    python = VENV / "bin" / "python"
    if (VENV / "bin" / "pip").exists():
        return [python, "-m", "pip"]
    return [sys.executable, "-m", "pip", "--python", python]


def _install(wanted: Sequence[str]) -> None:
    """Install tarebench in place, with what the tests need or without.

    pip reads the host's own configuration: indexes, proxies and certificates are its affair.
    """
    say("installing Python packages")
    if not _pip_install("-e", ".[test]" if "test" in wanted else "."):
        raise SetupFailed("pip could not install the Python packages; the lines above say why")


def _install_machines() -> bool:
    """Install the extra `machines`, apart: it is compiled, and nothing else may fail with it."""
    import tomllib

    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    say("compiling libvirt-python for virtual machines")
    if _pip_install(*project["optional-dependencies"]["machines"]):
        return True
    say("libvirt-python could not be installed: virtual machines are not available")
    return False


def _pip_install(*what: str) -> bool:
    argv = [*_pip(), "install", "--progress-bar", "off", "-c", "constraints.txt", *what]
    return subprocess.run(argv, check=False, cwd=TOP).returncode == 0


def give_back() -> None:
    """After `sudo make …`: what root made in the checkout belongs to the checkout's owner."""
    owner = TOP.stat()
    if (
        os.geteuid() != 0
        or os.environ.get("SUDO_UID", "0") != str(owner.st_uid)
        or not owner.st_uid
    ):
        return
    for folder, folders, files in os.walk(TOP):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.lstat().st_uid == 0:
                os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
