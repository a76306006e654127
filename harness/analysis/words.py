"""What the words of tarebench mean: one file of sentences, for `explain` and the report's tips.

The file is harness/analysis/words.toml. An entry says only what is its own; the rest it has from
the entry of its kind whose name is the longest beginning of its own.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Any

from harness.analysis.language import say
from harness.errors import UsageError
from harness.metrics import METRICS

KINDS = ("metric", "mark", "guard", "runtime", "term")
_SENTENCES = ("what", "how", "not", "lesson")


@dataclass(frozen=True)
class Word:
    """What a word is, how it is measured and what it does not tell, in the language spoken.

    `lesson` is the number of the lesson that shows it, `title` that lesson's.
    """

    name: str
    kind: str
    what: str
    how: str
    not_told: str
    lesson: int
    title: str


def known() -> Mapping[str, tuple[str, ...]]:
    """Every name that can be explained, by kind; families and what all share are not among them."""
    found = {kind: tuple(n for n in _file()[kind] if n) for kind in KINDS}
    return {**found, "metric": tuple(METRICS)}


def explain(name: str) -> tuple[Word, ...]:
    """All that a name means: a metric, and perhaps a mark or a guard too.

    A runtime may come with its parameters. Raises UsageError with the nearest names for another.
    """
    wanted = name.strip().lower()
    names = known()
    found = [(kind, n) for kind in KINDS for n in names[kind] if n in _forms(kind, wanted)]
    if not found:
        every = sorted({each for own in names.values() for each in own})
        near = difflib.get_close_matches(wanted, every, 3, 0.5)
        near += [each for each in every if wanted and wanted in each and each not in near][:3]
        hint = f"did you mean {', '.join(near[:3])}?" if near else "tarebench explain lists all"
        raise UsageError(f"there is no word {name!r} to explain", hint)
    return tuple(word(kind, each) for kind, each in found)


def word(kind: str, name: str) -> Word:
    """One word of a kind."""
    own = _entry(kind, name)
    if kind == "metric":
        own = {**own, "what": METRICS[name].description}
    return Word(
        name, kind, say(own["what"]), say(own["how"]), say(own["not"]), own["lesson"],
        say(_file()["lesson"][str(own["lesson"])]),
    )  # fmt: skip


def tip(label: str) -> str:
    """What a label of a report means, in the language spoken; empty where it is no such word.

    A label is a name (of a metric, guard, mark or runtime), or one of the `labels` of a term.
    """
    for name, entry in _file()["term"].items():
        if label in map(say, entry.get("labels", ())):
            return word("term", name).what
    names = known()
    kind = next((k for k in ("metric", "guard", "runtime") if label in names[k]), "")
    return word(kind, label).what if kind else ""


def _forms(kind: str, wanted: str) -> tuple[str, ...]:
    """What a name may be in the file: a runtime without its parameters, a guard of a family."""
    if kind == "runtime":
        return (wanted, wanted.partition(",")[0])
    return (wanted, wanted.partition("_")[0]) if wanted.startswith("pressure_") else (wanted,)


def _entry(kind: str, name: str) -> dict[str, Any]:
    """The sentences of an entry, each from the longest beginning of its name that has it."""
    entries = _file()[kind]
    found: dict[str, Any] = {}
    for beginning in sorted((n for n in entries if name.startswith(n)), key=len):
        is_own = beginning == name or beginning == "" or beginning.endswith(".")
        found |= {k: v for k, v in entries[beginning].items() if k in _SENTENCES and is_own}
    return found


@cache
def _file() -> Mapping[str, Any]:
    text = (resources.files("harness.analysis") / "words.toml").read_text(encoding="utf-8")
    return MappingProxyType(tomllib.loads(text))
