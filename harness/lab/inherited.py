"""What the lab inherits of the host, so that it installs wherever the host can.

apt's sources and settings come in by mmdebstrap. Beside them go the certificates that the
host trusts and pip's configuration, as far as it holds outside of this host: a folder of
wheels on its disk does not.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from pathlib import Path

from harness import process
from harness.errors import CommandFailed

_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_OWN_AUTHORITIES = Path("/usr/local/share/ca-certificates")
_PORTABLE = frozenset({"index-url", "extra-index-url", "trusted-host", "proxy", "default-timeout"})
_LINE = re.compile(r"(?:global|install|:env:)\.([\w.-]+)=(.*)")


def files() -> Mapping[str, tuple[str, int]]:
    """What to put in: path, text and mode."""
    found = {"/etc/pip.conf": (pip_conf(_pip_says(), _BUNDLE.is_file()), 0o644)}
    for path in (_BUNDLE, *sorted(_OWN_AUTHORITIES.glob("*.crt"))):
        if path.is_file():
            found[str(path)] = (path.read_text(), 0o644)
    return found


def pip_conf(told: str, bundle: bool) -> str:
    """pip's configuration for the lab, from what `pip config list` says on the host."""
    kept = {}
    for line in told.splitlines():
        found = _LINE.fullmatch(line.strip())
        name = found[1].lstrip(".") if found else ""
        if found and name in _PORTABLE:
            words = [word for word in str(ast.literal_eval(found[2])).split() if _travels(word)]
            if words:
                kept[name] = " ".join(words)
    if bundle:
        kept["cert"] = str(_BUNDLE)
    kept["disable-pip-version-check"] = "1"
    return "\n".join(["[global]", *(f"{name} = {value}" for name, value in kept.items()), ""])


def _travels(word: str) -> bool:
    return not word.startswith(("file:", "/", "."))


def _pip_says() -> str:
    try:
        return process.run(["python3", "-m", "pip", "config", "list"]).stdout.decode()
    except CommandFailed:
        return ""
