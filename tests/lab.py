"""A place in which tests start real boxes: the real image, a control group, an inventory."""

from __future__ import annotations

import itertools
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from harness import paths
from harness.clock import Marks
from harness.experiments.bench import Bench
from harness.image.build import build
from harness.inventory import Entry, Inventory, sweep
from harness.model import Context, Image, Instance, InstanceSpec, Limits, Runtime
from harness.place import Place, make_place
from harness.probes.cgroups import run_group_name
from harness.process import become_subreaper
from harness.readying import ready
from harness.workload import Workload

READY_TIMEOUT_S = 120.0
"""Longer than any boot: a guest in software, on a host that is busy, from disk and by UEFI."""


@dataclass
class Lab:
    """Starts instances of any runtime; each runtime is created, probed and prepared once."""

    image: Image
    place: Place
    context: Context
    stack: ExitStack
    runtimes: dict[str, Runtime] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def runtime(self, name: str) -> Runtime:
        """Raises RuntimeUnavailable."""
        if name not in self.runtimes:
            self.runtimes[name], _ = ready(name, self.context, self.image, self.stack)
        return self.runtimes[name]

    @contextmanager
    def instance(
        self, name: str, limits: Limits | None = None, marks: Marks | None = None
    ) -> Iterator[Instance]:
        """A ready instance with its own folders, which are removed after it."""
        label = f"tb-test-{next(self.numbers)}"
        directory, sockets = self.place.scratch / label, self.place.state / label
        directory.mkdir()
        sockets.mkdir(mode=0o700)
        spec = InstanceSpec(
            name=f"{label}-{self.place.run_id}", run_id=self.place.run_id, image=self.image,
            limits=limits or Limits(), directory=directory, sockets=sockets,
            ready_timeout_s=READY_TIMEOUT_S,
        )  # fmt: skip
        try:
            with self.runtime(name).launch(spec, marks or Marks()) as box:
                yield box
        finally:
            shutil.rmtree(directory)
            shutil.rmtree(sockets)

    def bench(self, name: str, limits: Limits | None = None) -> Bench:
        """What an experiment works with, for one runtime."""
        runtime = self.runtime(name)
        return Bench(
            runtime=runtime, facts=runtime.probe(), image=self.image,
            limits=limits or Limits(), workload=Workload(argv=["/usr/bin/echo"]), outside=(),
            run_id=self.place.run_id, scratch=self.place.scratch, state=self.place.state,
            group=self.place.group, numbers=self.numbers,
        )  # fmt: skip

    def inventory_entries(self) -> Sequence[Entry]:
        """What the lab's inventory lists now."""
        assert isinstance(self.context.inventory, Inventory)
        return self.context.inventory.entries()


@contextmanager
def open_lab() -> Iterator[Lab]:
    """The lab, with the image built if it is not there yet; removes all that it made."""
    become_subreaper()
    image = build(paths.cache())
    token = secrets.token_hex(4)
    with Inventory(f"lab-{token}") as inventory:
        try:
            with ExitStack() as stack:
                place = make_place(token, inventory, stack)
                context = Context(
                    token, paths.cache(), place.state, run_group_name(token), inventory
                )
                yield Lab(image, place, context, stack)
        finally:
            left = sweep(inventory)
    assert not left, left
