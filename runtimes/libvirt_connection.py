"""A connection to libvirt, by default to its QEMU driver inside our own process.

The embedded driver needs no daemon and leaves nothing in /var or /etc: all that it writes
lies below a folder of the run. It asks for some care, and this module is the place of it.
libvirt keeps one embedded root a process, however many connections are opened, so the root
is remembered here. It wants an event loop, which is one thread that sleeps in poll(2). And it
starts QEMU as a daemon, whose end it awaits by asking every 0.2 s whether the pid is gone:
a QEMU that has become our own orphan (the harness is a subreaper) must be reaped by us
while libvirt waits, else finding out what QEMU can do takes 80 s instead of one.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote, urlsplit

from harness.clock import Deadline
from harness.cpuid import patience
from harness.errors import DeadlineExceeded, RuntimeUnavailable, UsageError
from runtimes.libvirt_open import open_uri

EMBEDDED = "embed"
_LOG_VARIABLE = "LIBVIRT_LOG_OUTPUTS"
_REAP_EVERY_S = 0.05
_KEEPALIVE_S, _KEEPALIVE_COUNT = 5, 3
_KEEP_DOMAINS = frozenset({"Xen"})
"""Drivers that know no flag by which a domain ends with the connection that made it."""
_FIRST_ASKED_AFTER_S = 0.05
"""Longer than most ends take, so that a daemon is asked a few times at most."""
_QEMU_CONF = """\
# Written by tarebench: no log daemon, and nothing that needs the host to be prepared.
stdio_handler = "file"
security_driver = "none"
namespaces = []
# Owners of files are not changed to start a guest: the image belongs to the image store.
dynamic_ownership = 0
remember_owner = 0
"""
_AS_ROOT = """\
# As the harness itself, so that a guest reaches the channel's socket.
user = "root"
group = "root"
"""
_NO_GROUPS = """\
# The thread that starts a guest has joined the instance's control groups already.
cgroup_controllers = []
"""
_HINT = (
    "pip install 'tarebench[machines]' "
    "(apt-get install libvirt-dev pkg-config gcc python3-dev libvirt-daemon qemu-system-x86)"
)


def libvirt_module(log: Path | None = None) -> ModuleType:
    """The module `libvirt`, loaded now; its messages go to `log` and not to the terminal.

    libvirt reads where to log once, when it is loaded, from the environment. Raises
    RuntimeUnavailable where it is not installed.
    """
    ours = log is not None and _LOG_VARIABLE not in os.environ
    if ours:
        os.environ[_LOG_VARIABLE] = f"3:file:{log}"
    try:
        libvirt = importlib.import_module("libvirt")
    except ImportError as error:
        raise RuntimeUnavailable(f"libvirt-python is not installed ({error})", _HINT) from error
    finally:
        if ours:
            del os.environ[_LOG_VARIABLE]
    libvirt.registerErrorHandler(lambda context, error: None, None)
    return libvirt


def check_uri(uri: str) -> str:
    """A libvirt URI of this host, or of another by ssh, unchanged; raises UsageError.

    A comma ends a runtime's parameter, so within a URI it is written %2C, which is the URI's
    own way to write it; an equals sign needs no care. Another host is reached by ssh alone,
    because what boots is carried there, and the channel comes back, the same way.
    """
    if uri == EMBEDDED:
        return uri
    parts = urlsplit(uri)
    if not parts.scheme or any(character.isspace() for character in uri):
        raise UsageError(
            f"{uri!r} is not a libvirt URI", "such as qemu:///system; a comma is written %2C"
        )
    transport = parts.scheme.partition("+")[2]
    if (parts.netloc and transport != "ssh") or transport not in ("", "unix", "ssh"):
        raise UsageError(
            f"{uri!r} leads to another host, from which only ssh brings the channel back",
            "write qemu+ssh://USER@HOST/system",
        )
    if parts.path == "/embed":
        raise UsageError(f"{uri!r}: the embedded driver's folder is chosen by tarebench", "")
    return uri


class Reaping:
    """Reaps QEMUs that libvirt awaits, for as long as the block lasts.

    libvirt starts QEMU in a session of its own and disowns it, so it comes to us if we are a
    subreaper, else to PID 1. Only ended children of that kind are collected: libvirt's own
    direct children are libvirt's. With `after_s` nothing is done until that much time has
    passed, so that a timed call which goes well is not disturbed at all.
    """

    def __init__(self, after_s: float = 0.0) -> None:
        self._after_s = after_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._reap, name="reaper", daemon=True)

    def _reap(self) -> None:
        if self._over.wait(self._after_s):
            return
        while not self._over.wait(_REAP_EVERY_S):
            _reap_daemons()

    def __enter__(self) -> Reaping:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join()


def _reap_daemons() -> None:
    ours = os.getsid(0)
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            for pid in map(int, (task / "children").read_text().split()):
                if _ended_qemu_session(pid) not in (None, ours):
                    os.waitpid(pid, os.WNOHANG)


def _ended_qemu_session(pid: int) -> int | None:
    """The session of a zombie named like QEMU, else None."""
    name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    state, _, _, session = rest.split()[:4]
    return int(session) if state == "Z" and "(qemu" in name else None


class EmbeddedRoot:
    """The folder of the embedded driver: made once a process, because libvirt has one.

    What libvirt has found out about QEMU is kept in `cache`, which outlives runs, so that
    only the first run on a host pays for it.
    """

    def __init__(self, path: Path, cache: Path, *, groups: bool) -> None:
        self.path = path
        self._cache = cache
        self._conf = _QEMU_CONF + ("" if groups else _NO_GROUPS)
        if os.geteuid() == 0:
            self._conf += _AS_ROOT
        self._folders: tuple[Path, ...] = ()
        self.users = 0
        self.make()

    def make(self) -> None:
        """Make it, or make it again after the run that it belonged to was removed."""
        etc = self.path / "etc"
        etc.mkdir(parents=True, exist_ok=True, mode=0o700)
        (etc / "qemu.conf").write_text(self._conf)
        self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not (self.path / "cache").is_symlink():
            (self.path / "cache").symlink_to(self._cache)
        for folder in self._folders:
            folder.mkdir(parents=True, exist_ok=True)

    def remember(self) -> None:
        """Note the folders that libvirt made when it was opened: it makes them only once."""
        self._folders = tuple(path for path in self.path.rglob("*") if path.is_dir())

    def remove(self) -> None:
        """Remove it where the run that it belonged to is no longer there to do so."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.path.parent.rmdir()

    @property
    def uri(self) -> str:
        return f"qemu:///embed?root={quote(str(self.path))}"

    def log_of(self, domain: str) -> Path:
        """What QEMU said on its standard error, and the command line that started it."""
        return self.path / "log" / "qemu" / f"{domain}.log"


@contextlib.contextmanager
def _homes_in(state: Path) -> Iterator[None]:
    """Let libvirt keep a user's few files with the run, while it decides where they go.

    For root they are two empty folders below /run, and nothing can change that.
    """
    names = () if os.geteuid() == 0 else ("XDG_CACHE_HOME", "XDG_RUNTIME_DIR")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, str(state)))
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@functools.cache
def _event_loop(libvirt: ModuleType) -> threading.Thread:
    """libvirt's event loop in one thread, which sleeps until libvirt has work."""

    def turn() -> None:
        while True:
            libvirt.virEventRunDefaultImpl()

    libvirt.virEventRegisterDefaultImpl()
    thread = threading.Thread(target=turn, name="libvirt-events", daemon=True)
    thread.start()
    return thread


_embedded: list[EmbeddedRoot] = []
"""The one root of this process. libvirt holds the same state, and gives no way to ask it."""


def _embedded_root(state: Path, cache: Path, *, groups: bool) -> EmbeddedRoot:
    if not _embedded:
        _embedded.append(EmbeddedRoot(state, cache, groups=groups))
    else:
        _embedded[0].make()
    return _embedded[0]


class Connection:
    """An open connection; `root` is None unless the driver is embedded."""

    def __init__(
        self, uri: str, state: Path, cache: Path, *, groups: bool,
        hint: str = "start its daemon, or leave the parameter uri out",
    ) -> None:  # fmt: skip
        """Open `uri`, or the embedded driver below `state`; raises RuntimeUnavailable.

        `groups` tells whether libvirt is to make control groups for its guests. `hint` is what
        to do where the URI cannot be opened. A daemon that stops answering is found out by
        messages of its own accord, and every call to it then fails.
        """
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.libvirt = libvirt_module(state / "libvirt.log")
        self.root: EmbeddedRoot | None = None
        _event_loop(self.libvirt)
        if uri == EMBEDDED:
            self.root = _embedded_root(state, cache, groups=groups)
            uri = self.root.uri
        self.uri = uri
        self._state = state
        self._gone: dict[str, threading.Event] = {}
        with Reaping(), _homes_in(state):
            if self.root is not None:
                hint = "apt-get install libvirt-daemon qemu-system-x86"
            self.handle: Any = open_uri(self.libvirt, uri, hint)
        with contextlib.suppress(self.libvirt.libvirtError):  # drivers in our process have none
            self.handle.setKeepAlive(_KEEPALIVE_S, _KEEPALIVE_COUNT * patience())
        if self.root is not None:
            self.root.remember()
            self.root.users += 1
        self._callback = self._watch()

    def _watch(self) -> int | None:
        """Have libvirt tell of domains that end; None where the driver tells nothing."""
        with contextlib.suppress(self.libvirt.libvirtError):
            return int(
                self.handle.domainEventRegisterAny(
                    None, self.libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_event, None
                )
            )
        return None

    def _on_event(
        self, _handle: object, domain: Any, event: int, _detail: int, _data: object
    ) -> None:  # fmt: skip
        if event in (
            self.libvirt.VIR_DOMAIN_EVENT_STOPPED,
            self.libvirt.VIR_DOMAIN_EVENT_UNDEFINED,
        ):
            gone = self._gone.get(domain.UUIDString())
            if gone is not None:
                gone.set()

    @contextlib.contextmanager
    def watched(self, uuid: str) -> Iterator[Callable[[float], None]]:
        """Yields a function that waits until libvirt says that a domain has ended.

        It raises DeadlineExceeded. The end is an event; but one may be lost when several domains
        end at once, so libvirt is also asked, ever more seldom: an end that no event tells is
        noticed after at most twice the time that it took.
        """
        gone = self._gone[uuid] = threading.Event()

        def wait(timeout_s: float) -> None:
            deadline, patience_s = Deadline(timeout_s), _FIRST_ASKED_AFTER_S
            while not gone.wait(min(patience_s, deadline.left_s())) and not self._has_ended(uuid):
                if deadline.over:
                    raise DeadlineExceeded(f"libvirt still knows the domain {uuid}")
                patience_s *= 2

        try:
            yield wait
        finally:
            del self._gone[uuid]

    def expect(self, uuid: str) -> None:
        """A watched domain that has ended is to come back: its next end is the one to wait for."""
        self._gone[uuid].clear()

    @property
    def is_alive(self) -> bool:
        """Whether a daemon is still at the other end, as far as is known."""
        return bool(self.handle.isAlive())

    def knows(self, uuid: str) -> bool:
        """Whether there is a domain of this UUID, running or not. Raises RuntimeUnavailable."""
        return self._looked_up(uuid) is not None

    def _has_ended(self, uuid: str) -> bool:
        """A transient domain is forgotten at its end; a persistent one no longer runs."""
        domain = self._looked_up(uuid)
        if domain is None:
            return True
        with contextlib.suppress(self.libvirt.libvirtError):  # it goes just now: asked once more
            return bool(domain.isPersistent()) and not self.is_active(domain)
        return False

    def _looked_up(self, uuid: str) -> Any:
        try:
            return self.handle.lookupByUUIDString(uuid)
        except self.libvirt.libvirtError as error:
            if error.get_error_code() == self.libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise RuntimeUnavailable(f"{self.uri} does not answer: {error}") from error

    def is_active(self, domain: Any) -> bool:
        """Whether libvirt still has a domain that runs."""
        try:
            return bool(domain.isActive())
        except self.libvirt.libvirtError:
            return False

    def capabilities(self, emulator: str | None, machine: str, domain_type: str) -> str:
        """What libvirt says that a kind of machine can do; the first answer takes seconds.

        Raises RuntimeUnavailable.
        """
        with Reaping():
            try:
                told = self.handle.getDomainCapabilities(emulator, "x86_64", machine, domain_type)
            except self.libvirt.libvirtError as error:
                raise RuntimeUnavailable(
                    f"libvirt cannot run {domain_type} machines of type {machine}: {error}",
                    "apt-get install qemu-system-x86",
                ) from error
        return str(told)

    def host_capabilities(self) -> str:
        """The driver's capabilities document; raises RuntimeUnavailable."""
        try:
            return str(self.handle.getCapabilities())
        except self.libvirt.libvirtError as error:
            raise RuntimeUnavailable(f"{self.uri} does not tell what it can do: {error}") from error

    @property
    def start_flags(self) -> int:
        """A daemon ends our domains when we are gone; the embedded driver is gone with us, and
        Xen's refuses to be told so.

        What those leave then is found by the inventory (see `DomainCleaner`).
        """
        if self.root is not None or self.handle.getType() in _KEEP_DOMAINS:
            return 0
        return int(self.libvirt.VIR_DOMAIN_START_AUTODESTROY)

    def versions(self) -> dict[str, str]:
        """Of libvirt and of its hypervisor (`qemu`, `xen`); it looks at each QEMU once."""
        with Reaping():
            return {
                "libvirt": _dotted(self.handle.getLibVersion()),
                self.handle.getType().lower(): _dotted(self.handle.getVersion()),
            }

    def close(self) -> None:
        """Close; domains that were started with autodestroy and still run end now."""
        with contextlib.suppress(self.libvirt.libvirtError), Reaping():
            if self._callback is not None:
                self.handle.domainEventDeregisterAny(self._callback)
            self.handle.close()
        if self.root is not None:
            self.root.users -= 1
            if self.root.users == 0 and self.root.path != self._state:
                self.root.remove()


def _dotted(number: int) -> str:
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"
