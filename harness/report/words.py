"""A word as a terminal shows it, and as the tip of a label in a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from harness.analysis.language import later, say, strung
from harness.analysis.words import Word

KINDS: Mapping[str, str] = {
    "metric": later("metric"), "mark": later("mark"), "guard": later("guard"),
    "runtime": later("runtime"), "term": later("term"),
}  # fmt: skip


def text(words: Sequence[Word]) -> RenderableType:
    """Four sentences a word."""
    return Group(*(line for each in words for line in (*_lines(each), "")))


def listing(names: Mapping[str, Sequence[str]]) -> RenderableType:
    """All names by kind."""
    told = (
        say("{name}: {said}", name=say(KINDS[kind]), said=strung(own))
        for kind, own in names.items()
    )
    return Group(*map(Text, told))


def _lines(word: Word) -> Sequence[RenderableType]:
    lesson = say("{number}. {title}", number=word.lesson, title=word.title)
    told = (
        (say("what"), word.what), (say("how"), word.how), (say("what not"), word.not_told),
        (say("lesson"), f"{lesson} (notebooks/{word.lesson:02d}-…)"),
    )  # fmt: skip
    head = Text(say("{name} ({value})", name=word.name, value=say(KINDS[word.kind])))
    head.stylize("bold", 0, len(word.name))
    lines = (say("{name}: {said}", name=name, said=said) for name, said in told)
    return [head, *(Padding(Text(line), (0, 0, 0, 2)) for line in lines)]
