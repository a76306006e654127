"""Where a run keeps what it makes: its own folders and control group, inventoried first."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from harness import paths
from harness.errors import EnvironmentRefused
from harness.inventory import Inventory
from harness.probes.cgroups import Group, run_group, run_group_name
from harness.probes.sampling import Sampling


@dataclass(frozen=True)
class Place:
    """`scratch` lies on the cache's disk, `state` on a short path; `group` may be refused.

    `sampling` watches the run's instances where the scenario asks for it.
    """

    run_id: str
    scratch: Path
    state: Path
    group: Group | None
    sampling: Sampling = field(default_factory=Sampling.off)


def make_place(token: str, inventory: Inventory, stack: ExitStack) -> Place:
    """The run's own folders and control group, on the inventory before they are made."""
    state, scratch = paths.run_state(token), paths.scratch(token)
    group_name = run_group_name(token)
    for folder in (state, scratch):
        paths.require_plain(folder)
    inventory.will_make("directory", str(state))
    inventory.will_make("directory", str(scratch))
    inventory.will_make("cgroup", group_name)
    stack.enter_context(paths.readable())
    try:
        paths.make_state(state)
        scratch.mkdir(parents=True, exist_ok=True)
        scratch.chmod(0o711)
    except OSError as error:
        raise EnvironmentRefused(
            f"{error.filename or state}: {error.strerror or error}",
            "TAREBENCH_CACHE names another folder for the cache",
        ) from error
    group = stack.enter_context(run_group(group_name))
    return Place(token, scratch, state, group)
