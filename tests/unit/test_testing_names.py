"""What tests are called: selection, metrics, dimensions, and what a session without boxes loads."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.errors import UsageError
from harness.testing import names


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (["crun,docker"], ["crun", "docker"]),
        (["crun", "docker"], ["crun", "docker"]),
        (["docker,network=none,crun"], ["docker,network=none", "crun"]),
        (["docker, client=cli,network=none"], ["docker,client=cli,network=none"]),
        (["crun,,crun"], ["crun"]),
        (["docker,network=bridge"], ["docker"]),
    ],
)
def test_runtimes_are_split_and_canonical(given: list[str], wanted: list[str]) -> None:
    assert names.chosen(given) == (tuple(wanted), frozenset(wanted))


def test_nothing_named_is_a_default_that_may_be_skipped() -> None:
    assert names.chosen([]) == (names.DEFAULT, frozenset())


def test_all_names_nothing() -> None:
    runtimes, named = names.chosen(["all,crun"])
    assert {"bare", "docker", "qemu", "kvm"} <= set(runtimes)
    assert named == {"crun"}


@pytest.mark.parametrize("given", ["dokcer", "docker,net=none", "docker,network=lan", "network=x"])
def test_an_unknown_runtime_is_refused_with_a_hint(given: str) -> None:
    with pytest.raises(UsageError) as caught:
        names.chosen([given])
    assert caught.value.hint


def test_what_is_emulated_carries_the_word() -> None:
    assert names.label("qemu") == "qemu(emulated)"
    assert names.label("qemu,machine=microvm") == "qemu,machine=microvm(emulated)"
    assert names.label("crun") == "crun"


@pytest.mark.parametrize(
    ("nodeid", "wanted"),
    [
        ("test_a.py::test_sort[crun-1000]", "pytest.test_a.test_sort"),
        ("tests/deep/test_a.py::TestBig::test_sort", "pytest.tests.deep.test_a.testbig.test_sort"),
        ("test_a.py::test_größe[a[b]-c::d]", "pytest.test_a.test_gr__e"),
    ],
)
def test_a_metric_is_the_path_of_its_test(nodeid: str, wanted: str) -> None:
    assert names.metric(nodeid) == wanted


def test_other_parameters_are_dimensions() -> None:
    params = {"size": 1000, "box_runtime": "crun", "box_trial": 3, "what": [1], "fast": True}
    indices = dict.fromkeys(params, 0) | {"what": 2}
    assert names.dimensions(params, indices) == {"fast": "True", "size": "1000", "what": "what2"}


def test_the_plugin_loads_nothing_but_pytest() -> None:
    """Whoever has tarebench installed pays for it in every session of pytest."""
    code = (
        "import sys, pytest; before = set(sys.modules); import harness.testing.plugin; "
        "print(sorted(n for n in set(sys.modules) - before if not n.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(["harness", "harness.testing", "harness.testing.plugin"])
