"""Reports in another language: no message is left out, and none has other places than English."""

from __future__ import annotations

import gettext
import json
import re
import string
from io import BytesIO, StringIO
from pathlib import Path

import pytest
from jinja2 import Environment, PackageLoader
from jinja2.nodes import Macro
from matplotlib import font_manager
from rich.console import Console

from harness.analysis import words
from harness.analysis.claims import declared
from harness.analysis.claims.answers import answer
from harness.analysis.frames import load_run
from harness.analysis.language import LANGUAGES, recorded, say, speaking, spoken
from harness.analysis.units import percent, plural
from harness.errors import HarnessError, UsageError
from harness.exchange import from_pytest_benchmark
from harness.exchange.importing import import_file
from harness.model import Outcome
from harness.report import html, markdown
from harness.report.claims import terminal
from harness.report.fonts import families
from harness.report.view import view
from harness.report.words import listing
from harness.report.words import text as explained
from tests.messages import ROOT, Recorder, called, catalogue, compiled, literals, paths
from tests.synthetic import QUICK, Plan, make_run

REFERENCES = sorted(path.parent for path in ROOT.glob("results/reference/*/*/manifest.json"))
OTHERS = [name for name in LANGUAGES if name != "en"]


def places(text: str) -> list[str]:
    return sorted(name for _, name, _, _ in string.Formatter().parse(text) if name is not None)


def macros(language: str) -> dict[str, list[str]]:
    """The macros of a language's prose with their arguments."""
    loader, environment = PackageLoader("harness.report"), Environment(autoescape=True)
    source, _, _ = loader.get_source(environment, f"prose.{language}.j2")
    found = environment.parse(source).find_all(Macro)
    return {macro.name: [argument.name for argument in macro.args] for macro in found}


def test_every_language_but_english_has_a_catalogue() -> None:
    assert [path.parent.parent.name for path in paths()] == sorted(OTHERS)


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.parent.parent.name)
def test_no_message_is_untranslated_or_dead(path: Path) -> None:
    known = {str(m.id): str(m.string) for m in catalogue(path) if m.id}
    assert sorted(called() - set(known)) == [], "python -m tests.messages"
    assert sorted(text for text, said in known.items() if not said) == []
    assert sorted(set(known) - literals() - called()) == []


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.parent.parent.name)
def test_a_translation_has_the_places_of_its_message(path: Path) -> None:
    for message in catalogue(path):
        if message.id and "{" in str(message.id):
            assert places(str(message.string)) == places(str(message.id)), message.id


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.parent.parent.name)
def test_the_compiled_catalogue_is_the_readable_one(path: Path) -> None:
    compiled_now, stored = (
        gettext.GNUTranslations(BytesIO(data))
        for data in (compiled(catalogue(path)), path.with_suffix(".mo").read_bytes())
    )
    for text in called():
        assert stored.gettext(text) == compiled_now.gettext(text)


@pytest.mark.parametrize("language", OTHERS)
def test_prose_has_the_same_paragraphs(language: str) -> None:
    assert macros(language) == macros("en")


def test_english_is_spoken_unless_another_is_asked_for() -> None:
    assert spoken() == "en"
    with speaking("zh"):
        assert spoken() == "zh"
        assert say("bare metal") == "裸机"
        assert plural(1, "trial") == "1 次试验"
        assert plural(20, "block") == "20 个区组"
        assert percent(0.5) == "50%"
    assert say("bare metal") == "bare metal"
    assert plural(1, "trial") == "1 trial"


def test_what_no_catalogue_knows_is_said_as_it_is() -> None:
    with speaking("zh"):
        assert say("a title of {somebody}'s own") == "a title of {somebody}'s own"
        assert say("") == ""


def test_a_language_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(UsageError) as refused, speaking("tlh"):
        pass
    assert "'tlh'" in refused.value.message
    assert re.search(r"en.*zh", refused.value.hint)


def lacking(language: str, folder: Path) -> list[str]:
    """What a run's reports look up and the catalogue has not."""
    with speaking(language):
        try:
            families()
        except HarnessError as error:  # `make test` installs a font where it may
            pytest.skip(f"{error.message}: {error.hint}")
    with speaking(language) as own:
        recorder = Recorder(own)
    with speaking(language, recorder):
        run = load_run(folder)
        shown = view(run)
        assert "</html>" in html.render([shown])
        assert markdown.render([shown], [None])
    return sorted(recorder.lacking - set(run.trials["runtime"]))


@pytest.mark.parametrize("language", OTHERS)
def test_no_label_of_a_report_is_left_in_english(language: str, tmp_path: Path) -> None:
    fail = {33: (Outcome.FAILED, "no reply"), 34: (Outcome.TIMEOUT, "no READY")}
    plan = Plan(runtimes=(*QUICK, "docker,network=none"), fail=fail)
    assert lacking(language, make_run(tmp_path / "run", plan)) == []


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_of_an_imported_run_is_left_in_english(language: str, tmp_path: Path) -> None:
    times = [0.011 + n / 1000 for n in range(8)]
    result = {"times": times, "exit_codes": [1, *[0] * 7], "memory_usage_byte": [4096] * 8}
    file = tmp_path / "given.json"
    file.write_text(json.dumps({"results": [{"command": n, **result} for n in ("true", "ls")]}))
    folder, _ = import_file(file, tmp_path / "runs")
    assert lacking(language, folder) == []
    stored, other = load_run(folder).manifest, from_pytest_benchmark
    noted = [other.ORDER, *other.UNKNOWN, *(guard["text"] for guard in stored["guards"])]
    noted += [stored["imported"]["order"], *stored["imported"]["unknown"]]
    with speaking(language):
        assert [text for text in noted if recorded(text) == text] == []


@pytest.mark.parametrize("language", OTHERS)
def test_no_word_that_is_explained_is_left_in_english(language: str) -> None:
    with speaking(language) as own:
        recorder = Recorder(own)
    with speaking(language, recorder):
        every = [words.word(kind, name) for kind, names in words.known().items() for name in names]
        console = Console(file=StringIO())
        console.print(explained(every), listing(words.known()))
    assert len(every) > 150
    assert recorder.lacking == set()


@pytest.mark.slow
@pytest.mark.parametrize("language", OTHERS)
def test_no_claim_on_shipped_runs_is_left_in_english(language: str) -> None:
    runs = [load_run(folder) for folder in REFERENCES]
    with speaking(language) as own:
        recorder = Recorder(own)
    with speaking(language, recorder):
        answers = answer(declared.read(), runs)
        Console(file=StringIO()).print(terminal(answers, every=True))
    assert recorder.lacking == set()


@pytest.mark.slow
@pytest.mark.parametrize("language", OTHERS)
@pytest.mark.parametrize("folder", REFERENCES, ids=lambda folder: folder.name)
def test_no_label_of_a_shipped_run_is_left_in_english(language: str, folder: Path) -> None:
    assert lacking(language, folder) == []


def test_without_a_font_there_is_a_sentence_and_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(font_manager, "get_font_names", lambda: ["DejaVu Sans"])
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    assert families() == ["DejaVu Sans"]
    with speaking("zh"), pytest.raises(HarnessError) as refused:
        families()
    assert "no font with Chinese letters" in refused.value.message
    assert "apt install fonts-wqy-microhei" in refused.value.hint
