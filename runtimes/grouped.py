"""Limits for boxes that bring none of their own: a control group that the agent joins.

The agent writes itself into the group before it says READY, through descriptors that it
inherits: this works on cgroup v1 and v2 alike, and from inside a chroot.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

from harness.errors import RuntimeUnavailable
from harness.model import Context, InstanceSpec, LimitSupport, Parameter, Support
from harness.probes.cgroups import Group, Layout

ALL_LIMITS = LimitSupport(cpus=Support.SUPPORTED, memory=Support.SUPPORTED, pids=Support.SUPPORTED)
CGROUP = Parameter("off", ("on", "off"), "limits by a control group of the box's own")


def probe_groups(name: str) -> None:
    """Raises RuntimeUnavailable where control groups cannot be written."""
    if not Layout.detect().writable():
        raise RuntimeUnavailable(
            f"{name} needs writable control groups", "run as root, with /sys/fs/cgroup mounted rw"
        )


@contextlib.contextmanager
def own_group(context: Context, spec: InstanceSpec) -> Iterator[Group]:
    """The name of an instance's group, on the inventory; whatever is made of it is removed."""
    group = Group(Layout.detect(), f"{context.cgroup}/{spec.name}")
    context.inventory.will_make("cgroup", group.name)
    try:
        yield group
    finally:
        group.kill()
        group.remove()
        context.inventory.removed("cgroup", group.name)


@contextlib.contextmanager
def group_of(context: Context, spec: InstanceSpec) -> Iterator[Sequence[str]]:
    """A group with the spec's limits; yields what the agent's command line gets added."""
    with own_group(context, spec) as group:
        group.create(spec.limits)
        with group.joinable() as descriptors:
            yield [word for number in descriptors for word in ("--cgroup-fd", str(number))]
