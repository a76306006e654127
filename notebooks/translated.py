"""A lesson in another language: its cells are the English ones, and only its words are others.

Code, numbers and charts have one source, the English text NAME.py. A translation holds words:

    LANGUAGE/NAME.md        the prose, a piece a cell, each under the key of the English cell
    LANGUAGE/strings.toml   what code cells show, by lesson: labels, sentences, comments

A key is made from the English words, so a cell that was changed has no translation until somebody
has read it again. What charts and tables say by themselves follows `speak`, whose argument is one
of the strings.

    python -m notebooks.translated      lays the pieces out anew, in the order of the cells

What is to be translated then stands in its place in English under a key marked `todo`, and what
no cell has any more at the end, marked `gone`.
"""

from __future__ import annotations

import ast
import hashlib
import io
import json
import re
import sys
import tokenize
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext

HERE = Path(__file__).resolve().parent
LESSONS = "[0-9][0-9]-*.py"
LANGUAGES = ("zh",)
"""Those that lessons are translated to."""
ALL = "all"
"""The table of strings that holds for every lesson."""
_PIECE = re.compile(r"^<!-- ([0-9a-f]{8}(?: todo| gone)?) -->\n", re.M)
_PLACE = re.compile(r"\{[^{}]*\}")


@dataclass(frozen=True, order=True)
class Spot:
    """A string or a comment of a code cell: where it stands (line, byte), and what it says.

    `written` is how it is written with `…` in the place of its words: `f"…"`, `# …`.
    """

    start: tuple[int, int]
    end: tuple[int, int]
    says: str
    written: str

    def saying(self, words: str) -> bytes:
        """The same string with other words."""
        quoted = json.dumps(words, ensure_ascii=False)[1:-1] if self.written[-1] == '"' else words
        return self.written.replace("…", quoted).encode()


def lessons() -> list[Path]:
    """The texts of all lessons, in order."""
    return sorted(HERE.glob(LESSONS))


def prose(text: Path) -> dict[str, str]:
    """The English prose of a lesson, a piece a cell, by key."""
    cells = jupytext.read(text).cells
    return {key(cell.source): cell.source for cell in cells if cell.cell_type == "markdown"}


def key(words: str) -> str:
    """By what a translation knows an English cell."""
    return hashlib.sha256(words.strip().encode()).hexdigest()[:8]


def pieces(text: Path, language: str) -> dict[str, str]:
    """What there is of a lesson's prose in a language, in the file's order.

    By the key of the cell; that of a piece that is not done has its mark behind it.
    """
    path = HERE / language / f"{text.stem}.md"
    found = _PIECE.split(path.read_text(encoding="utf-8")) if path.exists() else [""]
    return dict(zip(found[1::2], (words.strip() for words in found[2::2]), strict=True))


def strings(text: Path, language: str) -> Mapping[str, str]:
    """What a lesson's code cells show, by the English; f-strings with their places."""
    every = tables(language)
    return {**every[ALL], **every.get(text.stem[:2], {})}


def tables(language: str) -> Mapping[str, Mapping[str, str]]:
    """The same of all lessons, by number; and, under `all`, what holds for each of them."""
    return tomllib.loads((HERE / language / "strings.toml").read_text(encoding="utf-8"))


def translated(text: Path, language: str) -> Any:
    """The notebook of a lesson's text in a language, not executed.

    Raises KeyError, with the words, for a cell of prose that has no translation.
    """
    notebook = jupytext.read(text)
    said, shown = pieces(text, language), strings(text, language)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = recoded(cell.source, shown)
        elif key(cell.source) in said:
            cell.source = said[key(cell.source)]
        else:
            raise KeyError(f"{text.name}: not translated to {language}: {cell.source}")
    return notebook


def recoded(source: str, shown: Mapping[str, str]) -> str:
    """A code cell with its strings and comments in another language, all else as it was."""
    lines = [line.encode() for line in source.splitlines(keepends=True)]
    for spot in sorted(spots(source), reverse=True):
        if spot.says in shown:
            (row, start), (last, end) = spot.start, spot.end
            words = spot.saying(shown[spot.says])
            lines[row - 1 : last] = [lines[row - 1][:start] + words + lines[last - 1][end:]]
    return b"".join(lines).decode()


def places(words: str) -> list[str]:
    """What is filled in: the same in any language, in the language's own order."""
    return sorted(_PLACE.findall(words))


def spots(source: str) -> Iterator[Spot]:
    """The strings and comments of a code cell."""
    plain = re.sub(r"^%", "#%", source, flags=re.M)  # a magic of the notebook is no Python
    found: list[Any] = [ast.parse(plain)]
    while found:
        node = found.pop()
        if isinstance(node, ast.Expr) and _is_text(node.value):
            yield _spot(node.value, node.value.value, '"""…"""')
        elif isinstance(node, ast.JoinedStr):
            yield _spot(node, _template(node), 'f"…"')
        elif _is_text(node):
            yield _spot(node, node.value, '"…"')
        else:
            found += ast.iter_child_nodes(node)
    for token in tokenize.generate_tokens(io.StringIO(plain).readline):
        if token.type == tokenize.COMMENT and not token.string.startswith("#%"):
            row, column = token.start
            start = len(token.line[:column].encode())
            end = start + len(token.string.encode())
            yield Spot((row, start), (row, end), token.string.lstrip("# "), "# …")


def _is_text(node: Any) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _spot(node: Any, says: str, written: str) -> Spot:
    start, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
    return Spot(start, end, says, written)


def _template(node: ast.JoinedStr) -> str:
    parts = []
    for each in node.values:
        if isinstance(each, ast.FormattedValue):
            spec = each.format_spec
            told = f":{_template(spec)}" if isinstance(spec, ast.JoinedStr) else ""
            parts.append(f"{{{ast.unparse(each.value)}{told}}}")
        else:
            parts.append(str(ast.literal_eval(each)))
    return "".join(parts)


def lay_out(text: Path, language: str) -> list[str]:
    """Write the pieces of a lesson in the order of its cells; returns the keys not done."""
    there = pieces(text, language)
    laid = {}
    for name, words in prose(text).items():
        todo = f"{name} todo"
        laid |= {name: there[name]} if name in there else {todo: there.get(todo, words)}
    gone = {f"{name[:8]} gone": words for name, words in there.items() if name not in laid}
    told = (f"<!-- {name} -->\n{words}" for name, words in (laid | gone).items())
    path = HERE / language / f"{text.stem}.md"
    path.write_text("\n\n".join(told) + "\n", encoding="utf-8")
    return [name for name in laid | gone if " " in name]


if __name__ == "__main__":
    for each in LANGUAGES:
        for lesson in lessons():
            left = lay_out(lesson, each)
            sys.stdout.write(f"{each}/{lesson.stem}.md: {', '.join(left) or 'complete'}\n")
