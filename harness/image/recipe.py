"""What the image is made of, as data: change a word here and it is another image.

The hash of the recipe together with that of the agent is what a built image is found by, so
everything that decides about its content stands here and nowhere in the builder's code.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence

import msgspec

from harness.model import AGENT_PATH, Frozen

EXCLUDES = (
    "/proc", "/sys", "/dev", "/run", "/tmp",
    "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab",
    "/.dockerenv", "/lost+found",
)  # fmt: skip
"""Paths that every box provides in its own way, so that no digest can cover them."""

_MOUNT_POINTS = "/proc /sys /dev /run /tmp"
_BIND_TARGETS = "/etc/hosts /etc/hostname /etc/resolv.conf"

_CUSTOMIZE = (
    # The host's mirrors, proxies and the settings of this build are nobody else's business.
    'rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
    'rm -f "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/dpkg/dpkg.cfg.d/99mmdebstrap',
    # Logs, caches, locks and second copies: dated, or ordered by chance.
    'find "$1"/var/log -type f -delete',
    'rm -rf "$1"/var/lib/apt/lists "$1"/var/cache/apt "$1"/var/cache/ldconfig/aux-cache',
    'rm -rf "$1"/var/lib/dbus "$1"/var/cache/man "$1"/var/lib/apt/extended_states',
    'find "$1"/var/cache/debconf "$1"/var/lib/dpkg -maxdepth 1 -name "*-old" -delete',
    'rm -f "$1"/var/lib/dpkg/lock "$1"/var/lib/dpkg/lock-frontend "$1"/var/lib/dpkg/triggers/Lock',
    'rm -f "$1"/etc/passwd- "$1"/etc/group- "$1"/etc/shadow- "$1"/etc/gshadow- "$1"/etc/.pwd.lock',
    # The day on which an account was made says when the image was built.
    r'sed -i "s/^\([^:]*:[^:]*\):[0-9]\+:/\1:19000:/" "$1"/etc/shadow',
    # Runtimes differ in which of these they can create, so all of them are there and empty.
    f'for d in {_MOUNT_POINTS}; do install -d "$1$d"; done; chmod 1777 "$1"/tmp',
    f'for f in {_BIND_TARGETS}; do rm -f "$1$f"; install -m 644 /dev/null "$1$f"; done',
)


class Recipe(Frozen, frozen=True):
    """Everything that decides about the content of the image but the packages' versions.

    `customize` holds shell commands that mmdebstrap runs with the tree as `$1`.
    """

    suite: str = "bookworm"
    variant: str = "minbase"
    architecture: str = "amd64"
    components: str = "main"
    packages: tuple[str, ...] = (
        "busybox-static", "fio", "iperf3", "nginx-light", "p7zip", "redis-server", "stress-ng",
        "sysbench",
    )  # fmt: skip
    path_excludes: tuple[str, ...] = (
        "/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*",
        "/usr/share/lintian/*",
    )  # fmt: skip
    excludes: tuple[str, ...] = EXCLUDES
    customize: tuple[str, ...] = _CUSTOMIZE
    epoch: int = 1_700_000_000
    """SOURCE_DATE_EPOCH: no time stamp in the archive is later than this."""
    agent_path: str = AGENT_PATH


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def current_recipe(extra: Sequence[str] = ()) -> Recipe:
    """The recipe for this machine's architecture, with a user's own packages added by name."""
    machine = platform.machine()
    recipe = Recipe(architecture=_ARCHITECTURES.get(machine, machine))
    return msgspec.structs.replace(recipe, packages=tuple(sorted({*recipe.packages, *extra})))


def recipe_hash(recipe: Recipe, agent: str) -> str:
    """What an image is found by: a hash over the recipe and the agent's SHA-256."""
    return hashlib.sha256(msgspec.json.encode((recipe, agent), order="sorted")).hexdigest()
