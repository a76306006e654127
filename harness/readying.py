"""A runtime made ready to launch, or a reason why not, within a bounded time.

What stands behind an adapter may be half installed, broken, or silent: a daemon that accepts a
connection and never answers can hold its caller for ever, and not every library has a time
limit. So a runtime is asked in a thread that is given up when it takes too long: the others go
on, and what it may have begun is in the inventory.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack

from harness import registry
from harness.cpuid import patience
from harness.errors import HarnessError, RuntimeUnavailable, brief
from harness.model import Context, Image, Runtime, RuntimeFacts

log = logging.getLogger(__name__)

PROBE_LIMIT_S = 90.0
"""More than any probe needs that works: a guest may be booted to see whether KVM does."""
_GRACE_S = 15.0
"""What an interrupted probe is given to end by itself, so that its end is not a race."""


def ready(
    name: str,
    context: Context,
    image: Image | None,
    stack: ExitStack,
    tell: Callable[[str, str], None] = lambda name, step: None,
) -> tuple[Runtime, RuntimeFacts]:
    """Create and probe a runtime, and prepare it where there is an image; `stack` closes it.

    Raises UsageError for a name that means nothing, RuntimeUnavailable for a runtime that does
    not answer in time or breaks in an unforeseen way, and the adapter's own HarnessError.
    """
    runtime = registry.create(name, context)
    with ExitStack() as own:
        own.callback(runtime.close)
        try:
            tell(name, "looking")
            facts = _ask(runtime)
            if image is not None:
                tell(name, "preparing its form of the image")
                with _foreseen("preparing it"):
                    runtime.prepare(image)
                facts = _ask(runtime)
        except NoAnswer:
            own.pop_all()  # whoever is still inside closes it
            raise
        stack.push(own.pop_all())
    return runtime, facts


class NoAnswer(RuntimeUnavailable):
    """A probe that has not returned, and is left alone."""


def _ask(runtime: Runtime) -> RuntimeFacts:
    """The runtime's own `probe`, within a bounded time."""
    answer: Future[RuntimeFacts] = Future()

    def look() -> None:
        try:
            with _foreseen("looking at it"):
                answer.set_result(runtime.probe())
        except BaseException as error:
            answer.set_exception(error)

    thread = threading.Thread(target=look, name=f"probe {runtime.name}", daemon=True)
    thread.start()
    limit_s = PROBE_LIMIT_S * patience()
    try:
        thread.join(limit_s)
    except BaseException:
        thread.join(_GRACE_S)
        raise
    if thread.is_alive():
        answer.add_done_callback(lambda late: runtime.close())
        raise NoAnswer(
            f"it did not answer within {limit_s:g} s",
            "see whether its daemon hangs; restart or stop it",
        )
    return answer.result()


@contextlib.contextmanager
def _foreseen(what: str) -> Iterator[None]:
    """Turns a failure that its adapter did not foresee into a reason."""
    try:
        yield
    except HarnessError:
        raise
    except Exception as error:
        log.exception("%s", what)
        raise RuntimeUnavailable(
            f"{what} failed: {type(error).__name__}: {brief(error)}",
            "--debug shows where; its adapter should have said more",
        ) from error
