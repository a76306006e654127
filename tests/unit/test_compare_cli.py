"""`tarebench compare` as a user and a CI service meet it."""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.cli import main
from harness.exchange.importing import import_file
from harness.report.comparison import amount, change
from tests.command import Place, Said
from tests.synthetic import Plan, make_run
from tests.unit.test_compare import edited, few, keep, scaled

HOSTILE = "<script>alert(1)</script>|`x`\x1b[2J\x07]]>&\u202e"
PLAN = Plan(runtimes=("crun", "docker"), blocks=12, phases=False, memory=False)
Keys = set[str]


@dataclass(frozen=True)
class Runs:
    """Three stored runs: a base, another of the same, and one in which docker takes 1.6 times
    as long to be ready."""

    base: Path
    same: Path
    slower: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    folder = tmp_path_factory.mktemp("runs")
    made = [
        edited(make_run(folder / name, Plan(**{**vars(PLAN), "seed": seed})), keep, few)
        for name, seed in (("base", 1), ("same", 2), ("slower", 2))
    ]
    edited(made[2], keep, scaled(1.6, "docker", "startup.ready"))
    return Runs(*made)


Compare = Callable[..., Said]


@pytest.fixture
def compare(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Compare:
    """The command in this process: its exit code and what it printed."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["tarebench", "compare", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return Said(int(str(ended.value.code)), said.out, said.err)

    return run


def test_the_table_is_for_people(compare: Compare, runs: Runs) -> None:
    said = compare(runs.base, runs.slower)
    assert said.status == 0
    assert said.err == ""
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 100
    (row,) = (line for line in lines if line.split()[:1] == ["docker"])
    assert row.split()[-1] in ("worse", "¹")
    assert "×" in row or "%" in row
    assert "not in these intervals" in " ".join(said.out.split())
    assert "No recorded condition differs." in said.out
    assert "--all shows them" in said.out
    assert not any(line.startswith("startup.cpu") for line in lines)
    everything = compare(runs.base, runs.slower, "--all").out.splitlines()
    assert any(line.startswith("startup.cpu") for line in everything)


def test_json_is_what_the_design_says(compare: Compare, runs: Runs) -> None:
    said = compare(runs.base, runs.slower, "--json", "--fail-if", "startup.ready[docker] > +10%")
    assert said.status == 1
    told = json.loads(said.out)
    asked = {"metric", "runtime", "base", "new", "ratio", "low", "high", "p", "verdict", "guards"}
    assert all(asked <= set(c) for c in told["comparisons"])
    (docker,) = (c for c in told["comparisons"] if (c["metric"], c["runtime"]) ==
                 ("startup.ready", "docker"))  # fmt: skip
    assert docker["verdict"] == "worse"
    assert docker["ratio"] == pytest.approx(docker["new"] / docker["base"])
    assert docker["low"] < docker["ratio"] < docker["high"]
    assert 0.1 < docker["base"] < 0.4, "seconds"
    assert docker["guards"] == []
    (gate,) = told["expressions"]
    assert gate["outcome"] == "holds"


def test_what_an_expression_decides_is_the_exit_code(compare: Compare, runs: Runs) -> None:
    gate = ("--fail-if", "startup.ready[docker] > +10%")
    assert compare(runs.base, runs.slower, *gate).status == 1
    same = compare(runs.base, runs.same, "--fail-if", "startup.ready[docker] > +100%")
    assert same.status == 0
    assert "ok " in same.out
    undecided = compare(runs.base, runs.same, "--fail-if", "startup.ready[docker] > +1%")
    assert undecided.status == 0
    assert "undecided" in undecided.out
    both = compare(runs.base, runs.slower, "--fail-if", "startup.ready[crun] > +100%", *gate)
    assert both.status == 1
    assert "FAIL" in both.out


def test_a_limit_that_was_exceeded_names_the_unlike_conditions(
    compare: Compare, runs: Runs, tmp_path: Path
) -> None:
    moved = Plan(**{**vars(PLAN), "seed": 2, "host": {"cpu_model": "Another CPU"}})
    new = edited(make_run(tmp_path / "moved", moved), keep, scaled(1.6, "docker", "startup.ready"))
    said = compare(runs.base, new, "--fail-if", "startup.ready[docker] > +10%")
    assert said.status == 1
    assert "although unlike in cpu" in " ".join(said.out.split())


def test_what_another_tool_measured_is_compared_too(compare: Compare, tmp_path: Path) -> None:
    dice = random.Random(1)
    folders = []
    for name, seconds in (("old", 0.100), ("new", 0.150)):
        times = [dice.gauss(seconds, 0.004) for _ in range(20)]
        result = {"command": "sleep 0.1, b", "times": times, "exit_codes": [0] * 20}
        (tmp_path / f"{name}.json").write_text(json.dumps({"results": [result]}))
        folders.append(import_file(tmp_path / f"{name}.json", tmp_path, tmp_path / name)[0])
    said = compare(*folders, "--json", "--fail-if", 'imported.wall["sleep 0.1, b"] > +10%')
    assert said.status == 1, said.err
    (comparison,) = json.loads(said.out)["comparisons"]
    assert comparison["verdict"] == "worse"
    assert "imported" in comparison["guards"]


def test_several_new_runs_are_each_compared(compare: Compare, runs: Runs) -> None:
    told = json.loads(compare(runs.base, runs.same, runs.slower, "--json").out)
    assert {c["new_run"] for c in told["comparisons"]} == {"same", "slower"}
    assert {c["base_run"] for c in told["comparisons"]} == {"base"}
    assert "NEW 2" in compare(runs.base, runs.same, runs.slower).out


def test_a_run_beside_itself(compare: Compare) -> None:
    said = compare("demo", "demo/quick", "--json", "--fail-if", "startup.ready[docker] > +10%")
    assert said.status == 0
    verdicts = {c["verdict"] for c in json.loads(said.out)["comparisons"]}
    assert verdicts <= {"equivalent", "no_conclusion"}


def test_reference_runs_that_share_little(compare: Compare) -> None:
    said = compare("demo/quick", "demo/docker")
    assert said.status == 0
    assert "Left out" in said.out


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("--fail-if", "startup.ready[docker > +10%"), "character 22", "for example"),
        (("--fail-if", "startup.redy > +10%"), "startup.redy", "did you mean startup.ready?"),
        (("--fail-if", "startup.ready[kvm] > +10%"), "kvm", "docker"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    compare: Compare, runs: Runs, arguments: tuple[str, ...], message: str, hint: str
) -> None:
    said = compare(runs.base, runs.same, *arguments)
    assert said.status == 2
    assert said.out == ""
    sentence, *_, last = said.err.splitlines()
    assert message in sentence
    assert last.startswith("  hint: ")
    assert hint in last


def test_the_caret_is_printed_below_the_expression(compare: Compare, runs: Runs) -> None:
    _, shown, caret, _ = compare(runs.base, runs.same, "--fail-if", "a > 5").err.splitlines()
    assert shown == "    a > 5"
    assert caret.index("^") == len(shown)


def test_a_torn_journal_is_still_compared_and_the_loss_counted(
    compare: Compare, runs: Runs, tmp_path: Path
) -> None:
    torn = edited(make_run(tmp_path / "torn", PLAN), keep, few)
    lines = (torn / "journal.jsonl").read_bytes().splitlines(keepends=True)
    middle = len(lines) // 2
    text = b"".join([*lines[:middle], b'{"trial": "9', b"\n", *lines[middle + 1 :]])
    (torn / "journal.jsonl").write_bytes(text[: -len(lines[-1]) // 2])
    said = compare(runs.base, torn, "--json")
    assert said.status == 0
    told = json.loads(said.out)
    assert len(told["comparisons"]) == 6
    (note,) = told["runs"][0]["notes"]
    assert "line" in note
    assert "left out" in note


@pytest.mark.parametrize("damage", ["newer", "no manifest", "nothing"])
def test_a_run_that_cannot_be_read_is_said_and_the_others_compared(
    compare: Compare, runs: Runs, tmp_path: Path, damage: str
) -> None:
    bad = make_run(tmp_path / "bad", PLAN)
    if damage == "newer":
        edited(bad, lambda m: m.update(schema=99))
    elif damage == "no manifest":
        (bad / "manifest.json").unlink()
    else:
        bad = tmp_path / "nowhere"
    alone = compare(runs.base, bad)
    assert alone.status == 2
    assert alone.out == ""
    assert [line[:10] for line in alone.err.splitlines()] == ["tarebench:", "  hint: ta"] or (
        "  hint: " in alone.err
    )
    both = compare(runs.base, runs.same, bad, "--json")
    assert both.status == 2
    told = json.loads(both.out)
    assert told["unreadable"] == [str(bad)]
    assert {c["new_run"] for c in told["comparisons"]} == {"same"}


def test_runs_with_nothing_in_common(compare: Compare, runs: Runs, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other", Plan(("runc",), blocks=2, phases=False, memory=False))
    said = compare(runs.base, other)
    assert said.status == 2
    sentence, hint = said.err.splitlines()
    assert "in common" in sentence
    assert "of runc" in hint


def hostile(manifest: dict[str, Any]) -> None:
    manifest["run"] = HOSTILE
    manifest["host"]["kernel"] = HOSTILE
    manifest["guards"].append(
        {"name": HOSTILE, "value": HOSTILE, "severity": "warn", "text": HOSTILE}
    )


def test_hostile_text_stays_text_everywhere(compare: Compare, runs: Runs, tmp_path: Path) -> None:
    def dimension(record: dict[str, Any]) -> None:
        few(record)
        for sample in record["samples"]:
            sample["dimensions"] = {HOSTILE: HOSTILE}

    pair = [
        edited(make_run(tmp_path / name, Plan(**{**vars(PLAN), "seed": n})), change, dimension)
        for n, (name, change) in enumerate((("one", keep), ("two", hostile)))
    ]
    xml, page = tmp_path / "c.xml", tmp_path / "c.md"
    text = "startup.ready > +500%"
    said = compare(*pair, "--junit", xml, "--markdown", page, "--fail-if", text)
    assert said.status == 0, said.err
    for shown in (said.out, said.err):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202e]", shown)
    assert "<script>" in "".join(ElementTree.parse(xml).getroot().itertext())
    markdown = page.read_text()
    assert "<script>" not in markdown
    assert "\x1b" not in markdown
    rows = [line for line in markdown.splitlines() if line.startswith("| ") and "crun" in line]
    assert rows
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 8 for row in rows)


# What the schema that Jenkins checks such files with allows (junit-10.xsd).
ALLOWED: dict[str, tuple[Keys, Keys, Keys]] = {
    "testsuites": ({"name", "time", "tests", "failures", "errors", "disabled", "skipped"}, set(),
                   {"testsuite"}),
    "testsuite": ({"name", "tests", "failures", "errors", "group", "time", "skipped", "timestamp",
                   "hostname", "id", "package", "file", "log", "url", "version"},
                  {"name", "tests", "failures", "errors"},
                  {"testsuite", "properties", "testcase", "system-out", "system-err"}),
    "properties": (set(), set(), {"property"}),
    "property": ({"name", "value"}, {"name", "value"}, set()),
    "testcase": ({"classname", "name", "time", "status", "assertions", "class", "file", "line",
                  "log", "group", "url"}, {"classname", "name"},
                 {"skipped", "error", "failure", "rerunFailure", "flakyFailure", "system-out",
                  "system-err"}),
    "skipped": ({"type", "message"}, set(), set()),
    "failure": ({"type", "message"}, set(), set()),
    "system-out": (set(), set(), set()),
}  # fmt: skip


def assert_is_junit(element: ElementTree.Element) -> None:
    attributes, needed, children = ALLOWED[element.tag]
    assert needed <= set(element.attrib) <= attributes
    assert {child.tag for child in element} <= children
    for child in element:
        assert_is_junit(child)


def test_the_junit_file_says_what_the_exit_code_says(
    compare: Compare, runs: Runs, tmp_path: Path
) -> None:
    path = tmp_path / "c.xml"
    gates = ("startup.ready[docker] > +10%", "startup.ready[crun] > +100%", "startup.cpu > +1%")
    said = compare(runs.base, runs.slower, "--junit", path,
                   *(word for text in gates for word in ("--fail-if", text)))  # fmt: skip
    assert said.status == 1
    root = ElementTree.parse(path).getroot()
    assert_is_junit(root)
    first, second = root.findall("testsuite")
    assert [first.get(key) for key in ("tests", "failures", "skipped")] == ["3", "1", "1"]
    (failed,) = root.findall(".//failure")
    assert "docker" in str(failed.get("message"))
    assert second.get("failures") == "0"
    assert second.get("tests") == "6"
    assert root.get("tests") == "9"
    compare(runs.base, runs.slower, "--junit", path)
    assert ElementTree.parse(path).getroot().get("failures") == "0"


def test_the_page_opens_with_the_answer(compare: Compare, runs: Runs, tmp_path: Path) -> None:
    page = tmp_path / "c.md"
    compare(runs.base, runs.slower, "--markdown", page, "--fail-if", "startup.ready > +10%")
    lines = page.read_text().splitlines()
    assert lines[0] == "## tarebench compare"
    assert lines[2].startswith("- ❌ `startup.ready > +10%` holds for docker")


def test_a_place_that_cannot_be_written_is_an_error(compare: Compare, runs: Runs) -> None:
    said = compare(runs.base, runs.same, "--junit", "/proc/nowhere/c.xml")
    assert said.status == 1
    assert "could not be written" in said.err


def test_the_real_command(runs: Runs, tmp_path: Path) -> None:
    said = Place(tmp_path).tarebench("compare", runs.base, runs.slower)
    assert said.status == 0, said.err
    assert "startup.ready" in said.out


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(1.0, "0.0 %"), (1.0951, "+9.5 %"), (0.9, "\N{MINUS SIGN}10.0 %"), (7.44, "7.44 ×"),
     (0.25, "0.250 ×"), (2.0, "2.00 ×")],
)  # fmt: skip
def test_a_ratio_is_told_as_a_change(ratio: float, text: str) -> None:
    assert change(ratio) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(1.25e9, "1/s", "1.25 G/s"), (80_460, "1/s", "80.5 k/s"), (3526, "1/s", "3526/s"),
     (0.02, "s", "20.0 ms"), (None, "1/s", "–")],
)  # fmt: skip
def test_a_large_rate_is_short(value: float | None, unit: str, text: str) -> None:
    assert amount(value, unit) == text
