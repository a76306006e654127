"""Scenarios are read strictly: each fault is named with its place and what would be right."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness import scenario
from harness.errors import HarnessError, ScenarioError, UsageError
from harness.model import MIB, Limits
from harness.scenario import Scenario, ScenarioFile, available, find, load
from harness.settings import Parallel

GOOD = """
name = "mine"
title = "A title"
question = "A question?"
runtimes = ["bare", "runc"]
workload = "hello"
blocks = 3
[limits]
cpus = 1
memory = "128 MiB"
[experiments.startup]
[experiments.memory]
[thresholds]
"startup.ready" = { ratio = 1.1 }
"""


def loaded(folder: Path, text: str, *overrides: str, **more: Any) -> Scenario:
    path = folder / "mine.toml"
    path.write_text(text)
    return load(str(path), settings=overrides, **more)


def refused(folder: Path, text: str, *overrides: str) -> HarnessError:
    with pytest.raises(UsageError) as caught:
        loaded(folder, text, *overrides)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message
    assert caught.value.hint
    return caught.value


def test_good_scenario_is_resolved(tmp_path: Path) -> None:
    found = loaded(tmp_path, GOOD)
    assert found.runtimes == ["bare", "runc"]
    assert found.limits == Limits(cpus=1, memory_bytes=128 * MIB)
    assert found.workload.argv[0] == "/usr/bin/echo"
    assert list(found.experiments.chosen()) == ["startup", "memory"]
    assert (found.blocks, found.warmup_blocks) == (3, 1)


def test_parallel_may_be_a_number(tmp_path: Path) -> None:
    found = loaded(tmp_path, GOOD, "parallel=3").experiments.chosen()
    assert found["parallel"] == Parallel(launchers=3)
    table = loaded(tmp_path, GOOD + "[experiments.parallel]\nlaunchers = 2", "launches=9")
    assert table.experiments.chosen()["parallel"] == Parallel(launchers=2, launches=9)
    assert "experiments.parallel" in refused(tmp_path, GOOD, "parallel=0").message


@pytest.mark.parametrize("name", sorted(available()))
def test_shipped_scenarios_are_valid(name: str) -> None:
    found = load(name)
    assert found.name == name
    assert found.question.endswith("?")


def test_overrides(tmp_path: Path) -> None:
    found = loaded(tmp_path, GOOD, runtimes=["runc", "bare,cgroup=off", "runc"], blocks=7)
    assert found.runtimes == ["runc", "bare"]
    assert found.blocks == 7


# ---------------------------------------------------------------- faults in the file

FAULTS = [
    ("blocks = 3", "bloks = 3", "unknown field `bloks`", "did you mean blocks?"),
    ("cpus = 1", "cpu = 1", "limits: object contains unknown field `cpu`", "did you mean cpus?"),
    ("blocks = 3", "zzzzzz = 3", "unknown field `zzzzzz`", "known keys: "),
    ("blocks = 3", 'blocks = "3"', "blocks: expected `int`, got `str`", ""),
    ("blocks = 3", "blocks = 3.5", "blocks: expected `int`, got `float`", ""),
    ("blocks = 3", "blocks = true", "blocks: expected `int`", ""),
    ("blocks = 3", "blocks = 0", "blocks: expected `int` >= 1", ""),
    ("blocks = 3", "blocks = 10001", "blocks: expected `int` <= 10000", ""),
    ("blocks = 3", "warmup_blocks = -1", "warmup_blocks: expected `int` >= 0", ""),
    ('title = "A title"', "", "missing required field `title`", ""),
    ('name = "mine"', 'name = "Mine!"', "name: expected `str` matching", ""),
    ('["bare", "runc"]', '"bare"', "runtimes: expected `array`, got `str`", ""),
    ('["bare", "runc"]', "[]", "runtimes: none is named", "for example"),
    ('["bare", "runc"]', '["bare", 7]', "runtimes[1]: expected `str`, got `int`", ""),
    ('["bare", "runc"]', '["bare", "runk"]', "no runtime 'runk'", "did you mean runc?"),
    ('["bare", "runc"]', '["bare,cgroup=x"]', "'x' is not a value of cgroup", "on, off"),
    ("cpus = 1", "cpus = 0", "limits.cpus: expected `float` >= 0.01", ""),
    ("cpus = 1", "cpus = 0.001", "limits.cpus: expected `float` >= 0.01", ""),
    ("cpus = 1", "cpus = inf", "limits.cpus: expected `float` <= 4096", ""),
    ("cpus = 1", "cpus = -1.0", "limits.cpus", ""),
    ("cpus = 1", "cpus = nan", "limits.cpus", ""),
    ("cpus = 1", "pids = 0", "limits.pids: expected `int` >= 1", ""),
    ("cpus = 1", "pids = 4194305", "limits.pids: expected `int` <= 4194304", ""),
    ('"128 MiB"', '"128 MB of it"', "limits.memory: '128 MB of it' is not a size", "128 MiB"),
    ('"128 MiB"', '"-1 MiB"', "is not a size", "128 MiB"),
    ('"128 MiB"', '"1 MiB"', "limits.memory: 1048576 bytes is less", "at least 16 MiB"),
    ('"128 MiB"', "4096", "limits.memory: 4096 bytes is less", "at least 16 MiB"),
    ('"128 MiB"', "0", "limits.memory: expected `int` >= 1", ""),
    ('"128 MiB"', "true", "limits.memory: expected", ""),
    ('"128 MiB"', '"5000 TiB"', "limits.memory: '5000 TiB' is more than any host has", ""),
    ('"128 MiB"', f'"{"9" * 400} GiB"', "is more than any host has", ""),
    ('"128 MiB"', "9" * 30, "is more than any host has", ""),
    ('"hello"', '"helo"', "workload: there is no workload 'helo'", "hello"),
    ('"hello"', "{ argv = [] }", "workload", ""),
    ('"hello"', '{ argv = ["echo"] }', "workload.argv: 'echo' is not an absolute path", "/usr"),
    ('"hello"', r'{ argv = ["/bin/a\u0000b"] }', "NUL byte", ""),
    ('"hello"', '{ argv = ["/bin/a"], uid = -1 }', "workload", ""),
    ('"hello"', '{ argv = ["/bin/a"], timeout_s = 0 }', "workload", ""),
    ("[experiments.memory]", "[experiments.memry]", "unknown field `memry`", "memory"),
    (
        "[experiments.startup]",
        '[experiments.startup]\nregime = "tepid"',
        "experiments.startup.regime: expected something else than 'tepid'",
        "choose from warm, cold",
    ),
    (
        "[experiments.memory]",
        "[experiments.memory]\ninstances = 1",
        "experiments.memory.instances: expected `int` >= 2",
        "",
    ),
    (
        "[experiments.memory]",
        '[experiments.memory]\nstates = ["idle", "toched"]',
        "experiments.memory.states[1]: expected something else than 'toched'",
        "did you mean touched?",
    ),
    (
        "[experiments.memory]",
        '[experiments.memory]\nstates = ["busy"]',
        "experiments.memory.states[0]: expected something else than 'busy'",
        "choose from idle, touched, freed, ballooned, cache",
    ),
    (
        "[experiments.memory]",
        '[experiments.memory]\nstates = ["idle", "freed"]',
        'experiments.memory: "freed" in states needs "touched" before it',
        "",
    ),
    (
        "[experiments.memory]",
        "[experiments.memory]\nstates = []",
        "experiments.memory.states: expected `array` of length >= 1",
        "",
    ),
    (
        "[experiments.memory]",
        '[experiments.memory]\nstates = ["idle", "touched"]\ntouched = "128 MiB"',
        "experiments.memory.touched: no instance can hold 128 MiB within limits.memory (128 MiB)",
        "the limit larger",
    ),
    (
        "[experiments.memory]",
        '[experiments.density]\ntouched = "1 GiB"',
        "experiments.density.touched: no instance can hold 1 GiB within limits.memory (128 MiB)",
        "make it smaller",
    ),
    (
        "[experiments.memory]",
        '[experiments.memory]\ntouched = "much"',
        "experiments.memory: 'much' is not a size",
        "",
    ),
    (
        "[experiments.memory]",
        '[experiments.memory]\nread = "0 MiB"',
        "experiments.memory: read must be more than nothing",
        "",
    ),
    ('"startup.ready"', '"startup.redy"', "there is no metric 'startup.redy'", "startup.ready"),
    ("ratio = 1.1", "ratio = 1.0", "thresholds", ""),
    ("ratio = 1.1", "ratio = nan", "thresholds", ""),
    ("ratio = 1.1", "margin = 1.1", "unknown field `margin`", ""),
    ("blocks = 3", "blocks = ", "is not valid TOML", ""),
    ("blocks = 3", "blocks = 1979-05-27", "blocks: expected `int`", ""),
    ("blocks = 3", f"x = {'[' * 5000}", "is not valid TOML", ""),
]


@pytest.mark.parametrize(("right", "wrong", "message", "hint"), FAULTS)
def test_fault_is_named_with_its_place(
    tmp_path: Path, right: str, wrong: str, message: str, hint: str
) -> None:
    assert right in GOOD
    error = refused(tmp_path, GOOD.replace(right, wrong, 1))
    assert message in error.message
    assert hint in error.hint
    assert error.message.startswith("mine.toml") or "runtime" in error.message or "of" in error.hint


def test_scenario_without_an_experiment_is_refused(tmp_path: Path) -> None:
    text = GOOD.replace("[experiments.startup]\n[experiments.memory]", "[experiments]")
    assert "experiments: none is named" in refused(tmp_path, text).message


def test_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ScenarioError, match=r"x\.toml is not valid TOML"):
        load(str(tmp_path / "x.toml"))


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("quik", "there is no scenario 'quik'", "did you mean quick?"),
        ("zzzz", "there is no scenario 'zzzz'", "quick"),
        ("absent.toml", "there is no scenario file absent.toml", "TOML"),
        ("./quick", "there is no scenario file ./quick", "TOML"),
        ("workloads", "there is no scenario 'workloads'", "quick"),
        ("", "there is no scenario ''", "quick"),
    ],
)
def test_scenario_that_is_not_there_is_named(name: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        find(name)
    assert message in caught.value.message
    assert hint in caught.value.hint


# ---------------------------------------------------------------- --set


def test_dotted_keys_are_set(tmp_path: Path) -> None:
    found = loaded(
        tmp_path, GOOD, "limits.cpus=0.5", "experiments.memory.instances = 4",
        'runtimes=["bare"]', 'title="Quoted, = and all"', "question=Bare words?",
    )  # fmt: skip
    assert found.limits.cpus == 0.5
    assert found.experiments.memory is not None
    assert found.experiments.memory.instances == 4
    assert found.runtimes == ["bare"]
    assert found.title == "Quoted, = and all"
    assert found.question == "Bare words?"


def test_bare_key_is_set_where_only_one_place_has_it(tmp_path: Path) -> None:
    found = loaded(tmp_path, GOOD, "cpus=2", "instances=3", "blocks=9")
    assert found.limits.cpus == 2
    assert found.experiments.memory is not None
    assert found.experiments.memory.instances == 3
    assert found.blocks == 9


def test_bare_key_means_the_only_table_that_is_there(tmp_path: Path) -> None:
    text = GOOD.replace("[experiments.memory]\n", "")
    found = loaded(tmp_path, text, "ready_timeout_s=5.0")
    assert found.experiments.startup is not None
    assert found.experiments.startup.ready_timeout_s == 5.0


@pytest.mark.parametrize(
    ("setting", "message", "hint"),
    [
        ("ready_timeout_s=5.0", "could mean several keys", "experiments.memory.ready_timeout_s"),
        ("memory=1GiB", "could mean several keys", "limits.memory"),
        ("cpus", "is not KEY=VALUE", "limits.cpus=2"),
        ("=2", "is not KEY=VALUE", "limits.cpus=2"),
        ("", "is not KEY=VALUE", "limits.cpus=2"),
        ("bloks=2", "unknown field `bloks`", "did you mean blocks?"),
        ("limits.cpus.x=2", "cpus is not a table", ""),
        ("workload.uid=0", "workload is not a table", ""),
        ("limits=3", "limits: expected `object`", ""),
        ("..=3", "unknown field", ""),
        ('cpus="two"', "limits.cpus: expected", ""),
        ("cpus=two", "limits.cpus: expected", ""),
        ("memory_bytes=3", "unknown field `memory_bytes`", "memory"),
        ("limits.memory=12 parsecs", "'12 parsecs' is not a size", "128 MiB"),
        (f"cpus={'[' * 5000}", "limits.cpus: expected", ""),
    ],
)
def test_wrong_setting_is_named(tmp_path: Path, setting: str, message: str, hint: str) -> None:
    error = refused(tmp_path, GOOD, setting)
    assert message in error.message
    assert hint in error.hint


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("128 MiB", 128 * MIB), ("128MiB", 128 * MIB), ("128 mib", 128 * MIB),
        ("1 GiB", 1024 * MIB), ("0.5 GiB", 512 * MIB),
        ("100 MB", 10**8), ("1GB", 10**9), ("20000000", 20_000_000),
        ("20000000 B", 20_000_000), ("1 TiB", 1 << 40),
    ],
)  # fmt: skip
def test_sizes(tmp_path: Path, text: str, size: int) -> None:
    assert loaded(tmp_path, GOOD, f'limits.memory="{text}"').limits.memory_bytes == size


# ---------------------------------------------------------------- anything at all

KEYS = st.sampled_from(
    [name for name, _ in scenario._fields(ScenarioFile)] + ["startup.ready", "ratio", "x", ""]
)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.dates()
    | st.sampled_from(["hello", "128 MiB", "/bin/true", "runc", "warm"])
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


def good() -> dict[str, Any]:
    return {
        "name": "mine", "title": "t", "question": "q", "runtimes": ["bare"],
        "experiments": {"startup": {}}, "limits": {"cpus": 1},
    }  # fmt: skip


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(KEYS, TREES, max_size=5))
def test_any_table_is_a_scenario_or_a_named_fault(changes: dict[str, Any]) -> None:
    try:
        file = scenario._convert({**good(), **changes}, ScenarioFile, "x.toml")
        resolved = scenario._resolve(file, "x.toml")
    except UsageError:
        return
    assert resolved.runtimes
    assert resolved.limits.memory_bytes is None or resolved.limits.memory_bytes >= 16 * MIB


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.text(max_size=30) | st.builds("{}={}".format, KEYS, st.text(max_size=20))))
def test_any_setting_is_taken_or_a_named_fault(overrides: list[str]) -> None:
    raw = good()
    try:
        for setting in overrides:
            scenario._override(raw, setting)
        scenario._resolve(scenario._convert(raw, ScenarioFile, "x.toml"), "x.toml")
    except UsageError:
        return
