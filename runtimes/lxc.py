"""LXC: a container by liblxc's own `lxc-start`, in the foreground, without a daemon.

The container's configuration is written before the request, and says all: no file of the
host's LXC is read, no bridge is used, and the console is none, so that nothing but the agent
writes anywhere. `lxc-start` stays as the monitor, in a control group of its own beside the
box's. What liblxc notes under /run is kept in the instance's private mounts, and goes with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.model import CHANNEL_DIRECTORY, Image, InstanceSpec, Parameter, RuntimeFacts
from harness.probes.cgroups import Group, Layout
from runtimes.grouped import ALL_LIMITS, own_group, probe_groups
from runtimes.monitored import AGENT, PATH, Monitored, Site
from runtimes.privileges import CAPABILITIES, DENIED_CALLS, DEVICES, SECCOMP
from runtimes.storage import STORAGE, VOLUME_PATH

_LEAST_VERSION = "4.0"
"""The first with control groups of box and monitor that the configuration names."""


class Lxc(Monitored):
    """See the module."""

    parameters: Mapping[str, Parameter] = {"storage": STORAGE, "seccomp": SECCOMP}
    examples = ("seccomp=on,storage=volume",)
    program = "lxc-start"
    package = "lxc"
    notes_folder = Path("/run/lxc")

    @property
    def _containers(self) -> Path:
        """Where liblxc looks for containers that it knows by name: it finds none."""
        return self._context.state / "lxc"

    def probe(self) -> RuntimeFacts:
        version = self.require_program(_LEAST_VERSION)
        probe_groups(self.name)
        notes = ["AppArmor unconfined, as for the native OCI runtimes"]
        return RuntimeFacts(versions={"lxc": version}, limits=ALL_LIMITS, notes=notes)

    def prepare(self, image: Image) -> None:
        super().prepare(image)
        self._containers.mkdir(parents=True, exist_ok=True, mode=0o700)

    def command(self, site: Site, stack: ExitStack) -> Sequence[str]:
        spec = site.spec
        whole = stack.enter_context(own_group(self._context, spec))
        box = Group(whole.layout, f"{whole.name}/box")
        box.allow()
        filtered = None
        if self._chosen["seccomp"] == "on":
            filtered = spec.directory / "seccomp"
            filtered.write_text(denylist())
        config = spec.directory / "lxc.conf"
        config.write_text(configuration(spec, site.root, box, site.volume, filtered))
        return [
            self._binary, "--foreground", "--name", spec.name, "--lxcpath", str(self._containers),
            "--rcfile", str(config), "--", *AGENT,
        ]  # fmt: skip


def configuration(
    spec: InstanceSpec,
    root: Path,
    box: Group,
    volume: Path | None = None,
    filtered: Path | None = None,
) -> str:
    """The container's configuration: a pure function of the instance (golden file in the tests).

    `box` is the group that the container is to have; its monitor's lies beside it. A line is a
    key and a value: lxc.container.conf(5).
    """
    whole = box.name.rpartition("/")[0]
    version = _keys(box.layout)
    limits = [(f"{version}.{file.name}", value) for file, value in box.settings(spec.limits)]
    lines = [
        ("lxc.rootfs.path", f"dir:{root}"),
        ("lxc.uts.name", "tarebench"),
        ("lxc.environment", f"PATH={PATH}"),
        ("lxc.console.path", "none"),
        ("lxc.tty.max", "0"),
        ("lxc.pty.max", "1024"),
        ("lxc.namespace.clone", "pid net ipc uts mnt cgroup"),
        ("lxc.net.0.type", "empty"),
        ("lxc.net.0.flags", "up"),
        ("lxc.mount.auto", "proc:mixed sys:ro cgroup:ro:force"),
        *(("lxc.mount.entry", entry) for entry in _mounts(spec.sockets, volume)),
        ("lxc.cap.keep", " ".join(name.lower().removeprefix("cap_") for name in CAPABILITIES)),
        ("lxc.no_new_privs", "1"),
        ("lxc.apparmor.profile", "unconfined"),
        *([] if filtered is None else [("lxc.seccomp.profile", str(filtered))]),
        ("lxc.cgroup.dir.container", box.name),
        ("lxc.cgroup.dir.monitor", f"{whole}/monitor"),
        ("lxc.cgroup.dir.monitor.pivot", f"{whole}/pivot"),
        (f"{version}.devices.deny", "a"),
        *(
            (f"{version}.devices.allow", f"c {major}:{_minor(minor)} rwm")
            for major, minor in DEVICES
        ),
        *limits,
    ]
    return "".join(f"{key} = {value}\n" for key, value in lines)


def _keys(layout: Layout) -> str:
    """What the keys of control groups begin with; a hybrid host has our controllers on v1."""
    return "lxc.cgroup2" if layout.version == "v2" else "lxc.cgroup"


def _minor(number: int | None) -> str:
    return "*" if number is None else str(number)


def _mounts(sockets: Path, volume: Path | None) -> list[str]:
    """Lines as of fstab(5), their targets below the root: what OCI bundles mount too."""
    volumes = [] if volume is None else [_bind(volume, VOLUME_PATH)]
    return [
        "tmpfs run tmpfs nosuid,nodev,mode=755 0 0",
        "tmpfs tmp tmpfs nosuid,nodev,mode=1777 0 0",
        "shm dev/shm tmpfs nosuid,nodev,noexec,mode=1777,size=65536k,create=dir 0 0",
        _bind(sockets, CHANNEL_DIRECTORY),
        *volumes,
    ]


def _bind(source: Path, target: str) -> str:
    return f"{_escape(source)} {target.lstrip('/')} none bind,create=dir 0 0"


def _escape(path: Path) -> str:
    """White space and backslashes of a field, as fstab(5) writes them."""
    return "".join(f"\\{ord(c):03o}" if c in " \t\n\\" else c for c in str(path))


def denylist() -> str:
    """liblxc's format of a seccomp policy: all system calls but these, which fail with EPERM."""
    return "2\ndenylist\n[all]\n" + "".join(f"{name} errno 1\n" for name in DENIED_CALLS)
