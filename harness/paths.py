"""Where things are kept: the cache, a run's own state, the inventories, the results.

Root's cache is world-readable, because a bare-metal job runs as an ordinary user and must
reach the image; so an ordinary user who has built none can use root's. Everyone else's is
their own. `TAREBENCH_CACHE` and `TAREBENCH_STATE` override.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import EnvironmentRefused

MANIFEST = "manifest.json"
JOURNAL = "journal.jsonl"
"""Files of a run folder, which the runner writes and every reader looks for."""

REPORT = "TAREBENCH_REPORT"
"""Where this is 0, runs draw no report, as with `--no-report`: who set it draws it elsewhere."""

SHARED_CACHE = Path("/var/cache/tarebench")
"""Root's cache, which everyone can read."""


def cache() -> Path:
    """What outlives runs: images, kernels, a private engine's data."""
    if given := os.environ.get("TAREBENCH_CACHE"):
        return Path(given).absolute()
    return _own_cache()


def _own_cache() -> Path:
    if os.geteuid() == 0:
        return SHARED_CACHE
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tarebench"


def writable(given: Path) -> Path:
    """A cache, or this user's own where it is someone else's, who lets us read it."""
    return _own_cache() if given.exists() and not os.access(given, os.W_OK) else given


def image_caches() -> Sequence[Path]:
    """Where to look for a built image: our own cache, then the one that root shares."""
    if os.environ.get("TAREBENCH_CACHE"):
        return (cache(),)
    return tuple(dict.fromkeys((cache(), SHARED_CACHE)))


def inventories() -> Path:
    """What runs have made on this host, one file a run, written before it is made."""
    if given := os.environ.get("TAREBENCH_STATE"):
        return Path(given).absolute() / "inventory"
    if os.geteuid() == 0:
        return Path("/var/lib/tarebench/inventory")
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "tarebench" / "inventory"


def run_state(run_id: str) -> Path:
    """A run's own folder on a path short enough for Unix sockets (107 bytes with a name)."""
    if os.geteuid() == 0:
        return Path("/run/tarebench") / run_id
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base and Path(base).is_dir():
        return Path(base) / "tarebench" / run_id
    return Path(tempfile.gettempdir()) / f"tarebench-{os.geteuid()}" / run_id


def scratch(run_id: str) -> Path:
    """Where a run's writable layers lie: on the cache's disk, unless it is someone else's."""
    return writable(cache()) / "scratch" / run_id


def results() -> Path:
    """Where runs land: below the checkout when in one, else below the current folder."""
    return _results() / "runs"


def references() -> Path:
    """Where reference runs are added: to the checkout when in one."""
    return _results() / "reference"


def _results() -> Path:
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "harness").is_dir():
            return folder / "results"
    return here / "results"


def exists(path: Path) -> bool:
    """Whether it is there; a name that no file can have is none that is."""
    try:
        return path.exists()
    except OSError:
        return False


def is_file(path: Path) -> bool:
    """The same of a file."""
    return exists(path) and path.is_file()


def require_plain(folder: Path) -> None:
    """Raises EnvironmentRefused for control characters: not every configuration can quote them."""
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in str(folder)):
        raise EnvironmentRefused(
            f"the folder {str(folder)!r} has a control character in its name",
            "choose another: TAREBENCH_CACHE names the cache, TMPDIR what is temporary",
        )


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """What is made meanwhile can be read by everybody and written by its owner alone.

    A box's job is an ordinary user and must reach the image and its own folder, whatever the
    umask of who runs us; what must not be read is made private where it is made.
    """
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


def settle_umask() -> None:
    """Keep the user's umask, but never one by which others may write, or we may not ourselves."""
    os.umask((os.umask(0o077) | 0o022) & 0o077)


def make_private(folder: Path) -> None:
    """Make a folder that only its owner can enter, whatever the umask; refuse another's.

    Raises OSError when it exists and is not ours: someone may have put it there.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if status.st_uid != os.geteuid() or folder.is_symlink():
        raise OSError(f"{folder} belongs to someone else")
    folder.chmod(0o700)


def make_state(folder: Path) -> None:
    """Make a run's own folder (`run_state`), and the one above it, which is ours too.

    Raises OSError where another user has put one there: in a folder of theirs they could
    replace ours.
    """
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    make_private(folder.parent)
    make_private(folder)
