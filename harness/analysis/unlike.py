"""One condition in which two runs are unlike, and the few words that its rules share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

ABSENT = "not recorded"


@dataclass(frozen=True)
class Unlike:
    """One condition that differs: `name`, what it was in base and in new, and what it can do.

    It concerns one runtime, or with an empty `runtime` all; these metrics (a name that ends in
    a dot stands for all that begin so), or with none all.
    """

    name: str
    refuses: bool
    base: str
    new: str
    text: str
    runtime: str = ""
    metrics: tuple[str, ...] = ()

    def concerns(self, metric: str, runtime: str) -> bool:
        """Whether it stands beside this series."""
        named = (metric == n or (n.endswith(".") and metric.startswith(n)) for n in self.metrics)
        return self.runtime in ("", runtime) and (not self.metrics or any(named))


def differ(was: object, now: object) -> bool:
    """Both are known and not the same."""
    return was is not None and now is not None and was != now


def only_differing(old: object, fresh: object) -> tuple[str, str]:
    """The keys that both tables have and that differ, as two texts."""
    if not isinstance(old, Mapping) or not isinstance(fresh, Mapping):
        return "", ""
    keys = [key for key in old if key in fresh and old[key] != fresh[key]]
    return listed(old, keys), listed(fresh, keys)


def listed(table: Mapping[str, Any], keys: Iterable[str]) -> str:
    """These keys of a table with their values, on one line."""
    return ", ".join(f"{key} {plain(table[key])}" for key in keys)


def plain(value: object) -> str:
    """A recorded value as a text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return ABSENT if value is None else str(value)


def short(digest: object) -> str:
    """The beginning of a digest."""
    return str(digest).removeprefix("sha256:")[:12]
