"""The built image as the rest needs it: required, described, verified in every runtime."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import msgspec

from harness import events, paths, registry
from harness.errors import EnvironmentRefused, RuntimeUnavailable
from harness.image import store
from harness.image.build import build
from harness.inventory import Inventory, sweep
from harness.lineup import assemble, prove
from harness.model import Context, Frozen, Image
from harness.place import make_place
from harness.probes.cgroups import run_group_name
from harness.process import become_subreaper
from harness.scenario import load


def built(extra: Sequence[str] = ()) -> Image | None:
    """The built image, with these packages added: our own, or else the one that root shares."""
    found = (store.find(cache, extra) for cache in paths.image_caches())
    return next((image for image in found if image is not None), None)


def require(extra: Sequence[str] = ()) -> Image:
    """The built image; raises EnvironmentRefused when there is none."""
    image = built(extra)
    if image is None:
        with_them = f" with {', '.join(extra)}" if extra else ""
        options = "".join(f" --package {name}" for name in extra)
        raise EnvironmentRefused(
            f"the image{with_them} has not been built yet", f"tarebench image build{options}"
        )
    return image


def provide(extra: Sequence[str], tell: Callable[[str], None]) -> Image:
    """The image that a scenario needs: with packages of its own it is built now, once.

    Raises EnvironmentRefused for a plain one that is not there, ImageError when the build fails.
    """
    if not extra or (ready := built(extra)) is None:
        return build(paths.cache(), extra, progress=tell) if extra else require()
    return ready


def is_owned(image: Image) -> bool:
    """Whether the files of the image's directory have their owners: not for an ordinary user."""
    return store.read_record(image.directory).ownership == "exact"


def describe(image: Image) -> dict[str, Any]:
    """What `tarebench image show` tells."""
    record = store.read_record(image.directory)
    return {
        "digest": image.digest,
        "path": str(image.directory),
        "agent_sha256": image.agent_sha256,
        "built_utc": record.built_utc,
        "ownership": record.ownership,
        "paths": record.paths,
        "content_bytes": record.content_bytes,
        "excluded_paths": list(image.excludes),
        "recipe": msgspec.to_builtins(record.recipe),
        "packages": record.packages,
        "disk_bytes": store.sizes(image),
    }


class Row(Frozen, frozen=True):
    """What one runtime's instance derived; `identical` is None for one that cannot run here."""

    runtime: str
    digest: str
    identical: bool | None
    text: str


def verify_everywhere(named: Sequence[str], say: Callable[[str], None]) -> Sequence[Row]:
    """Verify in the named runtimes, or in all that work here.

    Raises RuntimeUnavailable for a named runtime that cannot run, ImageError without an image.
    """
    image = require()
    wanted = [registry.canonical(name) for name in named]
    every = [name for name in registry.names() if name not in registry.HIDDEN]
    scenario = load("quick", runtimes=wanted or every)
    become_subreaper()
    token = secrets.token_hex(4)
    rows: dict[str, Row] = {}

    def observe(event: events.Event) -> None:
        if isinstance(event, events.Preparing):
            say(f"{event.runtime}: {event.step} …")
        elif isinstance(event, events.Skipped):
            rows[event.runtime] = Row(
                runtime=event.runtime,
                digest="",
                identical=None,
                text=f"unavailable: {event.reason}",
            )

    with Inventory(f"verify-{token}") as inventory:
        try:
            with ExitStack() as stack:
                place = make_place(token, inventory, stack)
                context = Context(
                    token, paths.cache(), place.state, run_group_name(token), inventory
                )
                lineup = assemble(
                    scenario, image, context, place, frozenset(wanted), observe, stack
                )
                proven = prove(lineup, scenario, is_owned(image), observe)
        except RuntimeUnavailable:
            if wanted or not rows:
                raise
            return list(rows.values())
        finally:
            sweep(inventory)
    for name, found in proven.items():
        text = found.note or "identical"
        rows[name] = Row(runtime=name, digest=found.digest, identical=found.identical, text=text)
    return [rows[name] for name in scenario.runtimes]
