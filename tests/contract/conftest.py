"""One instance of each runtime for the whole suite, and what of it is for `make test`.

A guest in software takes seconds to boot and minutes for all that the suite asks of it. Forms
of one adapter differ in how the guest comes to READY, and in the way to its disk; what the
agent then does with the host is the same program on the same channel, and is asked of the
plain form. So in `make test` a further form of a machine boots, runs a program from its disk,
has its limits and leaves nothing; the rest is asked of it too, in `make test-all`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import registry
from harness.clock import Marks
from tests.conftest import runtime_or_skip
from tests.contract.subject import GIVEN, RUNTIMES, Subject
from tests.lab import Lab

DECIDED_BY_THE_BOOT = frozenset(
    {
        "test_marks_are_in_order",
        "test_dynamic_program_runs_with_the_images_libraries",
        "test_limits_hold_as_seen_from_inside",
        "test_ends_when_asked_and_leaves_nothing",
    }
)


@pytest.fixture(scope="session", params=RUNTIMES)
def subject(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Subject]:
    """The runtime, with one running instance that all tests share which leave it whole."""
    name: str = request.param
    runtime = runtime_or_skip(lab, name)
    marks = Marks()
    with lab.instance(name, GIVEN, marks) as box:
        yield Subject(name, runtime, box, marks)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what a further form of a machine is not asked for in `make test`."""
    further = _further_forms()
    for item in items:
        if not isinstance(item, pytest.Function) or item.originalname in DECIDED_BY_THE_BOOT:
            continue
        given = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if any(value in further for value in given if isinstance(value, str)):
            item.add_marker(pytest.mark.slow)


def _further_forms() -> frozenset[str]:
    """Forms of machines that are tested and that `all` does not run."""
    found: set[str] = set()
    for name in registry.names():
        kind = registry.class_of(name)
        if kind is not None and kind.is_machine:
            found |= set(registry.tested(name)) - set(registry.variants(name))
    return frozenset(found)
