"""The language of a report: what is written in English in the code, said in the reader's own.

Messages are gettext's: the English text is the key, `harness/locale/LANGUAGE/LC_MESSAGES/` holds
the catalogues, and what a catalogue does not know is said in English. Which language is spoken
is a matter of context (`speaking`), so that no function has to hand it on. A message is a whole
sentence or label with named places, never glued from words, for the order of words is the
language's own:

    say("{name} is ready in {value}.", name=name, value=value)
"""

from __future__ import annotations

import gettext
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import resources

from harness.errors import UsageError

LANGUAGES: Mapping[str, str] = {"en": "en", "zh": "zh-Hans"}
"""By the name that the command line takes, the tag that a page carries (BCP 47)."""

_DOMAIN = "tarebench"
RECORDED = "recorded"
"""The context, in a catalogue, of what runs record."""
_now: ContextVar[tuple[str, gettext.NullTranslations]] = ContextVar("language")


@contextmanager
def speaking(
    name: str, catalogue: gettext.NullTranslations | None = None
) -> Iterator[gettext.NullTranslations]:
    """Say everything in this language, by its own catalogue or another.

    Raises UsageError for a language that there is not.
    """
    spoken_by = catalogue or _catalogue(name)
    token = _now.set((name, spoken_by))
    try:
        yield spoken_by
    finally:
        _now.reset(token)


def speak(name: str) -> None:
    """Say everything in this language from now on: for a notebook, all of which is in one.

    Raises UsageError for a language that there is not.
    """
    _now.set((name, _catalogue(name)))


def spoken() -> str:
    """The name of the language that is spoken, `en` unless another was asked for."""
    return _now.get(("en", None))[0]


def say(message: str, /, **values: object) -> str:
    """The message in the language that is spoken, its named places filled with the values.

    Without values it is taken as it is, braces and all, so that text which others wrote (a
    scenario's title) can be looked up too.
    """
    _, catalogue = _now.get(("en", None))
    text = catalogue.gettext(message) if catalogue and message else message
    return text.format(**values) if values else text


def listed(parts: Sequence[str]) -> str:
    """Names in one phrase: `a`, `a and b`, `a, b and c`."""
    return _folded(parts, later("{names}, {name}"), later("{names} and {name}"), "name")


def strung(parts: Sequence[str]) -> str:
    """Names one after the other: `a, b, c`."""
    several = later("{names}, {name}")
    return _folded(parts, several, several, "name")


def clauses(parts: Sequence[str]) -> str:
    """Parts of a sentence in one: as names are in English, set apart further elsewhere."""
    several, last = later("{clauses}, {clause}"), later("{clauses} and {clause}")
    return _folded(parts, several, last, "clause")


def sentences(parts: Sequence[str]) -> str:
    """Whole sentences in a row; after one in Latin letters stands a space in any language."""
    text = ""
    for part in filter(None, parts):
        if text and text[-1].isascii():
            text = f"{text} {part}"
        else:
            text = say("{text} {sentence}", text=text, sentence=part) if text else part
    return text


def _folded(parts: Sequence[str], several: str, last: str, place: str) -> str:
    text = "".join(parts[:1])
    for number, part in enumerate(parts[1:], 2):
        values = {f"{place}s": text, place: part}
        text = say(last if number == len(parts) else several, **values)
    return text


def recorded(text: str) -> str:
    """What a run recorded in English: said where the catalogue knows it, else as it stands."""
    _, catalogue = _now.get(("en", None))
    return catalogue.pgettext(RECORDED, text) if catalogue and text else text


def later(message: str) -> str:
    """A message that is named here and said elsewhere: `say(constant)`."""
    return message


def _catalogue(name: str) -> gettext.NullTranslations:
    if name not in LANGUAGES:
        raise UsageError(f"--lang {name!r} is not known", f"choose one of: {', '.join(LANGUAGES)}")
    if name == "en":
        return gettext.NullTranslations()
    file = resources.files("harness") / "locale" / name / "LC_MESSAGES" / f"{_DOMAIN}.mo"
    with file.open("rb") as stream:
        return gettext.GNUTranslations(stream)
