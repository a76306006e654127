"""One instance of each runtime for the whole suite, and what of it is for `make test`.

Forms of one runtime differ in how a box comes to READY, in its limits, its network and its way
to the disk. What the agent then does with the host is the same program on the same channel: it
is asked of the plain form in `make test`, and of every form in `make test-all`. So is what a
limit does where a form's parameters do not decide its limits: that they are set is read from
inside of each. A guest in software takes seconds to boot and minutes for all that the suite asks
of it, so a form of a machine that `all` does not run boots, runs a program from its disk, has its
limits and leaves nothing, and is asked no more in `make test`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from harness import registry
from harness.clock import Marks
from tests.conftest import runtime_or_skip
from tests.contract.subject import RUNTIMES, Subject, leaving_nothing
from tests.lab import Lab

DECIDED_BY_THE_BOOT = frozenset(
    {
        "test_marks_are_in_order",
        "test_dynamic_program_runs_with_the_images_libraries",
        "test_limits_hold_as_seen_from_inside",
    }
)
"""All that `make test` asks of a form of a machine which `all` does not run, but for its end."""

OF_THE_PLAIN_MACHINE = frozenset(
    {
        "test_ends_when_asked_and_leaves_nothing",
        "test_instance_that_breaks_inside_is_torn_down",
        "test_launches_leak_nothing",
        "test_every_process_that_a_launch_brings_is_counted",
        "test_every_group_that_a_launch_fills_is_counted",
    }
)
"""What costs boots, and is libvirt's and QEMU's doing whatever the machine."""

OF_THE_PLAIN_FORM = frozenset(
    {
        "test_job_runs_as_nobody_and_returns_its_output",
        "test_environment_is_given_and_nothing_else",
        "test_missing_program_is_an_error_and_the_box_goes_on",
        "test_large_and_binary_output_survives",
        "test_a_service_answers_and_ends_with_its_box",
        "test_a_service_that_fails_says_why_and_the_box_goes_on",
        "test_killed_job_is_told_by_its_signal",
        "test_hanging_job_is_ended_at_its_time_limit",
        "test_process_that_forks_away_is_gone_with_its_job",
        "test_files_leave_the_page_cache_by_their_path_inside",
        "test_touched_memory_is_held_and_given_back",
        "test_kill_from_outside_is_a_failed_record_and_the_run_goes_on",
        "test_whole_image_is_identical_from_inside",
    }
)
"""What `make test` asks of the plain form of each runtime alone."""

WHAT_LIMITS_DO = frozenset(
    {
        "test_memory_limit_kills",
        "test_touching_more_than_the_limit_fails_and_ends",
        "test_more_processes_than_the_limit_cannot_be_forked",
        "test_half_a_cpu_is_half_the_speed",
    }
)
WITH_THE_SAME_LIMITS = frozenset({"client", "machine", "network", "seccomp", "storage"})
"""Parameters that do not decide who holds the limits."""


@pytest.fixture(scope="session", params=RUNTIMES)
def subject(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Subject]:
    """The runtime, with one running instance that all tests share which leave it whole.

    Its own end is the last that is asked of each form.
    """
    name: str = request.param
    runtime = runtime_or_skip(lab, name)
    marks = Marks()
    with leaving_nothing(lab, name, marks) as box:
        yield Subject(name, runtime, box, marks)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what a form is not asked for in `make test`."""
    excused = {form: _excused(form) for form in RUNTIMES}
    for item in items:
        if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            continue
        given = [value for value in item.callspec.params.values() if value in RUNTIMES]
        if any(excused[form](item.originalname) for form in given):
            item.add_marker(pytest.mark.slow)


def _excused(form: str) -> Callable[[str], bool]:
    """Whether a form is excused from the test of a name."""
    name, parameters = registry.parse(form)
    forms, kind = registry.variants(name), registry.class_of(name)
    if kind is not None and kind.is_machine and form not in forms:
        return lambda test: test not in DECIDED_BY_THE_BOOT
    excused = frozenset[str]()
    if form not in forms[:1]:
        excused |= OF_THE_PLAIN_FORM
        if kind is not None and kind.is_machine:
            excused |= OF_THE_PLAIN_MACHINE
        if WITH_THE_SAME_LIMITS.issuperset(parameters):
            excused |= WHAT_LIMITS_DO
    return excused.__contains__
