"""gVisor: a container on a kernel of its own in user space, by its OCI runtime, without a daemon.

The bundle and the calls are those of the native OCI runtimes (oci.py). What differs: the box is
several processes of the host, a sandbox (gVisor's kernel), a gofer that opens its files, and one
more for each address space; the agent reaches our socket through the gofer; its clock is gVisor's.
The platform is how gVisor gets hold of system calls. By default it is the one that the program
itself takes; `kvm` is tried once, because /dev/kvm may open where nothing runs under it.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping, Sequence, Set

from harness.channel import Agent
from harness.clock import Deadline
from harness.errors import CommandFailed, RuntimeUnavailable
from harness.model import (
    Context,
    Image,
    InstanceSpec,
    Parameter,
    RuntimeClass,
    RuntimeFacts,
    Storage,
)
from harness.process import find_program, reap, run, wait_pidfd
from runtimes.box import EXIT_TIMEOUT_S
from runtimes.daemon_parts import children_of, session_of
from runtimes.grouped import ALL_LIMITS
from runtimes.kvm_verdict import check_device
from runtimes.oci import Oci, OciBox
from runtimes.storage import STORAGE

_PID_FILE = "sandbox.pid"
_FLAGS_TIMEOUT_S = 10.0
_TRIAL_TIMEOUT_S = 20.0
OWN = "own"
_PLATFORMS = ("ptrace", "systrap", "kvm")


class Runsc(Oci):
    """See the module."""

    program = "runsc"
    runtime_class = RuntimeClass.SANDBOX
    parameters: Mapping[str, Parameter] = {
        "platform": Parameter(OWN, (OWN, *_PLATFORMS), "how system calls are intercepted"),
        "storage": STORAGE,
    }

    def __init__(self, name: str, parameters: Mapping[str, str], context: Context) -> None:
        super().__init__(name, parameters, context)
        self._platform = parameters.get("platform", OWN)
        self._parts = dict[str, set[int]]()

    @functools.cached_property
    def _known(self) -> Mapping[str, str]:
        return told_flags(self._binary)

    def flags(self) -> Sequence[str]:
        platform = [] if self._platform == OWN else [f"--platform={self._platform}"]
        return [*platform, "--network=none", *socket_flags(self._known)]

    def run_flags(self, spec: InstanceSpec) -> Sequence[str]:
        return ["--pid-file", str(spec.directory / _PID_FILE)]

    def probe(self) -> RuntimeFacts:
        facts = super().probe()
        if not socket_flags(self._known):
            raise RuntimeUnavailable(
                "this runsc lets no box reach a Unix socket of the host", "install a newer runsc"
            )
        offered = platforms(self._known)
        if self._platform not in (OWN, *offered):
            raise RuntimeUnavailable(
                f"this runsc has no platform {self._platform}", f"it has {', '.join(offered)}"
            )
        if self._platform == "kvm":
            check_device()
        chosen = default_platform(self._known) if self._platform == OWN else self._platform
        notes = [f"platform {chosen}", "network none", "a kernel in user space"]
        return RuntimeFacts(versions=facts.versions, limits=ALL_LIMITS, notes=notes)

    def prepare(self, image: Image) -> None:
        super().prepare(image)
        if self._platform == "kvm":
            self._try()

    def _try(self) -> None:
        """Run a program in a throw-away sandbox; raises RuntimeUnavailable."""
        try:
            run(self._call("do", str(find_program("true"))), timeout_s=_TRIAL_TIMEOUT_S)
        except CommandFailed as error:
            raise RuntimeUnavailable(
                f"no sandbox runs on the platform {self._platform}: {error.message}",
                "take another platform, as in runsc,platform=ptrace",
            ) from error

    def _box(self, agent: Agent, spec: InstanceSpec, peer_pid: int, storage: Storage) -> OciBox:
        """The peer is the gofer; the sandbox, which ends with the agent, wrote its number."""
        self._parts[spec.name] = set(self._group(spec.name).members())
        pid = int((spec.directory / _PID_FILE).read_text())
        return OciBox(agent, spec.image, pid, storage, sandbox=True)

    def _delete(self, name: str) -> None:
        """What has ended is collected first: runsc takes a process that nobody has waited for
        as alive, and waits for it."""
        group = self._group(name)
        left = set(group.members())
        group.kill()
        collect(left | self._parts.pop(name, set()))
        super()._delete(name)


def collect(parts: Set[int]) -> None:
    """Wait for ended children of ours: the parts of a sandbox that we saw, and those in sessions
    that these have begun.

    They became our children as orphans, one after another; without a wait they stay as zombies.
    """
    deadline, us = Deadline(EXIT_TIMEOUT_S), os.getpid()
    while ours := [pid for pid in children_of(us) if {pid, session_of(pid)} & parts]:
        for pid in ours:
            try:
                pidfd = os.pidfd_open(pid)
            except ProcessLookupError:  # collected meanwhile, by whoever tears down another box
                continue
            ended = wait_pidfd(pidfd, deadline.left_s())
            os.close(pidfd)
            if not ended:
                return
            reap(pid)


def told_flags(program: str) -> Mapping[str, str]:
    """The flags that this program has, by its own words; raises CommandFailed."""
    said = run([program, "flags"], check=False, timeout_s=_FLAGS_TIMEOUT_S)
    return parse_flags((said.stdout + said.stderr).decode(errors="replace"))


def parse_flags(text: str) -> Mapping[str, str]:
    """The flags that `runsc flags` tells of, by name, with what it says of each."""
    found = re.findall(r"^ +-([\w-]+)[^\n]*\n[ \t]*([^\n]*)$", text, re.MULTILINE)
    return dict(found)


def socket_flags(known: Mapping[str, str]) -> Sequence[str]:
    """How boxes are allowed to connect to a Unix socket of the host; none where they cannot."""
    if "host-uds" in known:
        return ["--host-uds=open"]
    return ["--fsgofer-host-uds"] if "fsgofer-host-uds" in known else []


def platforms(known: Mapping[str, str]) -> Sequence[str]:
    """The platforms that this runsc tells of."""
    return [name for name in _PLATFORMS if re.search(rf"\b{name}\b", known.get("platform", ""))]


def default_platform(known: Mapping[str, str]) -> str:
    """The platform that this runsc takes when it is told none."""
    found = re.search(r'\(default "?(\w+)"?\)\s*$', known.get("platform", ""))
    return found[1] if found else "its own"
