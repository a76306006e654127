"""The disk of a guest as its root: a qcow2 overlay over the image's disk, or a copy of that disk.

A disk that was copied is written past the page cache, as for `storage=raw`, so that the guest
finds nothing of it there; that copy is on the device when it is made.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from harness.clock import now_ns
from harness.image.forms import overlay_disk, raw_disk
from harness.model import Image, InstanceSpec
from harness.roots import Form, MadeRoot
from runtimes.far_domain import FarMachines
from runtimes.guest_machine import Machine

DISK = "disk"
"""The file of an instance's disk, in its folder."""


class HasDisk(Protocol):
    """The part of a runtime's boot files that is meant here."""

    @property
    def disk(self) -> Path: ...


def make_disk(base: Path, target: Path, backing_format: str | None) -> None:
    """An instance's disk: a whole copy where it has nothing behind it."""
    if backing_format is None:
        raw_disk(base, target)
    else:
        overlay_disk(base, target, backing_format)


class DiskRoots:
    """What machines on this host share, see harness/roots.py; of others no disk is seen here."""

    _machine: Machine
    _far: FarMachines | None
    _files: Mapping[str, HasDisk]

    @property
    def forms(self) -> Sequence[Form]:
        if self._far is not None or self._machine.own_disk is not None:
            return ()
        return (Form.COPY,) if self._machine.raw else (Form.QCOW2, Form.COPY)

    @contextlib.contextmanager
    def make_root(self, spec: InstanceSpec) -> Iterator[MadeRoot]:
        """The file alone; it goes with the instance's folder."""
        target = spec.directory / DISK
        whole = spec.whole or self._machine.raw
        base = self._files[spec.image.digest].disk
        begin = now_ns()
        make_disk(base, target, None if whole else "raw")
        yield MadeRoot(now_ns() - begin, (target,))

    def shared_files(self, image: Image) -> Sequence[Path]:
        return (self._files[image.digest].disk,)
