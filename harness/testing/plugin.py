"""What pytest loads: four options, and the fixture `box`.

A test that asks for `box` runs once on each runtime of `--box-runtimes`, inside a fresh
instance with the one image. What pytest-benchmark measures of such a test stands in its table,
a row a runtime, and in a run folder that tarebench reads like any other.

This module is loaded in every session of whoever has tarebench installed, so it imports
nothing but pytest; a session without `box` never loads more.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.testing.box import Box
    from harness.testing.names import Planned
    from harness.testing.session import Session

_RUNTIME, _TRIAL, _BENCHMARK = "box_runtime", "box_trial", "benchmark"
_SESSION: pytest.StashKey[Session] = pytest.StashKey()
_SEED: pytest.StashKey[int] = pytest.StashKey()
_MOST_TRIALS = 10000


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, in a group of their own."""
    group = parser.getgroup("tarebench", "tarebench: the same test in every box (fixture `box`)")
    group.addoption(
        "--box-runtimes", action="append", default=[], metavar="LIST",
        help="Runtimes for `box`, as in crun,docker,network=none, all or class:container; may "
        "be repeated. What is named must work. Without it: bare, chroot, runc, crun, docker and "
        "kvm, so far as they work here.",
    )  # fmt: skip
    group.addoption(
        "--box-trials", type=_trials, default=1, metavar="N",
        help="Run each test N times a runtime, each in a fresh instance, in blocks of random "
        "order. Rounds of one test are one trial; ten trials give an interval.",
    )  # fmt: skip
    group.addoption(
        "--box-seed", type=int, metavar="N", help="Seed of the random order, to repeat a session."
    )
    group.addoption(
        "--box-packages", action="append", default=[], metavar="LIST",
        help="Debian packages added to the image; may be repeated.",
    )  # fmt: skip
    group.addoption(
        "--box-force", action="store_true", help="Run beside another run of tarebench on this host."
    )


def _trials(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST_TRIALS:
        raise ValueError(text)
    return int(text)


@pytest.fixture
def box_runtime(request: pytest.FixtureRequest) -> str:
    """The name of the runtime that `box` is on."""
    name: str | None = getattr(request, "param", None)
    if name is None:
        pytest.fail("a test gets `box` as an argument, not by getfixturevalue", pytrace=False)
    return name


@pytest.fixture
def box_trial(request: pytest.FixtureRequest) -> int:
    """Which of `--box-trials` this is, counted from 0."""
    return int(getattr(request, "param", 0))


@pytest.fixture
def box(request: pytest.FixtureRequest, box_runtime: str, box_trial: int) -> Iterator[Box]:
    """A fresh, running instance of each runtime in turn: box.run(["seq", "3"]).

    box.fresh(), box.stop() and box.start() are for timing launches; docs/pytest.md.
    """
    if not sys.platform.startswith("linux"):
        pytest.skip("boxes need Linux")
    from harness.errors import HarnessError, RuntimeUnavailable

    session, nodeid = request.config.stash[_SESSION], request.node.nodeid
    benchmark, refused = None, None
    try:
        with session.box(nodeid) as made:
            benchmark = _benchmark(request)
            if benchmark is not None:
                session.store()
                benchmark.group = benchmark.group or session.attempt(nodeid).planned.group
                benchmark.extra_info.update(_told(made))
            yield made
        if benchmark is not None:
            benchmark.extra_info["identical"] = made.identity().identical
    except HarnessError as error:
        refused = error
    if refused is not None:
        hint = f" ({refused.hint})" if refused.hint else ""
        text = f"{box_runtime}: {refused.message}{hint}"
        if isinstance(refused, RuntimeUnavailable) and not session.is_named(box_runtime):
            pytest.skip(text)
        pytest.fail(text, pytrace=False)


def _benchmark(request: pytest.FixtureRequest) -> Any:
    """The fixture of pytest-benchmark, where the test has it and it measures."""
    if _BENCHMARK not in request.fixturenames:
        return None
    found = request.getfixturevalue(_BENCHMARK)
    return found if getattr(found, "enabled", False) and hasattr(found, "extra_info") else None


def _told(box: Box) -> dict[str, str | bool | None]:
    return {
        "runtime": box.runtime, "runtime_class": box.runtime_class, "accel": box.accel,
        "emulated": box.emulated, "image": box.image_digest,
    }  # fmt: skip


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Whoever asks for our `box` is run on each runtime, and `--box-trials` times."""
    if _RUNTIME not in metafunc.fixturenames:
        return
    from harness.errors import HarnessError
    from harness.testing import names

    try:
        runtimes, _ = names.chosen(metafunc.config.getoption("box_runtimes"))
        labels = [names.label(runtime) for runtime in runtimes]
    except HarnessError as error:
        hint = f"\n  hint: {error.hint}" if error.hint else ""
        raise pytest.Collector.CollectError(f"--box-runtimes: {error.message}{hint}") from None
    metafunc.parametrize(_RUNTIME, runtimes, indirect=True, ids=labels)
    trials = metafunc.config.getoption("box_trials")
    if trials > 1:
        metafunc.parametrize(
            _TRIAL, range(trials), indirect=True, ids=[f"trial{n}" for n in range(trials)]
        )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several trials: blocks of random order, in the places that tests with `box` have."""
    if config.getoption("box_trials") == 1:
        return
    places = [number for number, item in enumerate(items) if _RUNTIME in _params(item)]
    if not places:
        return
    chance = random.Random(_seed(config))
    boxed = [items[number] for number in places]
    chance.shuffle(boxed)
    boxed.sort(key=lambda item: _params(item)[_TRIAL])
    for number, item in zip(places, boxed, strict=True):
        items[number] = item


def pytest_collection_finish(session: pytest.Session) -> None:
    """What is planned is known: only now, because tests may have been deselected."""
    boxed = [item for item in session.items if _RUNTIME in _params(item)]
    if not boxed or session.config.option.collectonly:
        return
    from harness.errors import UsageError
    from harness.testing import names
    from harness.testing.session import Session, Wish, checked

    config = session.config
    trials = config.getoption("box_trials")
    command = ["pytest", *map(str, config.invocation_params.args)]
    if trials > 1 and config.getoption("box_seed") is None:
        command.append(f"--box-seed={_seed(config)}")
    try:
        packages = checked(config.getoption("box_packages"))
    except UsageError as error:
        raise pytest.UsageError(f"--box-packages: {error.message}\n  {error.hint}") from None
    wish = Wish(
        named=names.chosen(config.getoption("box_runtimes"))[1], trials=trials,
        seed=_seed(config), packages=packages, command=tuple(command),
        force=config.getoption("box_force") or hasattr(config, "workerinput"),  # xdist's siblings
    )  # fmt: skip
    config.stash[_SESSION] = Session(wish, [_planned(item) for item in boxed])


def _seed(config: pytest.Config) -> int:
    """The seed given, or else one that stays the same for the session."""
    given = config.getoption("box_seed")
    if given is None:
        given = config.stash.setdefault(_SEED, random.SystemRandom().randrange(2**32))
    return int(given)


def _params(item: pytest.Item) -> dict[str, Any]:
    call = getattr(item, "callspec", None)
    return {} if call is None else call.params


def _planned(item: pytest.Item) -> Planned:
    from harness.testing import names

    params, indices = _params(item), getattr(item, "callspec").indices  # noqa: B009
    return names.Planned(
        nodeid=item.nodeid, runtime=params[_RUNTIME], block=params.get(_TRIAL, 0),
        metric=names.metric(item.nodeid), dimensions=names.dimensions(params, indices),
        measured=_BENCHMARK in getattr(item, "fixturenames", ()),
    )  # fmt: skip


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What became of a test; when its fixtures are torn down too, it is written down."""
    report = yield
    if _RUNTIME not in _params(item):
        return report
    session = item.config.stash[_SESSION]
    attempt = session.attempt(item.nodeid)
    if report.skipped:
        attempt.skipped = True
    elif report.failed and call.excinfo is not None:
        attempt.fail(call.excinfo.value)
    elif call.when == "call" and report.passed:
        attempt.succeed(getattr(item, "funcargs", {}).get(_BENCHMARK))
    if call.when == "teardown":
        session.finish(item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> Generator[None, None, None]:
    """After the last fixture: prove, end the run, and remove all that was made."""
    try:
        yield
    finally:
        opened = session.config.stash.get(_SESSION, None)
        if opened is not None:
            opened.close(interrupted=exitstatus == pytest.ExitCode.INTERRUPTED)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where the run is."""
    session = terminalreporter.config.stash.get(_SESSION, None)
    if session is not None and session.told:
        terminalreporter.section("tarebench")
        for line in session.told:
            terminalreporter.write_line(line)
