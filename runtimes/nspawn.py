"""systemd-nspawn: a container by systemd's own program, also where no systemd runs.

It is asked for nothing that needs a system manager or a bus (`--register=no`, `--keep-unit`),
so that a host without systemd gives the same box. It runs in the control group that it is
started in: with a system manager that is a scope. Here it is a group of the harness's making,
which holds monitor and box alike, as a scope does, and which a small launcher joins on the way
to nspawn's exec. nspawn filters system calls in its own way; that is part of what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.model import CHANNEL_DIRECTORY, Image, InstanceSpec, Parameter, RuntimeFacts
from harness.probes.cgroups import Group, Layout
from runtimes.grouped import ALL_LIMITS, own_group, probe_groups
from runtimes.launcher import launcher_program
from runtimes.monitored import AGENT, PATH, Monitored, Site
from runtimes.privileges import CAPABILITIES
from runtimes.storage import STORAGE, VOLUME_PATH

_LEAST_VERSION = "242"
"""The first with --console."""

DEFAULT_CAPABILITIES = (
    "CAP_AUDIT_CONTROL", "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_IPC_OWNER", "CAP_KILL", "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
    "CAP_SETUID", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_NICE",
    "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE", "CAP_SYS_TTY_CONFIG",
)  # fmt: skip
"""What nspawn leaves to a box with a network of its own: systemd-nspawn(1), --capability=."""


class Nspawn(Monitored):
    """See the module."""

    parameters: Mapping[str, Parameter] = {"storage": STORAGE}
    examples = ("storage=volume",)
    program = "systemd-nspawn"
    package = "systemd-container"
    notes_folder = Path("/run/systemd/nspawn")
    _launcher = Path()

    def probe(self) -> RuntimeFacts:
        version = self.require_program(_LEAST_VERSION)
        probe_groups(self.name)
        notes = [
            "its own filter of system calls is on",
            "limits by a control group that it is started in, as in a scope",
            "devices are not limited: a system manager would do that for a scope",
        ]
        return RuntimeFacts(versions={"systemd": version}, limits=ALL_LIMITS, notes=notes)

    def prepare(self, image: Image) -> None:
        super().prepare(image)
        self._launcher = launcher_program().build(self._context.cache)

    def groups(self, spec: InstanceSpec) -> Sequence[Path]:
        return self._group(spec).paths()

    def _group(self, spec: InstanceSpec) -> Group:
        return Group(Layout.detect(), f"{self._context.cgroup}/{spec.name}")

    def command(self, site: Site, stack: ExitStack) -> Sequence[str]:
        group = stack.enter_context(own_group(self._context, site.spec))
        group.create(site.spec.limits)
        joining = [word for path in _joined(group) for word in ("write", str(path), "0")]
        made = options(site.spec, site.root, site.volume)
        return [str(self._launcher), *joining, "exec", self._binary, *made, "--", *AGENT]

    def launch_files(self, image: Image, inside: Sequence[str]) -> Sequence[Path]:
        return [self._launcher, *super().launch_files(image, inside)]


def _joined(group: Group) -> Sequence[Path]:
    """The files by which nspawn joins the group, which has its limits already.

    nspawn parts the group that it finds itself in, in the unified hierarchy, into one for
    itself and one for the box. So on a hybrid host it joins there too, or it would part the
    host's root group, and leave both behind.
    """
    unified = group.layout.v2
    folders = list(group.paths())
    if group.layout.version == "hybrid" and unified is not None:
        folders.append(unified / group.name)
        folders[-1].mkdir(parents=True, exist_ok=True)
    return [folder / "cgroup.procs" for folder in folders]


def options(spec: InstanceSpec, root: Path, volume: Path | None) -> list[str]:
    """nspawn's options: the namespaces, mounts and capabilities that containers get too."""
    volumes = [] if volume is None else [f"--bind={_escape(volume)}:{VOLUME_PATH}"]
    dropped = [name for name in DEFAULT_CAPABILITIES if name not in CAPABILITIES]
    return [
        "--quiet", "--settings=no", "--register=no", "--keep-unit", "--console=pipe",
        f"--directory={root}", f"--machine={spec.name}", "--hostname=tarebench",
        "--private-network", "--resolv-conf=off", "--timezone=off", "--link-journal=no",
        f"--bind={_escape(spec.sockets)}:{CHANNEL_DIRECTORY}", *volumes,
        f"--setenv=PATH={PATH}", f"--capability={','.join(CAPABILITIES)}",
        f"--drop-capability={','.join(dropped)}", "--no-new-privileges=yes",
    ]  # fmt: skip


def _escape(path: Path) -> str:
    """A path in --bind=, where colons part fields."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:")
