"""bubblewrap: an unprivileged sandbox's own program, as Flatpak uses it.

One short command makes the namespaces and the mounts and becomes the monitor of the box; the
agent is its first process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.model import (
    CHANNEL_DIRECTORY,
    LimitSupport,
    Parameter,
    RuntimeClass,
    RuntimeFacts,
)
from runtimes.grouped import ALL_LIMITS, CGROUP, group_of, probe_groups
from runtimes.monitored import AGENT, PATH, Monitored, Site
from runtimes.privileges import CAPABILITIES
from runtimes.storage import STORAGE, VOLUME_PATH


class Bwrap(Monitored):
    """See the module."""

    runtime_class = RuntimeClass.JAIL
    parameters: Mapping[str, Parameter] = {"cgroup": CGROUP, "storage": STORAGE}
    examples = ("cgroup=on",)
    program = "bwrap"
    package = "bubblewrap"

    @property
    def _grouped(self) -> bool:
        return self._chosen["cgroup"] == "on"

    def probe(self) -> RuntimeFacts:
        version = self.require_program()
        if self._grouped:
            probe_groups(self.name)
        return RuntimeFacts(
            versions={"bubblewrap": version},
            limits=ALL_LIMITS if self._grouped else LimitSupport(),
        )

    def command(self, site: Site, stack: ExitStack) -> Sequence[str]:
        joining: Sequence[str] = ()
        if self._grouped:
            joining = stack.enter_context(group_of(self._context, site.spec))
        made = options(site.root, site.spec.sockets, site.volume)
        return [self._binary, *made, "--", *AGENT, *joining]


def options(root: Path, sockets: Path, volume: Path | None) -> list[str]:
    """bubblewrap's options: the namespaces, mounts and capabilities that containers get too."""
    binds = [("--bind", str(sockets), CHANNEL_DIRECTORY)]
    if volume is not None:
        binds.append(("--bind", str(volume), VOLUME_PATH))
    return [
        "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-net",
        "--as-pid-1", "--die-with-parent", "--hostname", "tarebench",
        "--bind", str(root), "/", "--proc", "/proc", "--dev", "/dev",
        "--tmpfs", "/run", "--perms", "1777", "--tmpfs", "/tmp",
        *(word for bind in binds for word in bind),
        "--clearenv", "--setenv", "PATH", PATH, "--chdir", "/",
        "--cap-drop", "ALL", *(word for name in CAPABILITIES for word in ("--cap-add", name)),
    ]  # fmt: skip
