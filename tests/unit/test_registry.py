"""One box has one name: parameters sorted, defaults left out, faults named."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.errors import HarnessError, RuntimeUnavailable, UsageError


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("bare", "bare"),
        (" bare ", "bare"),
        ("bare,cgroup=off", "bare"),
        ("bare, cgroup = on ", "bare,cgroup=on"),
        ("docker,network=bridge", "docker"),
        ("docker,network=none", "docker,network=none"),
        ("fake,ready_ms=5,fail=job", "fake,fail=job,ready_ms=5"),
        ("fake,fail=never,ready_ms=5", "fake,ready_ms=5"),
        ("qemu,machine=q35", "qemu"),
    ],
)
def test_canonical_form_sorts_parameters_and_leaves_defaults_out(
    given: str, canonical: str
) -> None:
    assert registry.canonical(given) == canonical
    assert registry.canonical(canonical) == canonical


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ("dokcer", "there is no runtime 'dokcer'", "did you mean docker?"),
        ("zzz", "there is no runtime 'zzz'", "bare"),
        ("", "there is no runtime ''", "bare"),
        ("bare,cgrop=on", "no parameter 'cgrop'", "cgroup"),
        ("runc,x=1", "no parameter 'x'", "storage"),
        ("bare,cgroup=maybe", "'maybe' is not a value of cgroup", "on, off"),
        ("bare,cgroup", "is not KEY=VALUE", "docker,network=none"),
        ("bare,", "is not KEY=VALUE", "docker,network=none"),
        ("bare,cgroup=", "is not KEY=VALUE", "docker,network=none"),
        ("bare,cgroup=on,cgroup=off", "gives cgroup twice", "once"),
    ],
)
def test_fault_is_named_with_what_is_allowed(given: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.canonical(given)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "fake" not in caught.value.hint


@given(st.text(alphabet="abrecgoup=on, \0é", max_size=30))
def test_any_text_is_a_runtime_or_a_named_fault(text: str) -> None:
    try:
        once = registry.canonical(text)
    except HarnessError:
        return
    assert registry.canonical(once) == once


def test_every_cleaner_can_be_loaded() -> None:
    for kind, cleaner in registry.cleaners().items():
        assert callable(cleaner.exists), kind
        assert callable(cleaner.remove), kind


def test_all_is_every_runtime_but_building_blocks_and_hidden_ones() -> None:
    found = registry.expand(["all", "runc"])
    assert not {"spawn", "oci"} & set(found)
    assert "fake" not in found
    assert {"bare", "crun", "docker", "qemu"} <= set(found)
    assert len(found) == len(set(found))
    assert registry.expand(["spawn", "bare"]) == ["spawn", "bare"]


def test_class_is_every_form_of_it_and_parameters_stand_for_each_choice() -> None:
    containers = registry.expand(["class:container"])
    assert {"crun", "docker", "docker,network=none"} <= set(containers)
    assert not {"bare", "qemu", "fake", "oci"} & set(containers)
    assert registry.expand(["class:Emulated-Machine"]) == registry.expand(["class:emulated"])
    assert registry.expand(["docker,network=*"]) == [
        "docker", "docker,network=none", "docker,network=host"
    ]  # fmt: skip
    assert registry.expand(["qemu,machine=*,boot=disk"]) == [
        "qemu,boot=disk", "qemu,boot=disk,machine=pc"
    ]  # fmt: skip
    assert len(registry.expand(["qemu,machine=*,storage=*", "qemu"])) == 6


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ("class:contaner", "no class of runtimes 'contaner'", "did you mean class:container?"),
        ("class:", "no class of runtimes ''", "bare, jail, container, sandbox, vm, emulated"),
        ("oci,path=*", "path of oci has no list of values", "oci,path=VALUE"),
        ("docker,netwrok=*", "no parameter 'netwrok'", "network"),
        ("dokcer,network=*", "no runtime 'dokcer'", "did you mean docker?"),
        ("docker,*", "is not KEY=VALUE", "docker,network=none"),
        ("al", "no runtime 'al'", "did you mean all?"),
    ],
)
def test_choice_that_means_nothing_is_named(given: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.expand([given])
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_only_what_was_called_by_its_name_must_work() -> None:
    given = ["all", "class:vm", "docker,network=*", "docker,network=none", " runc "]
    assert registry.named(given) == {"docker,network=none", "runc"}


def test_every_declared_form_is_tested_once_and_all_runs_no_other() -> None:
    for name in registry.names():
        tested = registry.tested(name)
        assert len(tested) == len(set(tested)), name
        assert set(registry.variants(name)) <= set(tested)
    assert registry.tested("oci") == ["oci,path=/usr/bin/crun"]
    assert registry.variants("runc") == registry.tested("runc") == ["runc"]


def test_adapter_that_cannot_be_loaded_costs_nobody_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "broken-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        f"[{registry.RUNTIMES_GROUP}]\nbroken = no.such.module:Broken\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert {"broken", "bare"} <= set(registry.expand(["all"]))
    assert "broken" not in registry.expand(["class:container"])
    assert registry.tested("broken") == ("broken",)
    with pytest.raises(RuntimeUnavailable, match="adapter of broken cannot be loaded: Module"):
        registry.canonical("broken")


def test_several_values_have_one_order_and_each_is_checked() -> None:
    assert registry.canonical("spawn,ns=pid+mount+pid") == "spawn,ns=mount+pid"
    assert registry.canonical("spawn,ns=none,with=chroot") == "spawn,with=chroot"
    with pytest.raises(UsageError, match="not a value of ns"):
        registry.canonical("spawn,ns=none+pid")
