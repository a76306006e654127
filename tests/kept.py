"""What has passed on this very checkout, so that a suite of hours goes on where it ended."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from harness.lab import project


class Kept:
    """By the name of a test: the figures that were told of it, its seconds first.

    They are known by the digest of what was tested.
    """

    def __init__(self, file: Path, digest: str) -> None:
        self._file, self._digest = file, digest
        self.told: dict[str, list[float]] = {}
        if file.is_file():
            self.told = json.loads(file.read_text()).get(digest, {})

    def keep(self, test: str, figures: Sequence[float]) -> None:
        """Written at once: the next test may take this machine down."""
        self.told[test] = [*figures]
        self._write()

    def drop(self, test: str) -> None:
        """What fails, where it passed before, has not passed."""
        if self.told.pop(test, None) is not None:
            self._write()

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps({self._digest: self.told}, indent=1))


def on_this_checkout(name: str) -> Kept:
    """In a file below results/runs, which git leaves alone; one more line in the checkout, and
    all is to be done again."""
    digest = hashlib.sha256(project.archive()).hexdigest()[:16]
    return Kept(project.checkout() / "results" / "runs" / name, digest)
