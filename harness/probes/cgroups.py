"""Control groups v1, v2 and hybrid behind one small interface.

A host mounts its controllers in one of three ways, and we read and write the files
ourselves. `Layout.detect()` says which; a `Group` is one name under every controller's
hierarchy. A run has one group, `tarebench.RUN`, and everything that it starts lives below,
the harness itself in the leaf `harness`, so that the CPU time of a whole launch (client,
launcher, daemon, box) is one counter's growth.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.model import Frozen, Limits

_PERIOD_US = 100_000
_CONTROLLERS = ("memory", "cpu", "cpuacct", "pids")
_READ = (*_CONTROLLERS, "blkio")
"""Hierarchies that are looked at; a run makes groups in the former only."""
UNIFIED = ""
"""What the kernel writes for the controllers of the one hierarchy of v2."""
_REMOVE_TRIES = 50


class Charge(Frozen, frozen=True):
    """Memory charged to a group, in bytes; each page is charged to one group only."""

    anon: int = 0
    file: int = 0
    shmem: int = 0
    kernel: int = 0

    @property
    def total(self) -> int:
        """`file` includes shmem, as the kernel counts it."""
        return self.anon + self.file + self.kernel


@dataclass(frozen=True)
class Layout:
    """Where the controllers are: `v1` maps a controller to its mount, `v2` is a mount."""

    version: str
    v1: Mapping[str, Path]
    v2: Path | None
    mounts: Sequence[Path] = ()
    """Every hierarchy, also those whose controllers we do not use: OCI runtimes use them all."""

    @classmethod
    def detect(cls, mounts: Path = Path("/proc/self/mounts")) -> Layout:
        """Read the mounts; `version` is `v1`, `v2`, `hybrid` or `none`."""
        v1: dict[str, Path] = {}
        v2: Path | None = None
        every: list[Path] = []
        for line in mounts.read_text().splitlines():
            _, target, kind, options, *_ = line.split()
            if kind in ("cgroup", "cgroup2"):
                every.append(Path(target))
            if kind == "cgroup2" and v2 is None:
                v2 = Path(target)
            elif kind == "cgroup":
                for controller in set(options.split(",")) & set(_READ):
                    v1.setdefault(controller, Path(target))
        old = not v1.keys().isdisjoint(_CONTROLLERS)
        version = {(True, True): "hybrid", (True, False): "v1", (False, True): "v2"}.get(
            (old, v2 is not None), "none"
        )
        return cls(version, v1, v2, tuple(dict.fromkeys(every)))

    def root_of(self, controller: str) -> Path | None:
        """The hierarchy that has a controller; v2 counts CPU time under `cpu`."""
        if controller in self.v1:
            return self.v1[controller]
        if self.v2 is None or self.version == "hybrid":
            return None
        known = (self.v2 / "cgroup.controllers").read_text().split()
        return self.v2 if controller in known or controller == "cpuacct" else None

    def roots(self) -> Sequence[Path]:
        """Each hierarchy once."""
        found = [self.root_of(controller) for controller in _CONTROLLERS]
        return tuple(dict.fromkeys(root for root in found if root is not None))

    def writable(self) -> bool:
        """Whether this process may make groups at all."""
        return bool(self.roots()) and all(os.access(root, os.W_OK) for root in self.roots())

    def groups_of(self, pid: int) -> Sequence[Path]:
        """The folders of the groups in which a process is, memory's first."""
        found = self.memberships(pid)
        return tuple(dict.fromkeys(found[n] for n in (*_CONTROLLERS, UNIFIED) if n in found))

    def memberships(self, pid: int) -> Mapping[str, Path]:
        """The folder of a process's group by controller; on v2 one, under `UNIFIED`."""
        found: dict[str, Path] = {}
        for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
            number, controllers, path = line.split(":", 2)
            for controller in controllers.split(","):
                if controller in self.v1:
                    found[controller] = self.v1[controller] / path.lstrip("/")
            if number == "0" and self.version == "v2" and self.v2 is not None:
                found[UNIFIED] = self.v2 / path.lstrip("/")
        return found


class Group:
    """One name under every hierarchy of the host."""

    def __init__(self, layout: Layout, name: str) -> None:
        self.layout = layout
        self.name = name

    def paths(self) -> Sequence[Path]:
        return tuple(root / self.name for root in self.layout.roots())

    def path(self, controller: str) -> Path | None:
        root = self.layout.root_of(controller)
        return None if root is None else root / self.name

    def create(self, limits: Limits | None = None) -> None:
        """Make the group and set the limits. Raises OSError."""
        self.allow()
        for path in self.paths():
            path.mkdir(exist_ok=True)
        for file, value in self.settings(limits or Limits()):
            file.write_text(value)

    def allow(self) -> None:
        """Have parents that allow children with limits. Raises OSError.

        The root of v2 is the service manager's, which allows there what its own services have a
        use for: the rest is missing on a host where none has one. Where it cannot be had, the
        file of the limit is not there either, and says so.
        """
        for path in self.paths():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.parent == self.layout.v2:
                with contextlib.suppress(OSError):
                    _enable_children(path.parent)
            elif path.is_relative_to(self.layout.v2 or "/nowhere"):
                _enable_children(path.parent)

    def settings(self, limits: Limits) -> Sequence[tuple[Path, str]]:
        """What is to be written to which file, so that the limits hold. Raises OSError."""
        found = []
        if limits.memory_bytes is not None:
            value = str(limits.memory_bytes)
            found.append((self._file("memory", "memory.limit_in_bytes", "memory.max"), value))
        if limits.cpus is not None:
            quota = str(int(limits.cpus * _PERIOD_US))
            found.append((self._file("cpu", "cpu.cfs_quota_us", "cpu.max"), quota))
        if limits.pids is not None:
            found.append((self._file("pids", "pids.max", "pids.max"), str(limits.pids)))
        return found

    def _file(self, controller: str, v1: str, v2: str) -> Path:
        path = self.path(controller)
        if path is None:
            raise OSError(f"the controller {controller} is not available")
        return path / (v1 if controller in self.layout.v1 else v2)

    @contextlib.contextmanager
    def joinable(self) -> Iterator[Sequence[int]]:
        """Inheritable descriptors; who writes `0` to each has joined the group."""
        descriptors = [
            os.open(path / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for path in self.paths()
        ]
        try:
            for descriptor in descriptors:
                os.set_inheritable(descriptor, True)
            yield descriptors
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def join_for_cpu_time(self) -> None:
        """Move this process into the group where CPU time is counted.

        On v1 that is one hierarchy of several, and the others keep their say over us.
        """
        path = self.path("cpuacct")
        if path is None:
            raise OSError("CPU time is not counted by any hierarchy")
        (path / "cgroup.procs").write_text("0")

    def cpu_ns(self) -> int | None:
        """CPU time of the group and all below it, ended processes included."""
        path = self.path("cpuacct")
        return None if path is None else cpu_ns(path)

    def remove(self) -> None:
        """Remove the group and all below it in every hierarchy; its processes must have ended.

        A group stays busy for an instant after its last process was reaped: the kernel
        tells nobody when that is over, so a few short tries are made.
        """
        for mount in self.layout.mounts:
            remove_tree(mount / self.name)

    def kill(self) -> None:
        """End whatever is left in the group and below it, but never this process.

        A member is held by a pidfd and looked at again: its number may be another's by now.
        """
        every = [mount / self.name for mount in self.layout.mounts]
        for pid in _members(every):
            with contextlib.suppress(ProcessLookupError):
                pidfd = os.pidfd_open(pid)
                try:
                    if pid != os.getpid() and self._holds(pid):
                        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                finally:
                    os.close(pidfd)

    def _holds(self, pid: int) -> bool:
        """Whether a process is in the group or below it now."""
        try:
            text = Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            return False
        return any(f"/{self.name}/" in f"{line}/" for line in text.splitlines())

    def members(self) -> Sequence[int]:
        """The processes in the group and below it, each once."""
        return _members(self.paths())


def _members(groups: Sequence[Path]) -> Sequence[int]:
    found = dict[int, None]()
    for path in groups:
        with contextlib.suppress(FileNotFoundError):  # removed while we look
            for file in path.rglob("cgroup.procs"):
                with contextlib.suppress(OSError):  # removed, or ended, while we look
                    found |= dict.fromkeys(map(int, file.read_text().split()))
    return tuple(found)


def remove_tree(path: Path) -> None:
    """Remove a group's folder and all below it; raises OSError when processes are left."""
    if not path.is_dir():
        return
    for child in sorted(path.iterdir()):
        if child.is_dir():
            remove_tree(child)
    for attempt in range(_REMOVE_TRIES):
        try:
            path.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:
            if attempt == _REMOVE_TRIES - 1:
                raise
            time.sleep(0.01)


def _enable_children(parent: Path) -> None:
    control = parent / "cgroup.subtree_control"
    known = (parent / "cgroup.controllers").read_text().split()
    allowed = control.read_text().split() if control.exists() else []
    for controller in ("memory", "cpu", "pids", "io"):
        if controller in known and controller not in allowed:
            control.write_text(f"+{controller}")


def cpu_ns(path: Path) -> int | None:
    """CPU time of one group's folder in nanoseconds, v1 or v2; None where it is not counted."""
    v1, v2 = path / "cpuacct.usage", path / "cpu.stat"
    if v1.exists():
        return int(v1.read_text())
    if v2.exists():
        stat = _pairs(v2)
        return stat["usage_usec"] * 1000 if "usage_usec" in stat else None
    return None


def charge(path: Path) -> Charge | None:
    """Memory charged to one group's folder and all below it; None where it is not counted."""
    stat_file = path / "memory.stat"
    if not stat_file.exists():
        return None
    stat = _pairs(stat_file)
    if "total_rss" in stat:
        kernel = path / "memory.kmem.usage_in_bytes"
        return Charge(
            anon=stat["total_rss"], file=stat["total_cache"], shmem=stat.get("total_shmem", 0),
            kernel=int(kernel.read_text()) if kernel.exists() else 0,
        )  # fmt: skip
    parts = ("kernel_stack", "pagetables", "sec_pagetables", "percpu", "sock", "slab", "vmalloc")
    return Charge(
        anon=stat.get("anon", 0), file=stat.get("file", 0), shmem=stat.get("shmem", 0),
        kernel=stat.get("kernel") or sum(stat.get(part, 0) for part in parts),
    )  # fmt: skip


def _pairs(path: Path) -> dict[str, int]:
    return {
        key: int(value)
        for key, value in (line.split() for line in path.read_text().splitlines())
        if value.isdigit()
    }


def counting(group: Path) -> Path:
    """Where the memory of a v2 group is counted: a threaded group leaves that to its parent."""
    kind = group / "cgroup.type"
    while kind.exists() and kind.read_text().strip() == "threaded":
        kind = kind.parent.parent / "cgroup.type"
    return kind.parent


def run_group_name(token: str) -> str:
    """The name of a run's own group.

    The dot is for libvirt, which adds a suffix to the name of every parent that has none.
    """
    return f"tarebench.{token}"


@contextlib.contextmanager
def run_group(name: str) -> Iterator[Group | None]:
    """The run's own group with the harness in its leaf `harness`; None where that is refused.

    At the end the harness goes back to where it was, and the groups are removed.
    """
    layout = Layout.detect()
    if not layout.writable():
        yield None
        return
    counting = layout.root_of("cpuacct")
    home = [path for path in layout.groups_of(os.getpid())
            if counting is not None and path.is_relative_to(counting)]  # fmt: skip
    group = Group(layout, name)
    try:
        group.create()
        leaf = Group(layout, f"{name}/harness")
        leaf.create()
        leaf.join_for_cpu_time()
    except OSError:
        _go_home(home)
        with contextlib.suppress(OSError):
            group.remove()
        yield None
        return
    try:
        yield group
    finally:
        _go_home(home)
        group.kill()
        with contextlib.suppress(OSError):  # what stays is on the inventory, and told
            group.remove()


def _go_home(home: Sequence[Path]) -> None:
    for path in home:
        with contextlib.suppress(OSError):
            (path / "cgroup.procs").write_text("0")
