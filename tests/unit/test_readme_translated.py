"""README.md in other languages: section by section the same commands, names, rows and pictures."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parent.parent.parent
PAIRS = {"(README.zh.md)": "(README.md)", "(notebooks/README.md)": "(notebooks/zh/README.md)"}
"""Where a link of the English page leads elsewhere in the other language."""
_FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


@dataclass(frozen=True)
class Section:
    """What a section has that is no matter of language."""

    level: int
    code: tuple[str, ...]
    pictures: tuple[str, ...]
    links: frozenset[str]
    names: frozenset[str]
    rows: int
    points: int


def sections(text: str) -> list[Section]:
    plain = _FENCE.sub(lambda block: block[0].replace("\n#", "\n\0"), text)
    return [section(each) for each in re.split(r"^(?=#+ )", plain, flags=re.M) if each]


def section(text: str) -> Section:
    words = _FENCE.sub("", text)
    return Section(
        level=len(text) - len(text.lstrip("#")),
        code=tuple(_FENCE.findall(text)),
        pictures=tuple(re.findall(r"!\[[^\]]+\]\(([^)]+)\)", words)),
        links=frozenset(re.findall(r"(?<=\]\()[^)]+(?=\))|\bdocs/[\w-]+\.\w+", words)),
        names=frozenset(" ".join(each.split()) for each in re.findall(r"`([^`]+)`", words)),
        rows=len(re.findall(r"^\|", words, re.M)),
        points=len(re.findall(r"^(?:- |\d\. )", words, re.M)),
    )


def test_the_first_lines_lead_to_the_other_language() -> None:
    for english, other in (("README.md", "README.zh.md"), ("README.zh.md", "README.md")):
        head = (TOP / english).read_text().splitlines()[:4]
        assert f"({other})" in " ".join(head)


def test_sections_are_those_of_the_english_page() -> None:
    english, own = ((TOP / name).read_text() for name in ("README.md", "README.zh.md"))
    for there, here in PAIRS.items():
        own = own.replace(here, there)
    wanted, found = sections(english), sections(own)
    assert [each.level for each in found] == [each.level for each in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one == other


def test_what_is_linked_is_there() -> None:
    text = (TOP / "README.zh.md").read_text()
    linked = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r"\bdocs/[\w-]+\.\w+", text)
    assert [each for each in linked if not (TOP / each).exists()] == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tarebench clean", "tarebench clear"),
        ("make test ", "make tests"),
        ("docs/ladder.png", "docs/other.png"),
        ("- ", "* "),
    ],
)
def test_a_change_of_the_english_page_alone_is_seen(old: str, new: str) -> None:
    english = (TOP / "README.md").read_text()
    assert old in english
    assert sections(english.replace(old, new)) != sections(english)
