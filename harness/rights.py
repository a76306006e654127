"""What takes root on this host, and whether this user may do it: told before a run asks for it.

Each right is tried rather than guessed from a user's number: root in a container may lack some,
and an ordinary user may have been given others. Runtimes tell by themselves that they need root
(`NeedsRoot`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from harness import ksm, tuning
from harness.errors import SUDO
from harness.model import Frozen
from harness.probes import memory, pagecache
from harness.probes.cgroups import Layout

_FIRST_PROCESS = 1


class Right(Frozen, frozen=True):
    """What takes a right, whether this user has it, what is done with it, and how to get it."""

    name: str
    had: bool
    text: str
    remedy: str


def rights() -> Sequence[Right]:
    """All of them but those of runtimes, in the order in which most users meet them."""
    return [
        Right(
            "control groups", Layout.detect().writable(),
            "Limits of processors, memory and processes; memory and CPU time of whole boxes.",
            f"{SUDO}, where /sys/fs/cgroup is mounted read-write",
        ),
        Right(
            "processes of others", memory.together([_FIRST_PROCESS]) is not None,
            "Memory of what a daemon starts for a box (shims, monitors, machines): without it "
            "memory.charged and memory.pss of such boxes are absent.",
            SUDO,
        ),
        Right(
            "the page cache", pagecache.can_drop(),
            'Cold starts: the scenario cold, or experiments.startup.regime = "cold".',
            f"{SUDO}, where {pagecache.DROP} can be written",
        ),
        Right(
            "same-page merging", os.access(ksm.FOLDER / "run", os.W_OK),
            "Machines that share equal pages: experiments.density.ksm = true.",
            f"{SUDO}, on a kernel with KSM",
        ),
        Right(
            "settings of the host", tuning.may_tune(),
            "A quieter host: tarebench doctor --tune, and --untune.",
            "sudo tarebench doctor --tune",
        ),
        Right(
            "files of every owner", os.geteuid() == 0,
            "Disks of the laboratory: tarebench lab build. To run what is built takes no rights. "
            "An image that an ordinary user has built or reads is the same but for what only root "
            "may read.",
            "sudo tarebench lab build",
        ),
    ]  # fmt: skip
