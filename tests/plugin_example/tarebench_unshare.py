"""unshare(1), which every Linux system has: namespaces and a root, by one short command.

It stays as the parent of the box's first process and ends with it, as bubblewrap does, so what
is to be said here is only its command line. It limits nothing, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from harness.model import Parameter, RuntimeClass, RuntimeFacts
from runtimes.monitored import AGENT, Monitored, Site
from runtimes.mounts import furnish
from runtimes.storage import VOLUME_PATH

_LEAST = "2.36"
"""The first that sets a root."""


class Unshare(Monitored):
    """See the module."""

    runtime_class = RuntimeClass.JAIL
    parameters: Mapping[str, Parameter] = {
        **Monitored.parameters,
        "net": Parameter("own", ("own", "host"), "a network namespace of its own, or the host's"),
    }
    variants = ("", "net=host")
    program = "unshare"
    package = "util-linux"

    def probe(self) -> RuntimeFacts:
        return RuntimeFacts(versions={"util-linux": self.require_program(_LEAST)})

    def command(self, site: Site, stack: ExitStack) -> Sequence[str]:
        furnish(site.mounts, site.root, site.spec)
        if site.volume is not None:
            inside = site.root / VOLUME_PATH.lstrip("/")
            site.mounts.call(inside.mkdir)
            site.mounts.bind(site.volume, inside)
        network = ["--net"] if self._chosen["net"] == "own" else []
        return [
            self._binary, "--mount", "--uts", "--ipc", "--pid", *network,
            "--fork", "--kill-child", "--mount-proc", f"--root={site.root}",
            "/usr/bin/setpriv", "--bounding-set=-sys_chroot", *AGENT,
        ]  # fmt: skip
