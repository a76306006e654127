"""Where the files that ship with tarebench lie, in a checkout and in an installed wheel alike.

A checkout keeps reference runs and published figures in `results/`, where people look for
them; the wheel carries the same files in `harness/_data/` (pyproject.toml maps one onto the
other), so that nothing lands in the top level of someone's site-packages.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_TOP = _PACKAGE.parent


def scenarios() -> Path:
    """The folder of the shipped scenario files and of `workloads.toml`."""
    return _TOP / "scenarios"


def shipped_results() -> Path:
    """The folder that holds `reference/` and `published.csv`."""
    packed = _PACKAGE / "_data"
    return packed if packed.is_dir() else _TOP / "results"


def published_figures() -> Path:
    """Figures that others published, with their sources (CSV)."""
    return shipped_results() / "published.csv"


def claims() -> Path:
    """The sentences that `tarebench claims` holds against runs (TOML)."""
    return shipped_results() / "claims.toml"


def reference_runs() -> Mapping[str, Path]:
    """The shipped reference runs by scenario; of several machines' runs, the first's."""
    found: dict[str, Path] = {}
    for path in sorted((shipped_results() / "reference").glob("*/*/manifest.json")):
        found.setdefault(path.parent.name, path.parent)
    return found


def demo_run() -> Path:
    """The reference run that `tarebench report demo` shows."""
    return reference_runs()["quick"]
