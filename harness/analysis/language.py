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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import resources

from harness.errors import UsageError

LANGUAGES: Mapping[str, str] = {"en": "en", "zh": "zh-Hans"}
"""By the name that the command line takes, the tag that a page carries (BCP 47)."""

_DOMAIN = "tarebench"
_now: ContextVar[tuple[str, gettext.NullTranslations]] = ContextVar("language")


@contextmanager
def speaking(name: str) -> Iterator[None]:
    """Say everything in this language. Raises UsageError for one that there is not."""
    if name not in LANGUAGES:
        raise UsageError(f"--lang {name!r} is not known", f"choose one of: {', '.join(LANGUAGES)}")
    token = _now.set((name, _catalogue(name)))
    try:
        yield
    finally:
        _now.reset(token)


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


def later(message: str) -> str:
    """A message that is named here and said elsewhere: `say(constant)`."""
    return message


def _catalogue(name: str) -> gettext.NullTranslations:
    if name == "en":
        return gettext.NullTranslations()
    file = resources.files("harness") / "locale" / name / "LC_MESSAGES" / f"{_DOMAIN}.mo"
    with file.open("rb") as stream:
        return gettext.GNUTranslations(stream)
