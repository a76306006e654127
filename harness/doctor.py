"""What this host can run and why not, with the command that mends it.

Every runtime is looked at; where the image is there, a machine runtime boots a guest, because
a device file proves nothing. What takes root, guards and the cache are listed beside.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

import msgspec

from harness import paths, registry, tuning
from harness.errors import HarnessError, NeedsRoot, RuntimeUnavailable
from harness.image import store
from harness.imagecheck import built
from harness.inventory import Inventory, sweep
from harness.model import Context, Frozen, Image
from harness.probes import guards, host, noise
from harness.probes.cgroups import run_group, run_group_name
from harness.probes.guards import Guard
from harness.probes.noise import Reading
from harness.readying import ready
from harness.rights import Right, rights

_UNPROBED = "unprobed"
"""How a note begins that says that nothing was decided."""


class RuntimeState(Frozen, frozen=True, rename={"kind": "class"}):
    """One row of `list runtimes` and of the doctor."""

    name: str
    kind: str
    status: str
    reason: str
    remedy: str
    parameters: dict[str, dict[str, str | list[str]]]
    versions: dict[str, str] = msgspec.field(default_factory=dict)
    accel: str = ""
    notes: list[str] = msgspec.field(default_factory=list)
    needs_root: bool = False
    """Whether it is not available because this user is not root."""


class Diagnosis(Frozen, frozen=True):
    """All that the doctor found."""

    host: dict[str, str | int | float | bool]
    runtimes: list[RuntimeState]
    rights: list[Right]
    guards: list[Guard]
    noise: list[Reading]
    tuned: dict[str, str]
    image: dict[str, str | int]
    cache: dict[str, str | int]


def known_runtimes() -> Sequence[RuntimeState]:
    """Every registered runtime after its own `probe()`, without booting anything.

    What only a boot tells stays `unprobed`, unless it is known already; `examine` boots.
    """
    with _context(boot=False) as context, ExitStack() as stack:
        return [_look(name, context, None, stack) for name in _shown()]


def _shown() -> Sequence[str]:
    return [name for name in registry.names() if name not in registry.HIDDEN]


def examine(runtimes: Sequence[str] = ()) -> Diagnosis:
    """Look at everything, of runtimes at these alone if any are given; machines boot a guest when
    the image is built. Raises UsageError for a runtime that means nothing."""
    names = registry.expand(runtimes) if runtimes else _shown()
    heard = list(noise.listen())  # before our own work makes noise
    found = list(guards.read())
    image = built()
    with _context() as context, ExitStack() as stack:
        states = [_look(name, context, image, stack) for name in names]
    return Diagnosis(
        host=host.facts(paths.cache(), paths.results()),
        runtimes=states,
        rights=list(rights()),
        guards=found,
        noise=heard,
        tuned=dict(tuning.remembered()),
        image={} if image is None else {"digest": image.digest, "path": str(image.directory)},
        cache={"path": str(paths.cache()), "bytes": store.cache_bytes(paths.cache())},
    )


@contextmanager
def _context(boot: bool = True) -> Iterator[Context]:
    """A context of our own: what the doctor starts is inventoried and removed like a run's."""
    token = secrets.token_hex(4)
    with Inventory(f"doctor-{token}") as inventory:
        state, group = paths.run_state(token), run_group_name(token)
        inventory.will_make("directory", str(state))
        inventory.will_make("cgroup", group)
        try:
            paths.make_state(state)
            with paths.readable(), run_group(group):
                yield Context(token, paths.cache(), state, group, inventory, {"boot": boot})
        finally:
            sweep(inventory)


def _look(name: str, context: Context, image: Image | None, stack: ExitStack) -> RuntimeState:
    try:
        _, facts = ready(name, context, image, stack)
    except RuntimeUnavailable as error:
        state = _state(name, "unavailable", error.message, error.hint)
        return msgspec.structs.replace(state, needs_root=isinstance(error, NeedsRoot))
    except HarnessError as error:
        return _state(name, "unavailable", f"probing failed: {error.message}", error.hint)
    undecided = next((note for note in facts.notes if note.startswith(_UNPROBED)), None)
    if image is None and undecided is not None:
        return _state(name, _UNPROBED, undecided, "tarebench doctor", facts.versions, facts.accel)
    return _state(name, "ready", "", "", facts.versions, facts.accel, facts.notes)


def _state(
    name: str,
    status: str,
    reason: str,
    remedy: str,
    versions: dict[str, str] | None = None,
    accel: str = "",
    notes: Sequence[str] = (),
) -> RuntimeState:
    try:
        factory = registry.factory(registry.parse(name)[0])
        kind, parameters = str(factory.runtime_class), factory.parameters
    except RuntimeUnavailable as error:  # its module cannot be loaded
        return RuntimeState(
            name=name, kind="unknown", status="unavailable", reason=error.message,
            remedy=error.hint, parameters={},
        )  # fmt: skip
    described: dict[str, dict[str, str | list[str]]] = {
        key: {"default": p.default, "choices": list(p.choices), "description": p.description}
        for key, p in parameters.items()
    }
    return RuntimeState(
        name=name, kind=kind, status=status, reason=reason, remedy=remedy, parameters=described,
        versions=versions or {}, accel=accel, notes=list(notes),
    )  # fmt: skip
