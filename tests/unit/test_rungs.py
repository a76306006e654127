"""The ladder's rungs: one tree, told strictly."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import scenario
from harness.errors import ScenarioError, UsageError
from harness.rungs import Rung, check

HEAD = 'name = "t"\ntitle = "t"\nquestion = "?"\n[experiments.ladder]\n'


def rung(name: str, over: str | None = None, without: str | None = None) -> Rung:
    return Rung(name=name, runtime=f"{name}-box", over=over, without=without)


def test_a_tree_with_branches_and_a_mechanism_left_out_is_right() -> None:
    check([rung("a"), rung("b", "a"), rung("c", "a"), rung("no b", "b", without="a")])


@pytest.mark.parametrize(
    ("rungs", "told"),
    [
        ([rung("a"), rung("b", "nowhere")], "'b' stands over 'nowhere', which is no rung"),
        ([rung("a"), rung("b", "c"), rung("c", "b")], "stands over itself"),
        ([rung("a", "a"), rung("b", "a")], "it is none"),
        ([rung("a"), rung("b")], "'a' and 'b'"),
        ([rung("a"), rung("a", "a")], "two rungs have the name 'a'"),
        ([rung("a"), rung("b", "a", without="c"), rung("c", "a")], "without 'c'"),
        (
            [rung("a"), rung("no a", "a", without="a"), rung("b", "no a")],
            "stands over one that leaves something out",
        ),
    ],
)
def test_what_is_no_tree_is_named(rungs: list[Rung], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        check(rungs)


def write(folder: Path, *rungs: tuple[str, str, str]) -> str:
    parts = [
        f'[[experiments.ladder.rungs]]\nname = "{name}"\nruntime = "{runtime}"\n'
        + (f'over = "{over}"\n' if over else "")
        for name, runtime, over in rungs
    ]
    path = folder / "t.toml"
    path.write_text(HEAD + "\n".join(parts))
    return str(path)


def test_runtimes_follow_from_the_rungs_in_canonical_form(tmp_path: Path) -> None:
    path = write(tmp_path, ("a", "bare", ""), ("b", "spawn,with=none,ns=pid+mount", "a"))
    found = scenario.load(path)
    assert found.runtimes == ["bare", "spawn,ns=mount+pid"]
    assert found.experiments.ladder is not None
    assert found.experiments.ladder.rungs[1].runtime == "spawn,ns=mount+pid"
    assert scenario.load(path, runtimes=["bare"]).runtimes == ["bare"]


def test_one_runtime_in_two_spellings_is_one_rung(tmp_path: Path) -> None:
    path = write(tmp_path, ("a", "spawn,ns=uts+ipc", ""), ("b", "spawn,ns=ipc+uts", "a"))
    with pytest.raises(ScenarioError, match="two rungs have the runtime 'spawn,ns=uts\\+ipc'"):
        scenario.load(path)


def test_a_fault_in_the_file_names_its_place(tmp_path: Path) -> None:
    path = write(tmp_path, ("a", "bare", ""), ("b", "spawn", "c"))
    with pytest.raises(ScenarioError, match=r"experiments\.ladder: rung 'b' stands over 'c'"):
        scenario.load(path)
    with pytest.raises(UsageError, match="'mont' is not a value of ns of spawn"):
        scenario.load(write(tmp_path, ("a", "bare", ""), ("b", "spawn,ns=mont", "a")))


def test_a_scenario_without_any_runtime_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text('name = "t"\ntitle = "t"\nquestion = "?"\n[experiments.startup]\n')
    with pytest.raises(ScenarioError, match="runtimes: none is named"):
        scenario.load(str(path))


def test_the_shipped_ladder_stands() -> None:
    found = scenario.load("ladder")
    ladder = found.experiments.ladder
    assert ladder is not None
    assert set(found.runtimes) >= {rung.runtime for rung in ladder.rungs}
    assert {rung.without for rung in ladder.rungs} > {"chroot", "control group", "capabilities"}
