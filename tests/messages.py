"""The messages of reports: which there are, and the catalogues that hold their translations.

`python -m tests.messages` writes each catalogue anew: with every message of the code, without
those that are gone, and compiled. What is left untranslated is told, and a test fails for it.
"""

from __future__ import annotations

import ast
import gettext
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from jinja2 import Environment, PackageLoader
from jinja2.ext import babel_extract

ROOT = Path(__file__).parent.parent
CODE = ("harness/analysis", "harness/report")
RECORDS = ("harness/probes", "harness/exchange")
"""What writes the texts that runs record and reports may translate."""
_NO_DATE = datetime(2026, 1, 1, tzinfo=UTC)
"""A catalogue is the same whenever it is written."""
LOCALES = ROOT / "harness" / "locale"


_SAID = re.compile("[\u3000-\u9fff\uff00-\uffef]")
"""In a label that was said already, and is looked up once more where it is shown."""


class Recorder(gettext.NullTranslations):
    """A catalogue that knows another's messages, and remembers those that it lacked."""

    def __init__(self, known: gettext.NullTranslations) -> None:
        super().__init__()
        self._known = known
        self.lacking: set[str] = set()

    def gettext(self, message: str) -> str:
        """The translation; English where there is none."""
        text = self._known.gettext(message)
        if text == message and not self._has(message) and not _SAID.search(message):
            self.lacking.add(message)
        return text

    def _has(self, message: str) -> bool:
        return message in getattr(self._known, "_catalog", {})


def called() -> set[str]:
    """Every message that the code says by name: `say("…")`, `later("…")`, `plural(n, "…")`."""
    found = set()
    for call in (node for tree in _trees() for node in ast.walk(tree)):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            continue
        name, arguments = call.func.id, call.args
        place = {"say": 0, "later": 0, "plural": 1}.get(name)
        if place is None or len(arguments) <= place:
            continue
        for each in _texts(arguments[place]):
            found.add(f"{{n}} {each}" if name == "plural" else each)
    return found | _templates() | set(_claims()) | set(_words()) | set(_metrics())


def literals() -> set[str]:
    """Every text that stands in the code or in a shipped scenario; messages are among them."""
    nodes = (node for tree in _trees((*CODE, *RECORDS)) for node in ast.walk(tree))
    found = {n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    for path in (ROOT / "scenarios").glob("*.toml"):
        found |= set(_strings(tomllib.loads(path.read_text())))
    return found | set(_model()) | _templates()


def catalogue(path: Path) -> Catalog:
    """A catalogue's readable form."""
    with path.open("rb") as stream:
        return read_po(stream, abort_invalid=True)


def compiled(known: Catalog) -> bytes:
    """The form that the program reads."""
    out = BytesIO()
    write_mo(out, known)
    return out.getvalue()


def paths() -> list[Path]:
    """The readable catalogues of all languages."""
    return sorted(LOCALES.glob("*/LC_MESSAGES/*.po"))


def _trees(folders: Sequence[str] = CODE) -> Iterator[ast.Module]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield ast.parse(path.read_text())


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)


def _templates() -> set[str]:
    loader = PackageLoader("harness.report")
    environment = Environment(autoescape=True)
    found = set()
    for name in loader.list_templates():
        if name.endswith(".j2") and not name.startswith("prose"):
            source, _, _ = loader.get_source(environment, name)
            for _, _, message, _ in babel_extract(BytesIO(source.encode()), ["_"], [], {}):
                parts = [message] if isinstance(message, str) else message or []
                found |= {part for part in parts[:1] if isinstance(part, str)}
    return found


def _model() -> Iterator[str]:
    from harness.model import RuntimeClass

    yield from (each.value for each in RuntimeClass)


def _metrics() -> Iterator[str]:
    """What metrics say of themselves: `explain` and the tips of a report show it."""
    from harness.metrics import METRICS

    yield from (each.description for each in METRICS.values())


def _claims() -> Iterator[str]:
    """The sentences of the claims, and of their checks."""
    told = tomllib.loads((ROOT / "results" / "claims.toml").read_text())
    for each in (part for claim in told["claim"] for part in (claim, *claim.get("checks", ()))):
        yield from (each[key] for key in ("says", "why", "needs") if key in each)


def _words() -> Iterator[str]:
    """What `explain` says, but for what metrics say themselves."""
    yield from _strings(tomllib.loads((ROOT / "harness" / "analysis" / "words.toml").read_text()))


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def update(path: Path, wanted: set[str]) -> list[str]:
    """Write a catalogue anew; returns the messages that it does not translate."""
    old, everything = catalogue(path), literals() | wanted
    new = Catalog(
        locale=path.parent.parent.name, project="tarebench", fuzzy=False, version="1",
        header_comment="# Messages of tarebench's reports. See tests/messages.py.",
        msgid_bugs_address="tarebench", last_translator="tarebench", language_team="tarebench",
        creation_date=_NO_DATE, revision_date=_NO_DATE,
    )  # fmt: skip
    for message in old:
        if message.id and message.string and message.id in everything:
            new.add(message.id, message.string, context=message.context)
    for text in sorted(wanted):
        if text not in new:
            new.add(text, "")
    with path.open("wb") as stream:
        write_po(stream, new, sort_output=True, omit_header=False, width=100)
    path.with_suffix(".mo").write_bytes(compiled(new))
    return sorted(str(m.id) for m in new if m.id and not m.string)


if __name__ == "__main__":
    for each in paths():
        for lacking in update(each, called()):
            sys.stdout.write(f"{each.parent.parent.name}: {lacking}\n")
