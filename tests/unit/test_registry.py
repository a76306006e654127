"""One box has one name: parameters sorted, defaults left out, faults named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import registry
from harness.errors import HarnessError, UsageError


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


def test_several_values_have_one_order_and_each_is_checked() -> None:
    assert registry.canonical("spawn,ns=pid+mount+pid") == "spawn,ns=mount+pid"
    assert registry.canonical("spawn,ns=none,with=chroot") == "spawn,with=chroot"
    with pytest.raises(UsageError, match="not a value of ns"):
        registry.canonical("spawn,ns=none+pid")
