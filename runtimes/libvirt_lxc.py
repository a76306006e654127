"""Containers by libvirt's LXC driver, which makes them itself and does not use liblxc.

The driver works in a daemon only. The host's is used where it answers and can make the run's
control groups; else a private one is started for the run (see libvirt_daemon). The writable
layer is mounted where that daemon looks, which is a namespace of its own if it is private. One
call is timed, `createXML`, which both makes and starts the domain.

The driver enforces memory and CPU time; it knows no limit of processes. Of control groups it
shows a container the host's whole tree, so that what holds for the container is not to be
read inside. And it leaves an empty folder in the root, which is taken away after READY.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.channel import Agent
from harness.errors import RuntimeUnavailable
from harness.model import (
    CHANNEL_DIRECTORY,
    Context,
    Image,
    InstanceSpec,
    LimitSupport,
    Mark,
    Marks,
    Parameter,
    RuntimeClass,
    RuntimeFacts,
    Support,
)
from harness.probes.cgroups import Group, Layout
from harness.process import find_program, run
from runtimes.box import (
    SOCKET,
    AgentBox,
    Ending,
    check_parameters,
    in_directory_form,
    listen,
    require_root,
)
from runtimes.capabilities import find_kind
from runtimes.container_xml import EMULATOR, Bind, Container, container_xml
from runtimes.daemon_parts import parent_of
from runtimes.libvirt_connection import Connection
from runtimes.libvirt_daemon import URI, Driver, find_daemon, require_startable
from runtimes.libvirt_start import Start
from runtimes.mounts import UPPER, MountsOf, fresh_layer
from runtimes.storage import STORAGE, bound_folder, make_storage

DRIVER = Driver(
    "lxc", "lxc", "libvirt-daemon-driver-lxc", "lxc:///system", conf='security_driver = "none"\n'
)
_LEFT_IN_ROOT = ".oldroot"
_GROUP = ".libvirt-lxc"
_VERSION_TIMEOUT_S = 5.0
_LIMITS = LimitSupport(cpus=Support.SUPPORTED, memory=Support.SUPPORTED)


class ContainerBox(AgentBox):
    """A container; besides its init it costs the controller that libvirt gives each."""

    def facts(self) -> Mapping[str, str]:
        """Without what the host's whole tree of control groups would tell of the container."""
        return {
            key: value for key, value in super().facts().items() if key[:3] not in ("v1.", "v2.")
        }

    def joined_late(self) -> Sequence[int]:
        """The controller makes the group, and joins it, when it has loaded libvirt."""
        return self.processes()[1:]

    def cgroups(self) -> Sequence[Path]:
        """The groups that libvirt made: in other hierarchies a container lies with its daemon."""
        return [path for path in super().cgroups() if path.name.endswith(_GROUP)]


class LibvirtLxc:
    """See the module."""

    runtime_class = RuntimeClass.CONTAINER
    on_tree = True
    parameters: Mapping[str, Parameter] = {
        "storage": STORAGE,
        "uri": URI,
    }

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        given = check_parameters(name, parameters, self.parameters)
        self.name = name
        self._context = context
        self._storage = given["storage"]
        self._daemon = find_daemon(context, DRIVER, given["uri"])
        self._connection: Connection | None = None
        self._mounts: MountsOf | None = None
        self._emulator = EMULATOR

    @property
    def shared_daemon(self) -> bool:
        return self._daemon.shared

    def daemon_processes(self) -> Sequence[int]:
        return self._daemon.processes() if self._connection is not None else ()

    def probe(self) -> RuntimeFacts:
        """Starts nothing: a private daemon is started by `prepare`."""
        require_root(self.name)
        if self._daemon.shared:
            self._connect()
        else:
            require_startable(DRIVER)
        versions = {"kernel": os.uname().release, "libvirt": _version()}
        whose = "the host's" if self._daemon.shared else "a private one of the run"
        return RuntimeFacts(versions=versions, limits=_LIMITS, notes=[f"libvirtd: {whose}"])

    def prepare(self, image: Image) -> None:
        """Have a daemon, a connection to it, and a control group that it may use."""
        self._connect()

    def _connect(self) -> Connection:
        if self._connection is None:
            self._daemon.acquire()
            try:
                connection = Connection(
                    self._daemon.uri, self._context.state / "libvirt", self._context.state,
                    groups=True,
                )  # fmt: skip
                self._emulator = _emulator(connection)
                self._mounts = MountsOf(self._daemon.processes()[0])
            except BaseException:
                self._daemon.release()
                raise
            _make_partition(Group(Layout.detect(), self._context.cgroup))
            self._connection = connection
        return self._connection

    @contextlib.contextmanager
    def launch(self, spec: InstanceSpec, marks: Marks) -> Iterator[AgentBox]:
        connection = self._connect()
        assert self._mounts is not None
        with ExitStack() as stack:
            listener = stack.enter_context(listen(spec))
            root = stack.enter_context(self._layer(self._mounts, spec))
            storage = make_storage(self._storage, spec, spec.directory / UPPER)
            volume = bound_folder(storage)
            container = Container(
                name=spec.name,
                uuid=str(uuid.uuid4()),
                partition=f"/{self._context.cgroup}",
                memory_bytes=spec.limits.memory_bytes or _all_memory(),
                cpu_quota=spec.limits.cpus,
                root=root,
                sockets=spec.sockets,
                word=f"unix:{CHANNEL_DIRECTORY}/{SOCKET}",
                emulator=self._emulator,
                volumes=[] if volume is None else [Bind(volume, storage.path)],
            )
            start = stack.enter_context(
                Start(connection, self._context.inventory, container.name, container.uuid)
            )
            start.create(container_xml(container), marks)
            start.wait_ready(listener, spec.ready_timeout_s, marks)
            self._mounts.call(_tidy, root)
            assert listener.peer_pid is not None
            ending = stack.enter_context(Ending(listener.peer_pid))
            agent = Agent(listener, shares_clock=True)
            controller = parent_of(listener.peer_pid)
            yield ContainerBox(agent, spec.image, listener.peer_pid, storage, (controller,))
            ending.exit(agent, marks)
            start.wait_forgotten()
            stack.close()
            marks.stamp(Mark.REMOVED)

    @contextlib.contextmanager
    def _layer(self, mounts: MountsOf, spec: InstanceSpec) -> Iterator[Path]:
        """A fresh layer where the daemon looks; a shared one may look where everybody does."""
        root = spec.directory / "root"
        if self._daemon.shared:
            self._context.inventory.will_make("mount", str(root))
        yield fresh_layer(mounts, spec)
        mounts.unmount(root)
        if self._daemon.shared:
            self._context.inventory.removed("mount", str(root))

    def launch_files(self, image: Image, inside: Sequence[str]) -> Sequence[Path]:
        return [self._emulator, *in_directory_form(image, inside)]

    def close(self) -> None:
        if self._mounts is not None:
            self._mounts.close()
            self._mounts = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._daemon.release()


def _emulator(connection: Connection) -> Path:
    """The driver's controller program, as its capabilities tell; raises RuntimeUnavailable."""
    kind = find_kind(connection.host_capabilities(), "exe", os.uname().machine, "lxc")
    if kind is None:
        raise RuntimeUnavailable(f"{connection.uri} offers no containers of this machine's kind")
    return Path(kind.emulator)


def _version() -> str:
    """Of the daemon's program, as in `libvirtd (libvirt) 9.0.0`."""
    said = run([find_program("libvirtd") or "libvirtd", "--version"], timeout_s=_VERSION_TIMEOUT_S)
    return said.stdout.decode(errors="replace").split()[-1]


def _make_partition(group: Group) -> None:
    """The run's group in every hierarchy that libvirt uses: it makes none that is not there.

    A new group of processors has none before it is given its parent's.
    """
    if group.layout.version == "v2":
        group.create()
        return
    for mount in group.layout.mounts:
        if mount == group.layout.v2:
            continue
        folder = mount / group.name
        folder.mkdir(exist_ok=True)
        for name in ("cpuset.cpus", "cpuset.mems"):
            file = folder / name
            if file.exists() and not file.read_text().strip():
                file.write_text((mount / name).read_text())


def _all_memory() -> int:
    """The driver demands a limit: all that the host has is none."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _tidy(root: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        (root / _LEFT_IN_ROOT).rmdir()
