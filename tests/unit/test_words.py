"""Every metric, mark, guard and runtime can be explained, and a slip of the pen finds its word."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from harness import registry
from harness.analysis import words
from harness.analysis.language import speaking
from harness.cli import app
from harness.errors import UsageError
from harness.metrics import METRICS
from harness.model import Mark

HARNESS = Path(words.__file__).parent.parent


def guards() -> Iterator[str]:
    """The names that guards have in the code, `pressure_` being the beginning of three."""
    for name in ("probes/guards.py", "probes/course.py", "analysis/conditions.py"):
        path = HARNESS / name
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "Guard":
                continue
            told = [k.value for k in call.keywords if k.arg == "name"] or call.args[:1]
            for node in told:
                if isinstance(node, ast.JoinedStr):
                    node = node.values[0]
                if isinstance(node, ast.Constant):
                    yield str(node.value)


def test_every_metric_mark_guard_and_runtime_has_its_sentences() -> None:
    names = [n for n in registry.names() if n != "fake"]
    found = {*guards(), "pressure_cpu"}
    assert len(found) > 20
    wanted = {
        "metric": set(METRICS), "mark": {each.value for each in Mark},
        "guard": {"pressure" if n.startswith("pressure") else n for n in found},
        "runtime": set(names),
    }  # fmt: skip
    known = words.known()
    for kind, own in wanted.items():
        assert own - set(known[kind]) == set(), kind
        for each in own:
            found_word = words.word(kind, each)
            assert all((found_word.what, found_word.how, found_word.not_told, found_word.title))


def test_an_entry_says_only_what_is_its_own_and_has_the_rest_of_its_family() -> None:
    (cpu,) = words.explain("startup.cpu")
    (ready,) = words.explain("startup.ready")
    assert cpu.how != ready.how
    assert cpu.lesson == ready.lesson == 2
    assert words.word("guard", "swapped_pages").what != words.word("guard", "swap").what


def test_a_runtime_may_come_with_its_parameters_and_a_word_has_two_meanings() -> None:
    assert [w.name for w in words.explain("docker,network=none")] == ["docker"]
    assert [w.kind for w in words.explain("kernel")] == ["mark"]
    assert {w.kind for w in words.explain("canary")} == {"guard"}


@pytest.mark.parametrize(
    ("name", "near"),
    [("redy", "ready"), ("startup.redy", "startup.ready"), ("dokcer", "docker")],
)
def test_an_unknown_word_is_told_with_the_nearest(name: str, near: str) -> None:
    with pytest.raises(UsageError) as refused:
        words.explain(name)
    assert near in refused.value.hint
    with pytest.raises(UsageError) as lost:
        words.explain("qqqqqq")
    assert "lists all" in lost.value.hint


def test_the_command_says_it_in_both_languages_and_as_json() -> None:
    told = CliRunner().invoke(app, ["explain", "memory.rss"]).stdout
    assert "counted once a process" in " ".join(told.split())
    assert max(map(len, told.splitlines())) <= 80
    assert "监牢" in CliRunner().invoke(app, ["explain", "chroot", "--lang", "zh"]).stdout
    (entry,) = json.loads(CliRunner().invoke(app, ["explain", "ksm", "--json"]).stdout)
    assert entry["kind"] == "guard"
    assert "startup.ready" in CliRunner().invoke(app, ["explain"]).stdout


def test_no_sentence_is_left_in_english() -> None:
    for kind, names in words.known().items():
        for name in names:
            english = words.word(kind, name)
            with speaking("zh"):
                chinese = words.word(kind, name)
            assert english.how != chinese.how
            assert english.not_told != chinese.not_told
            assert kind == "metric" or english.what != chinese.what
