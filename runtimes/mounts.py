"""A private mount namespace for one instance, prepared before it is timed.

A box's writable layer is mounted where nobody else sees it: in a mount namespace that one
thread of the harness has entered, and from which the box's launcher is spawned. So the
helper costs the box nothing (METHOD: helpers of our own), and when the thread and the box
have ended the kernel takes every mount away, even after `kill -9` of the harness.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

from harness.clock import now_ns
from harness.image.copies import copy_root
from harness.model import CHANNEL_DIRECTORY, Image, InstanceSpec
from harness.probes.cgroups import Layout
from harness.roots import Form, MadeRoot

T = TypeVar("T")

_CLONE_FS, _CLONE_NEWNS, _CLONE_NEWNET = 0x00000200, 0x00020000, 0x40000000
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_MNT_DETACH = 2
UPPER = "upper"
_DEVICES = ("null", "zero", "full", "random", "urandom")

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


class PrivateMounts:
    """A thread in a mount namespace of its own; `call` runs a function there.

    With `network` it has a network namespace of its own too.
    """

    def __init__(self, *, network: bool = False) -> None:
        self._network = network
        self._thread = ThreadPoolExecutor(1, "private-mounts")
        try:
            self.call(self._enter)
        except BaseException:
            self._thread.shutdown()
            raise

    def _enter(self) -> None:
        kinds = _CLONE_NEWNS | (_CLONE_NEWNET if self._network else 0)
        _checked(_libc.unshare(kinds), "unshare")
        _checked(_libc.mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None), "private mounts")

    def call(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a function in the namespace and return what it returns.

        An interruption ends the waiting and not the function, so it is passed on after the
        function's end: nothing is torn down beside what still removes it.
        """
        begun = self._thread.submit(function, *arguments)
        try:
            return begun.result()
        except BaseException:
            wait([begun])
            raise

    def mount(self, source: str, target: Path, kind: str, flags: int = 0, data: str = "") -> None:
        """One mount(2); raises OSError that names the target."""
        self.call(
            lambda: _checked(
                _libc.mount(
                    source.encode(), os.fsencode(target), kind.encode() or None, flags,
                    data.encode() or None,
                ),
                f"mounting {target}",
            )
        )  # fmt: skip

    def bind(self, source: Path, target: Path) -> None:
        self.mount(str(source), target, "", _MS_BIND)

    def unmount(self, target: Path) -> None:
        self.call(lambda: _checked(_libc.umount2(os.fsencode(target), _MNT_DETACH), str(target)))

    def close(self) -> None:
        """End the thread; the mounts end with the namespace's last process."""
        self._thread.shutdown()

    def __enter__(self) -> PrivateMounts:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class MountsOf(PrivateMounts):
    """A thread in the mount namespace of a process: what it mounts, that process sees."""

    def __init__(self, pid: int, *, network: bool = False) -> None:
        self._namespace = Path(f"/proc/{pid}/ns/mnt")
        super().__init__(network=network)

    def _enter(self) -> None:
        kinds = _CLONE_FS | (_CLONE_NEWNET if self._network else 0)
        _checked(_libc.unshare(kinds), "unshare")  # a root of the thread's own
        namespace = os.open(self._namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _checked(_libc.setns(namespace, _CLONE_NEWNS), "setns")
        finally:
            os.close(namespace)


def hide_unified(mounts: PrivateMounts) -> None:
    """Take the unified hierarchy of a hybrid host out of the namespace: some refuse the mixture."""
    layout = Layout.detect()
    if layout.version == "hybrid" and layout.v2 is not None:
        mounts.unmount(layout.v2)


def fresh_layer(mounts: PrivateMounts, spec: InstanceSpec) -> Path:
    """The image's root under a fresh writable overlay layer of this instance, in `UPPER`.

    Of a spec that is `whole` the root lies there itself, as a copy.
    """
    root, upper, work = (spec.directory / name for name in ("root", UPPER, "work"))
    if spec.whole:
        root.mkdir()
        copy_root(spec.image, upper)
        mounts.bind(upper, root)
        return root
    for folder in (root, upper, work):
        folder.mkdir()
    upper.chmod(0o755)
    lower = _escape(spec.image.root)
    options = f"lowerdir={lower},upperdir={_escape(upper)},workdir={_escape(work)}"
    mounts.mount("tarebench", root, "overlay", 0, options)
    return root


class OnLayers:
    """What runtimes share whose boxes stand on `fresh_layer`: see harness/roots.py."""

    forms = (Form.OVERLAY, Form.COPY)

    @contextlib.contextmanager
    def make_root(self, spec: InstanceSpec) -> Iterator[MadeRoot]:
        """Mounted where nobody else sees it; the namespace is there before."""
        with PrivateMounts() as mounts:
            begin = now_ns()
            fresh_layer(mounts, spec)
            yield MadeRoot(now_ns() - begin, (spec.directory,))

    def shared_files(self, image: Image) -> Sequence[Path]:
        return (image.root,)


class MountCleaner:
    """Takes mounts away that a dead run left where everybody sees them; the name is the place."""

    def exists(self, name: str, details: Mapping[str, str]) -> bool:
        del details
        return Path(name).is_mount()

    def remove(self, name: str, details: Mapping[str, str]) -> None:
        del details
        _checked(_libc.umount2(os.fsencode(name), _MNT_DETACH), name)


mounts = MountCleaner()
"""What the group `tarebench.cleaners` names for the kind `mount`."""


def _escape(path: Path) -> str:
    """Overlay's option string gives a meaning to colons, commas and backslashes."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")


def furnish(mounts: PrivateMounts, root: Path, spec: InstanceSpec) -> None:
    """What any userland expects below a root: /proc, a few devices, /run, /tmp, our channel."""
    mounts.mount("proc", root / "proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    mounts.mount("tmpfs", root / "dev", "tmpfs", _MS_NOSUID, "mode=755,size=64k")
    mounts.mount("tmpfs", root / "run", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
    mounts.mount("tmpfs", root / "tmp", "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=1777")
    channel = root / CHANNEL_DIRECTORY.lstrip("/")
    mounts.call(channel.mkdir)
    mounts.bind(spec.sockets, channel)
    for name in _DEVICES:
        device = root / "dev" / name
        mounts.call(device.touch)
        mounts.bind(Path("/dev") / name, device)
