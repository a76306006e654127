"""Lessons in other languages: the same cells, code, numbers and figures; only words are others."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jupytext
import pytest
from markdown_it import MarkdownIt

from harness.analysis.language import speaking
from harness.errors import HarnessError
from harness.report.fonts import families
from notebooks.build import executed, notebook_of
from notebooks.translated import (
    ALL,
    HERE,
    LANGUAGES,
    Spot,
    lessons,
    pieces,
    places,
    prose,
    recoded,
    spots,
    strings,
    tables,
    translated,
)
from tests.unit.test_lessons import MOST_BYTES, QUANTITY, TOP, cells, numbers, words

TEXTS = lessons()
QUICKEST = "03"
"""The lesson that `make test` executes in each language; the slow test executes all."""
EACH = [pytest.param(text, each, id=f"{each}-{text.stem}") for each in LANGUAGES for text in TEXTS]
EXECUTED = [
    pytest.param(text, each, id=f"{each}-{text.stem}",
                 marks=() if text.stem.startswith(QUICKEST) else pytest.mark.slow)
    for each in LANGUAGES for text in TEXTS
]  # fmt: skip


def code(notebook: Any) -> list[str]:
    return [cell.source for cell in notebook if cell.cell_type == "code"]


def shown(text: Path) -> set[str]:
    """Strings and comments of a lesson's code."""
    return {spot.says for source in code(jupytext.read(text).cells) for spot in spots(source)}


def names(words: str, known: Mapping[str, str] = MappingProxyType({})) -> set[str]:
    """What stands in the font of code, with these strings in the place of others."""
    found = {" ".join(each.split()) for each in re.findall(r"`([^`]+)`", words)}
    for each in set(found):
        with suppress(SyntaxError):  # a file's name, a command
            found = found - {each} | {recoded(each, known)}
    return found


def silent(source: str) -> str:
    """Code with a blank in the place of whatever strings say; what f-strings fill in is sorted."""
    tree = ast.parse(re.sub("^%", "#", source, flags=re.M))
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            filled = [part for part in node.values if isinstance(part, ast.FormattedValue)]
            node.values = sorted(filled, key=ast.dump)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            node.value = ""
    return ast.dump(tree)


@pytest.mark.parametrize(("text", "language"), EACH)
def test_every_piece_of_prose_is_translated_and_none_is_stale(text: Path, language: str) -> None:
    told = "run `python -m notebooks.translated`, translate what is marked, run `make lessons`"
    assert list(pieces(text, language)) == list(prose(text)), told


@pytest.mark.parametrize(("text", "language"), EACH)
def test_every_sentence_that_code_shows_is_translated(text: Path, language: str) -> None:
    there, known = shown(text), strings(text, language)
    sentences = {each for each in there if " " in re.sub(r"\{[^{}]*\}", "", each).strip()}
    assert sorted(sentences - set(known)) == []
    assert [each for each, said in known.items() if places(said) != places(each)] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_string_is_dead(language: str) -> None:
    there = {text.stem[:2]: shown(text) for text in TEXTS}
    there |= {ALL: set().union(*there.values())}
    dead = {n: set(own) - there[n] for n, own in tables(language).items()}
    assert {n: sorted(own) for n, own in dead.items() if own} == {}


@pytest.mark.parametrize(("text", "language"), EACH)
def test_a_translated_notebook_is_its_text_with_other_words(text: Path, language: str) -> None:
    kept = cells(notebook_of(text, language))
    made = [(cell.cell_type, cell.source) for cell in translated(text, language).cells]
    assert [(cell.cell_type, cell.source) for cell in kept] == made, "run `make lessons`"


@pytest.mark.parametrize(("text", "language"), EACH)
def test_it_has_the_same_cells_code_numbers_and_figures(text: Path, language: str) -> None:
    """Neither is executed for this: what the two notebooks show is compared."""
    english, own = (cells(notebook_of(text, each)) for each in ("en", language))
    for one, other in zip(english, own, strict=True):
        assert one.cell_type == other.cell_type
        if one.cell_type == "code":
            assert silent(other.source) == silent(one.source)
            assert Counter(numbers(other)) == Counter(numbers(one)), other.source
            assert [word == "a picture" for word in words(other)] == [
                word == "a picture" for word in words(one)
            ], other.source


@pytest.mark.parametrize(("text", "language"), EACH)
def test_its_prose_has_the_marks_of_the_english(text: Path, language: str) -> None:
    """Heads, rows of tables, points of lists, folds, and every name in the font of code."""
    own = pieces(text, language)
    for key, english in prose(text).items():
        for mark in (r"^#+ ", r"^\|", r"^- ", r"^\d\. ", "<details>", "</details>"):
            counts = [len(re.findall(mark, each, re.M)) for each in (own[key], english)]
            assert counts[0] == counts[1], (mark, own[key])
        assert names(own[key]) == names(english, strings(text, language)), own[key]
    assert re.findall(rf"{QUANTITY.pattern}|\d ?[毫微]秒", "\n".join(own.values())) == []


def unread(words: str) -> list[str]:
    """Text in which a mark of Markdown stands as itself: beside Chinese letters some do."""
    found, texts = list(MarkdownIt().enable("table").parse(words)), list[str]()
    while found:
        token = found.pop()
        found += token.children or []
        texts += [token.content] if token.type == "text" else []
    return [text for text in texts if re.search(r"[*`]", text)]


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_mark_of_a_translation_is_read_as_one(language: str) -> None:
    pages = [*(HERE / language).rglob("*.md"), TOP / f"README.{language}.md"]
    assert len(pages) > 2 * len(TEXTS)
    assert {page.name: unread(page.read_text()) for page in pages if unread(page.read_text())} == {}
    assert unread("除了*虚拟机监控器（Hypervisor）*以外") != []


@pytest.mark.parametrize(("text", "language"), EACH)
def test_a_translated_notebook_tells_nothing_of_where_it_was_made(
    text: Path, language: str
) -> None:
    path = notebook_of(text, language)
    raw = path.read_text()
    assert path.stat().st_size < MOST_BYTES
    assert str(TOP) not in raw
    assert [o for c in cells(path) for o in c.get("outputs", []) if o.get("name") == "stderr"] == []


@pytest.mark.parametrize(("text", "language"), EXECUTED)
def test_a_translated_lesson_runs_and_its_notebook_shows_its_numbers(
    text: Path, language: str
) -> None:
    with speaking(language):
        try:
            families()
        except HarnessError as error:  # `make test` installs a font where it may
            pytest.skip(f"{error.message}: {error.hint}")
    kept, made = cells(notebook_of(text, language)), executed(text, language).cells
    for old, new in zip(kept, made, strict=True):
        assert len(words(old)) == len(words(new)), f"run `make lessons`\n{new.source}"
        assert numbers(old) == numbers(new), f"run `make lessons`\n{new.source}"


@pytest.mark.parametrize(("text", "language"), EACH)
def test_a_translated_lesson_has_a_page_for_the_teacher_and_a_line(
    text: Path, language: str
) -> None:
    own, english = (
        (folder / "teacher" / f"{text.stem}.md").read_text() for folder in (HERE / language, HERE)
    )
    for mark in ("^## ", "^- ", r"^\d\. "):
        counts = [len(re.findall(mark, page, re.M)) for page in (own, english)]
        assert counts[0] == counts[1], mark
    assert names(own) == names(english, strings(text, language))
    line, told = (
        next(x for x in (folder / "README.md").read_text().splitlines() if text.stem in x)
        for folder in (HERE / language, HERE)
    )
    assert f"({text.stem}.ipynb)" in line
    assert f"(teacher/{text.stem}.md)" in line
    assert line.split("|")[3] == told.split("|")[3]  # the minutes
    assert f"{line.split('|')[3].strip()} 分钟" in own


def test_a_string_is_replaced_where_it_stands_and_nothing_else_is() -> None:
    source = '''%magic
x = {"a b": f"“{n:.1f} of {d['k']}”"}  # a remark
"""Told."""
print("a b", "other"
      " half", 'it\\'s')'''
    spoken = {
        "a b": '甲"乙',
        "“{n:.1f} of {d['k']}”": "“{d['k']} 的 {n:.1f}”",
        "a remark": "注",
        "Told.": "说明。",
        "other half": "另一半",
    }
    assert (
        recoded(source, spoken)
        == '''%magic
x = {"甲\\"乙": f"“{d['k']} 的 {n:.1f}”"}  # 注
"""说明。"""
print("甲\\"乙", "另一半", 'it\\'s')'''
    )
    assert recoded(source, {}) == source
    assert {spot.says for spot in spots(source)} == {*spoken, "it's"}
    assert Spot((1, 0), (1, 3), "x", '"…"').saying("é") == '"é"'.encode()


def test_a_cell_without_a_translation_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "09-new.py"
    text.write_text("# %% [markdown]\n# New words.\n")
    with pytest.raises(KeyError, match=r"not translated to zh: New words\."):
        translated(text, "zh")
