"""Where Debian's packages come from on this host: its own mirrors, proxies and authorities.

A machine behind a local mirror or a proxy can already install packages, and what makes that
possible is in its apt configuration, in one of two file formats. apt itself is asked for the
result, so that both formats, and every way to write them, are understood.
"""

from __future__ import annotations

import re
from pathlib import Path

from harness import process
from harness.errors import CommandFailed

DEBIAN_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_FIELDS = "$(REPO_URI)|$(RELEASE)|$(COMPONENT)|$(ORIGIN)"
_SETTINGS = re.compile(
    r"Acquire::(https?|socks5h?|ftp|tor\+https?)::"
    r"|Acquire::(Retries|ForceIPv4|ForceIPv6|Check-Valid-Until|Check-Date) "
)


def source_lines(suite: str, component: str) -> list[str]:
    """The host's sources of a Debian suite, its updates and its security updates.

    Lines as in sources.list; empty where the host is not of this suite, or has no apt.
    """
    try:
        told = process.run(
            ["apt-get", "indextargets", "--format", _FIELDS, "Created-By: Packages"]
        ).stdout.decode(errors="replace")
    except CommandFailed:
        return []
    return _lines_of(told, suite, component)


def _lines_of(told: str, suite: str, component: str) -> list[str]:
    wanted = {suite, f"{suite}-updates", f"{suite}-security", f"{suite}/updates"}
    lines = []
    for fields in (line.split("|") for line in told.splitlines()):
        if len(fields) == 4 and fields[1] in wanted and fields[2] == component:
            uri, release, _, origin = fields
            if _is_debian(uri, origin):
                lines.append(f"deb {uri} {release} {component}")
    # Without the suite itself the rest is of no use, as on a host that has only updates of it.
    return lines if any(line.split()[2] == suite for line in lines) else []


def _is_debian(uri: str, origin: str) -> bool:
    """Third parties name their suites like Debian's: go by the origin, else by the place."""
    known = origin and not origin.startswith("$(")
    return origin == "Debian" if known else uri.rstrip("/").split("/")[-1].startswith("debian")


def apt_settings() -> str:
    """The host's apt settings on how to fetch (proxies, authorities, credentials).

    Text for an apt.conf; apt reads it with another root, so paths are absolute.
    """
    try:
        told = process.run(["apt-config", "dump", "Acquire"]).stdout.decode(errors="replace")
    except CommandFailed:
        return ""
    kept = [line for line in told.splitlines() if _SETTINGS.match(line)]
    kept += [
        'Dir::Etc::netrc "/etc/apt/auth.conf";',
        'Dir::Etc::netrcparts "/etc/apt/auth.conf.d";',
    ]
    return "\n".join(kept) + "\n"
