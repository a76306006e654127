"""The language of --fail-if: what it reads, and where it says that it cannot."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.analysis.expression import ExpressionError, parse, same_runtime

words = st.from_regex(r"[a-z_][a-z0-9_-]{0,7}", fullmatch=True)
metrics = st.lists(words, min_size=1, max_size=3).map(".".join)
blanks = st.sampled_from(["", " ", "  ", "\t"])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
changes = st.decimals(min_value=-100, max_value=1000, places=2)


@given(
    metric=metrics,
    runtime=st.none() | words,
    parameters=st.dictionaries(words, words, max_size=3),
    dimensions=st.dictionaries(words, texts, max_size=3),
    above=st.booleans(),
    change=changes,
    blank=blanks,
)
def test_whatever_is_written_by_the_grammar_is_read_back(
    metric: str,
    runtime: str | None,
    parameters: dict[str, str],
    dimensions: dict[str, str],
    above: bool,
    change: object,
    blank: str,
) -> None:
    name = None
    if runtime is not None:
        name = ",".join([runtime, *(f"{key}={value}" for key, value in parameters.items())])
    pairs = [f"{key}={_quoted(value)}" for key, value in dimensions.items()]
    parts = [metric]
    parts += [f"[{name}]"] if name is not None else []
    parts += ["{", ",".join(pairs), "}"] if pairs else []
    parts += [">" if above else "<", f"{change:+}", "%"]
    found = parse(blank.join(parts))
    assert (found.metric, found.runtime, found.above) == (metric, name, above)
    assert found.dimensions == dimensions
    assert found.limit == pytest.approx(1 + float(str(change)) / 100)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@given(st.text(max_size=80) | st.text(alphabet='startup.[]{}"=,<>+-%10 \\', max_size=40))
def test_any_text_is_read_or_refused_at_a_place(text: str) -> None:
    error = refusal(text)
    if error is None:
        return
    assert 0 <= error.position <= len(text)
    sentence, shown, caret = error.message.splitlines()
    assert f"at character {error.position + 1}:" in sentence
    assert caret.strip() == "^"
    assert len(shown) <= 64
    assert error.hint


def refusal(text: str) -> ExpressionError | None:
    try:
        parse(text)
    except ExpressionError as error:
        return error
    return None


@pytest.mark.parametrize(
    ("text", "position", "wanted"),
    [
        ("", 0, "a metric was expected"),
        ("startup.ready[docker > +10%", 21, "not closed by ]"),
        ("startup.ready[] > 10%", 14, "a runtime's name"),
        ("startup.ready[docker,network] > 10%", 28, "no value"),
        ("startup.ready[docker] >= 10%", 23, "no >= or <="),
        ("startup.ready[docker] + 10%", 22, "> or < was expected"),
        ("startup.ready[docker] > 10", 26, "not a percentage"),
        ("startup.ready[docker] > much", 24, "a change in percent"),
        ("startup.ready < -101%", 16, "more than 100 %"),
        ("startup.ready > 1% and more", 19, "nothing more"),
        ("io.x{depth=1,depth=2} > 1%", 13, "given twice"),
        ('io.x{rung="Docker > 1%', 10, "quotation mark"),
        ("io.x{depth=16 > 1%", 14, "not closed by }"),
        ("__import__('os') > 1%", 10, "> or < was expected"),
    ],
)
def test_the_caret_stands_at_the_fault(text: str, position: int, wanted: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert caught.value.position == position
    sentence, shown, caret = caught.value.message.splitlines()
    assert wanted in sentence
    assert shown == f"    {text}"
    assert caret.index("^") == 4 + position


def test_the_caret_allows_for_wide_letters_and_hides_what_a_terminal_obeys() -> None:
    with pytest.raises(ExpressionError) as caught:
        parse('x{k="启动\x1b[2J" > 1%')
    _, shown, caret = caught.value.message.splitlines()
    assert "\x1b" not in shown
    assert caret.index("^") == 4 + caught.value.position + 2  # two letters are two columns wide


def test_a_minus_sign_that_was_copied_from_a_table_is_a_minus() -> None:
    assert parse("io.randread.iops < −5 %").limit == pytest.approx(0.95)


def test_a_runtime_of_another_tool_is_a_command_in_quotes() -> None:
    found = parse(r'imported.wall["sh -c \"sleep 0.1, a=b\" [x]"] > +5%')
    assert found.runtime == 'sh -c "sleep 0.1, a=b" [x]'
    assert found.selects("imported.wall", 'sh -c "sleep 0.1, a=b" [x]', {})


def test_a_runtime_is_the_same_whatever_the_order_of_its_parameters() -> None:
    assert same_runtime("docker,client=cli,network=none", "docker,network=none,client=cli")
    assert not same_runtime("docker", "docker,network=none")
    found = parse("startup.ready[docker,network=none]{regime=cold} > 1%")
    assert found.selects("startup.ready", "docker,network=none", {"regime": "cold", "n": "1"})
    assert not found.selects("startup.ready", "docker,network=none", {})
    assert not found.selects("startup.ready", "docker", {"regime": "cold"})
    assert parse("startup.ready > 1%").selects("startup.ready", "crun", {})
